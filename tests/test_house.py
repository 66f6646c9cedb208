"""The house: which room may import which, no circles, small functions, one meaning for each class name."""

from __future__ import annotations

import ast
import statistics
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
TOPS = ("telemetry", "packager", "dashboards", "infra")

GROUND = tuple(
    f"packager.{name}" for name in ("errors", "aws_errors", "os_errors", "settings", "results", "deadline", "locks")
)
"""Files of the packager that every room of it may import."""

SETTINGS = ("packager.settings", "packager.portal.settings", "packager.stores.s3_options")
BELOW_MODEL = (*GROUND, "packager.core", "packager.stores", "telemetry.engine", "telemetry.catalog", "telemetry")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "telemetry.engine": ("telemetry.engine",),
    "telemetry.catalog": ("telemetry.catalog", "telemetry.engine"),
    "telemetry.watch": ("telemetry.watch", "telemetry.catalog", "telemetry.engine"),
    "telemetry.__main__": ("telemetry",),
    "telemetry": ("telemetry.catalog", "telemetry.engine"),
    **dict.fromkeys(GROUND, (*GROUND, "telemetry")),
    "packager.core": ("packager.core", "packager.errors", "packager.settings", "telemetry"),
    "packager.stores": BELOW_MODEL,
    "packager.model": ("packager.model", *BELOW_MODEL),
    "packager.device": ("packager.device", "packager.model", *BELOW_MODEL),
    "packager.limits": ("packager.limits", *BELOW_MODEL),
    "packager.publishing": ("packager.publishing", "packager.device", "packager.model", *BELOW_MODEL),
    "packager.report": ("packager.report", "packager.limits", *BELOW_MODEL),
    "packager.portal": ("packager", "telemetry"),
    "packager.cli": ("packager", "telemetry"),
    "packager.handler": ("packager", "telemetry"),
    "packager": (
        *("packager.publishing", "packager.device", "packager.model", "packager.limits", *BELOW_MODEL),
        *(f"packager.{name}" for name in ("packaging", "run", "plan", "survey", "extractor", "zipper")),
    ),
    "dashboards.cloudwatch": ("dashboards.cloudwatch",),
    "dashboards.preview": ("dashboards.preview", "dashboards.cloudwatch"),
    "dashboards.drills": ("dashboards", "telemetry", "packager.handler"),
    "dashboards": ("dashboards", "telemetry"),
    "infra": ("infra", "dashboards", "telemetry.watch", *SETTINGS),
}
"""By the longest prefix that a module's name has: what it may import of ours, for types too."""

NOT_FOR_THE_FUNCTION = "telemetry.watch"
"""Alarms, SLOs and runbooks, which nothing that Lambda imports may import."""


class Import(NamedTuple):
    """One import of ours: the importing module, its line, the module that it imports, and whether it runs at import."""

    importer: str
    line: str
    imported: str
    at_import: bool


@cache
def modules() -> dict[str, Path]:
    """Every module of the source by its dotted name."""
    found = {}
    for path in sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports_of(name: str, path: Path) -> Iterator[Import]:
    where = path.relative_to(ROOT).as_posix()

    def walk(node: ast.AST, *, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(name, f"{where}:{child.lineno}", each.name, at_import) for each in child.names)
            elif isinstance(child, ast.ImportFrom):
                for each in child.names:
                    whole = f"{child.module}.{each.name}"
                    imported = whole if whole in modules() else str(child.module)
                    yield Import(name, f"{where}:{child.lineno}", imported, at_import)
            else:
                typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) or typing_only
                yield from walk(child, at_import=at_import and not inside)

    for each in walk(ast.parse(path.read_text()), at_import=True):
        if each.imported.split(".")[0] in {*TOPS, "tests"}:
            yield each


@cache
def every_import() -> tuple[Import, ...]:
    return tuple(each for name, path in modules().items() for each in imports_of(name, path))


def is_within(module: str, prefix: str) -> bool:
    return f"{module}.".startswith(f"{prefix}.")


def allowed(module: str) -> tuple[str, ...]:
    return MAY_IMPORT[max((prefix for prefix in MAY_IMPORT if is_within(module, prefix)), key=len)]


def test_no_room_imports_what_is_not_below_it():
    wrong = [
        f"{each.line}: {each.importer} imports {each.imported}"
        for each in every_import()
        if not any(
            each.imported == prefix
            if prefix in {"packager", "telemetry"} and "." not in each.imported
            else is_within(each.imported, prefix)
            for prefix in allowed(each.importer)
        )
        or (is_within(each.imported, NOT_FOR_THE_FUNCTION) and each.importer.split(".")[0] == "packager")
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = defaultdict(set)
    lines = {}
    for each in every_import():
        if each.imported in modules() and each.imported != each.importer:
            graph[each.importer].add(each.imported)
            lines[each.importer, each.imported] = each.line
    lazy = {"packager"}  # its names are imported at their first use, and only named for type checkers
    wrong = [
        " -> ".join(lines[pair] for pair in zip(circle, [*circle[1:], circle[0]], strict=True))
        for circle in circles({name: {each for each in to if each not in lazy} for name, to in graph.items()})
    ]
    assert wrong == []


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """One shortest circle through each module that is on one, each circle once."""
    seen: set[frozenset[str]] = set()
    for start in sorted(graph):
        paths = [[start]]
        reached = {start}
        while paths:
            path = paths.pop(0)
            if start in graph.get(path[-1], ()):
                if frozenset(path) not in seen:
                    seen.add(frozenset(path))
                    yield path
                break
            for following in sorted(graph.get(path[-1], set()) - reached):
                reached.add(following)
                paths.append([*path, following])


def test_the_way_of_a_byte_is_one_folder_of_at_most_2170_lines():
    """1,500 as long as everything was compressed again: knowing and copying blocks takes 600, many small files 60."""
    sizes = {name: len(path.read_text().splitlines()) for name, path in modules().items() if "packager.core" in name}
    assert sum(sizes.values()) <= 2170, sizes


def functions() -> Iterator[tuple[str, int]]:
    """Each function with the lines of its body: no blank ones, no docstring."""
    for path in modules().values():
        lines = path.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                inside = lines[body[0].lineno - 1 : node.end_lineno] if body else []
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", sum(bool(line.strip()) for line in inside)


def test_functions_stay_small():
    sizes = dict(functions())
    ordered = sorted(sizes.values())
    assert statistics.median(ordered) <= 6
    assert ordered[int(len(ordered) * 0.9)] <= 15
    assert {name: size for name, size in sizes.items() if size > 41} == {}


SAME_NAME_ON_PURPOSE: dict[str, str] = {
    "Action": "CloudWatch's word for what an alarm calls; the tools for anybody's alarms import nothing of ours",
    "Metric": "CloudWatch's word; the same two rooms",
    "Panel": "a row's panel, and the panel that it becomes on a page; the page draws anybody's",
    "Rule": "a composite alarm's rule is CloudWatch's word, a device's rule is the customer's",
    "Settings": "each of the two packages has its own, read by one reader each",
}
"""Class names with two meanings, and why both keep the name."""


def test_a_class_name_means_one_thing():
    places = defaultdict(list)
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in SAME_NAME_ON_PURPOSE} == {}
    assert SAME_NAME_ON_PURPOSE.keys() <= twice.keys(), "an exception that nothing needs any more"
