"""The console script in a process of its own, forked from one that has loaded everything already; needs no pytest.

status, out, err = warm_command()(["package", "--help"], {"AWS_PROFILE": "no-such"})
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class WarmCommand:
    """Runs `packager`; what a process does before its first line, again and again, is most of what short runs take."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
        """Exit status (negative for a signal), standard output and standard error."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            asked = {"argv": ["packager", *arguments], "environment": {**os.environ, **environment}}
            asked |= {"folder": str(Path.cwd()), "out": str(out), "err": str(err)}
            assert self._server.stdin
            assert self._server.stdout
            print(json.dumps(asked), file=self._server.stdin, flush=True)
            status = int(self._server.stdout.readline())
            return status, out.read_bytes().decode(), err.read_bytes().decode()


@cache
def warm_command() -> WarmCommand:
    """One for this process; it ends with it."""
    return WarmCommand()


def _load() -> None:
    import boto3  # noqa: PLC0415  only the process that is forked needs it

    import packager  # noqa: PLC0415  same

    boto3.session.Session("none", "none", region_name="us-east-1").client("s3")
    for module in pkgutil.walk_packages(packager.__path__, "packager."):
        if not module.name.startswith(("packager.portal", "packager.handler", "packager.core.native-")):
            importlib.import_module(module.name)
    gc.freeze()


def _become(asked: dict[str, Any]) -> None:
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, asked["out"], _NEW), (2, asked["err"], _NEW)):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = asked["argv"]


_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def _serve() -> None:
    """Answer each line with the status of a child; a child comes back from here, to run and end as a script does."""
    _load()
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    os._exit(0)


if __name__ == "__main__":
    _serve()
    from packager.cli.main import main

    sys.exit(main())
