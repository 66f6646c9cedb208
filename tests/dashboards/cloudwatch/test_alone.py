"""The tools for CloudWatch know no product: they work with everything else of this repository out of reach."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        ours = top in ("telemetry", "packager", "infra") or top == "dashboards"
        if ours and name != "dashboards" and not (name + ".").startswith("dashboards.cloudwatch."):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

class Few:
    def pytest_configure(self):
        from hypothesis import settings

        settings.register_profile("few", max_examples=5, deadline=None)
        settings.load_profile("few")

sys.meta_path.insert(0, Blocked())
import pytest

sys.exit(pytest.main(sys.argv[1:], [Few()]))
"""

LONG = ("test_reference", "test_memory_grows", "test_the_plugin")
"""Tests that take long and import nothing that others do not; all are still collected, and so imported."""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module


@pytest.mark.parametrize(
    ("room", "may"),
    [("cloudwatch", ("cloudwatch",)), ("preview", ("cloudwatch", "preview"))],
    ids=str,
)
def test_it_imports_nothing_of_ours_but_what_it_stands_on(room, may):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sorted((ROOT / "dashboards" / room).rglob("*.py"))
        for line, module in imported(path)
        if module.split(".")[0] in {"telemetry", "packager", "infra", "dashboards"}
        and not any(f"{module}.".startswith(f"dashboards.{each}.") for each in may)
    ]
    assert wrong == []


@pytest.mark.skipif("ALONE" in os.environ, reason="this is the run without the rest of the repository")
def test_its_own_tests_pass_without_the_rest_of_the_repository(tmp_path):
    folder = Path(__file__).parent
    quiet = ["-q", "-x", "-p", "no:cacheprovider", f"--confcutdir={folder}", "-m", "not slow"]
    quiet.append(f"--basetemp={tmp_path / 'temporary'}")  # or pytest sweeps the folders of the run that this is part of
    quiet.append(f"-k not ({' or '.join(LONG)})")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *quiet, folder],
        cwd=ROOT,
        env={**os.environ, "ALONE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
