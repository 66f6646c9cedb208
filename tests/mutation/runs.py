"""Runs of pytest over a copy of the checkout, each in a process forked from one that has the libraries loaded.

python runs.py COPY reads a line of JSON for each run, {"tests": [...], "limit_s": 60}, and answers with one.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not reliability")
OPTIONS += ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # libraries that are loaded before pytest begins


PR_SET_PDEATHSIG = 1
STARTS_SOMETHING = {"aws_cdk", "cdk_nag", "constructs", "jsii", "vl_convert"}
"""Libraries with a process or threads of their own, which a fork would share or lose."""


class QuickestFirst:
    """Notes how long each test takes, and runs those first that took least the last time."""

    def __init__(self, took_s: dict[str, float]) -> None:
        self.known_s = took_s
        self.took_s: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.known_s.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took_s[report.nodeid] = self.took_s.get(report.nodeid, 0.0) + report.duration


def load(names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def libraries() -> list[str]:
    """Installed packages that this process has imported, without plugins of pytest, which it loads by itself."""
    left_out = STARTS_SOMETHING | {each.module.split(".")[0] for each in entry_points(group="pytest11")}
    files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    return sorted(
        name for name, file in files.items() if "site-packages" in file and name.split(".")[0] not in left_out
    )


def run(tests: list[str], took_s: dict[str, float]) -> dict[str, Any]:
    """What pytest says of the tests, in this process."""
    order = QuickestFirst(took_s)
    began_s = time.monotonic()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = pytest.main([*OPTIONS, *tests], plugins=[order])
    return {"passed": code == 0, "s": time.monotonic() - began_s, "took_s": order.took_s, "libraries": libraries()}


def forked(tests: list[str], took_s: dict[str, float], limit_s: float) -> dict[str, Any]:
    """The same in a process of its own, which is killed with all that it started when it takes too long."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a mutant without end ends with its parent
        answer = json.dumps(run(tests, took_s)).encode()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], limit_s)
        answer = pipe.read() if ready else b""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(answer) if answer else {"passed": False, "s": limit_s, "took_s": {}, "libraries": []}


def serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        load(asked["libraries"])
        print(json.dumps(forked(asked["tests"], asked["took_s"], asked["limit_s"])), flush=True)


if __name__ == "__main__":
    serve()
