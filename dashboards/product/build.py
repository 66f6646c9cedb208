"""Writes what is deployed and read: dashboard bodies, alarms, SLOs, runbooks. Refuses a catalog that lacks anything."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from dashboards.cloudwatch.errors import DefinitionError
from dashboards.places import MATRIX
from dashboards.product.automation import automation_documents
from dashboards.product.checks import incomplete
from dashboards.product.layout import dashboard_bodies
from dashboards.product.runbooks import runbook_texts
from dashboards.product.specs import Catalog, alarm_parameters, slo_parameters

if TYPE_CHECKING:
    from pathlib import Path


class IncompleteError(DefinitionError):
    """A catalog that must not be deployed; `problems` says all that is missing."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(f"{len(problems)} things are missing or wrong:\n" + "\n".join(f"  {p}" for p in problems))


def files(source: Catalog, matrix: Path = MATRIX) -> dict[str, str]:
    """Return the text of every generated file by its path; raise IncompleteError with all problems at once."""
    bodies = dashboard_bodies(source)
    found = list(incomplete(source, bodies, matrix))
    if found:
        raise IncompleteError(found)
    documents = automation_documents(source)
    return {
        "alarms.json": _json(alarm_parameters(source)),
        "slos.json": _json(slo_parameters(source)),
        **{f"dashboards/{name}.json": _json(body) for name, body in bodies.items()},
        **{f"runbooks/{name}.md": text for name, text in runbook_texts(source).items()},
        **{f"automation/{name}.json": _json(document) for name, document in documents.items()},
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write(built: dict[str, str], out: Path) -> None:
    """Write the files below `out`, and remove generated files that are no longer made."""
    for name in _stale(built, out):
        (out / name).unlink()
    for name, text in built.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def drift(built: dict[str, str], out: Path) -> list[str]:
    """Return what differs between the files below `out` and what would be written."""
    changed = [
        name for name, text in built.items() if not (out / name).is_file() or (out / name).read_text("utf-8") != text
    ]
    return sorted(changed) + _stale(built, out)


def _stale(built: dict[str, str], out: Path) -> list[str]:
    """Return what an earlier build left below `out`: nothing of a folder that none has written to, nothing else's."""
    if not (out / "slos.json").is_file():
        return []
    kinds = {(path.parent, path.suffix) for path in map(PurePosixPath, built) if path.parent.name}
    there = (path for folder, suffix in kinds for path in (out / folder).glob(f"*{suffix}"))
    return sorted(name for path in there if (name := path.relative_to(out).as_posix()) not in built)
