"""Check recorded telemetry, write the reference or the registry of the catalog, compare registries, record examples."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.catalog import VOCABULARY
from telemetry.check import check_lines, coverage
from telemetry.engine import conventions
from telemetry.engine.registry import conflicts, registry, write
from telemetry.engine.registry_diff import changes
from telemetry.engine.registry_rules import faults, load
from telemetry.engine.synthetic import record_runs
from telemetry.watch.reference import markdown
from telemetry.watch.usage import used_by

if TYPE_CHECKING:
    from telemetry.engine.coverage import Coverage

OK, FOUND, UNUSABLE = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when all is well, 1 when something was found, 2 when a file or folder cannot be used."""
    chosen = _parser().parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}; give a file or folder that is there\n")
        return UNUSABLE
    except ValueError as error:
        sys.stderr.write(f"{error}; give what `registry` or `emit` wrote\n")
        return UNUSABLE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m telemetry", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    check = commands.add_parser("check", help="check recorded lines and spans against every limit and the catalog")
    check.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a telemetry.jsonl, a spans.jsonl, or -")
    check.add_argument("--unseen", action="store_true", help="list what of the catalog was not seen")
    check.set_defaults(run=_check)

    reference = commands.add_parser("reference", help="print every row, metric and key as Markdown")
    reference.set_defaults(run=_reference)

    written = commands.add_parser("registry", help="write the catalog in OpenTelemetry's semantic-convention format")
    written.add_argument("folder", metavar="DIR", type=Path)
    written.set_defaults(run=_registry)

    diff = commands.add_parser("diff", help="say what a change of the catalog breaks, and for whom")
    diff.add_argument("old", metavar="OLD", type=Path, help="a folder that `registry` wrote")
    diff.add_argument("new", metavar="NEW", type=Path, nargs="?", help="the same; default: the catalog as it is")
    diff.set_defaults(run=_diff)

    emit = commands.add_parser("emit", help="write synthetic lines and spans of every row, for previews and tests")
    emit.add_argument("folder", metavar="DIR", type=Path)
    emit.add_argument("--runs", metavar="N", type=int, default=60)
    emit.add_argument("--apart", metavar="SECONDS", type=float, default=60.0, help="from one run to the next")
    emit.add_argument("--failing", metavar="SHARE", type=float, default=0.05, help="of all steps, from 0 to 1")
    emit.add_argument("--seed", metavar="N", type=int, default=0, help="the same seed gives the same values")
    emit.set_defaults(run=_emit)
    return parser


def _check(chosen: argparse.Namespace) -> int:
    seen, status = coverage(), OK
    for path in chosen.files:
        status = max(status, _check_file(path, seen))
    sys.stdout.write(f"{seen.summary()}\n")
    if chosen.unseen:
        sys.stdout.writelines(f"not seen: {name}\n" for name in seen.unseen())
    return status


def _check_file(path: Path, seen: Coverage) -> int:
    text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8", "backslashreplace")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for line in lines:
        seen.add(line)
    findings = check_lines(lines)
    for finding in findings:
        sys.stdout.write(f"{path}: {finding}\n")
    sys.stdout.write(f"{path}: {len(lines):,} lines, {len(findings):,} findings\n")
    return FOUND if findings else OK


def _reference(_: argparse.Namespace) -> int:
    sys.stdout.write(markdown())
    return OK


def _registry(chosen: argparse.Namespace) -> int:
    documents = registry(VOCABULARY, used_by())
    found = [*conflicts(VOCABULARY), *faults(documents, conventions.ALL)]
    write(documents, chosen.folder)
    sys.stdout.writelines(f"{fault}\n" for fault in found)
    sys.stdout.write(f"{chosen.folder}: {len(documents)} files, {len(found)} findings\n")
    return FOUND if found else OK


def _diff(chosen: argparse.Namespace) -> int:
    old = load(chosen.old)
    new = load(chosen.new) if chosen.new is not None else registry(VOCABULARY, used_by())
    if not old or not new:
        raise ValueError(f"{chosen.old if not old else chosen.new} holds no registry")
    found = changes(old, new)
    sys.stdout.writelines(f"{change}\n" for change in found)
    broken = sum(change.breaks for change in found)
    sys.stdout.write(f"{len(found):,} changes, {broken:,} of which break something\n")
    return FOUND if broken else OK


def _emit(chosen: argparse.Namespace) -> int:
    record_runs(
        VOCABULARY,
        chosen.folder,
        runs=max(1, chosen.runs),
        failing=chosen.failing,
        end_ns=time.time_ns(),
        apart_s=chosen.apart,
        seed=chosen.seed,
    )
    sys.stdout.write(f"{chosen.folder}: telemetry.jsonl, spans.jsonl\n")
    return OK


if __name__ == "__main__":
    sys.exit(main())
