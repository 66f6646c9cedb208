"""Which tests are a module's own: those in the file of its name, and those that import it."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
TOPS = ("packager", "telemetry", "dashboards", "infra")
MOST_FILES = 3
"""Of the files that import a module, the mutants of it are tried against so many: those that import least else."""


def direct_tests(module: str) -> list[str]:
    """The files to try a mutant of a module against, as paths in the checkout; the folder of its room if there is none.

    `module` is a path in the checkout, "packager/core/tar.py".
    """
    path = Path(module)
    own = Path("tests", path.parent, f"test_{path.stem.strip('_')}.py")
    if (ROOT / own).is_file():
        return [str(own)]
    room = own.parent
    while not (ROOT / room).is_dir():
        room = room.parent
    importing = sorted(importers().get(_dotted(path), ()), key=lambda each: (room not in each.parents, _width(each)))
    return [str(each) for each in importing[:MOST_FILES]] or [str(room)]


@cache
def importers() -> Mapping[str, frozenset[Path]]:
    """By module, the test files that import it or something of it."""
    found: dict[str, set[Path]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in set(_imported(path)):
            found[name].add(path.relative_to(ROOT))
    return {name: frozenset(files) for name, files in found.items()}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def _width(path: Path) -> int:
    """How much of ours a test file imports."""
    return sum(path in files for name, files in importers().items() if name.split(".")[0] in TOPS)


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")
