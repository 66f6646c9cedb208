"""Check recorded lines against every limit of CloudWatch, or print the reference of all rows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from telemetry.check import check_lines
from telemetry.watch.reference import markdown


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when all lines conform, 1 when one does not, 2 when a file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m telemetry", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check recorded EMF and log lines against every limit and the catalog")
    check.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a telemetry.jsonl, or - for standard input")
    commands.add_parser("reference", help="print every row, metric and key as Markdown")
    chosen = parser.parse_args(arguments)
    if chosen.command == "reference":
        sys.stdout.write(markdown())
        return 0
    status = 0
    for path in chosen.files:
        try:
            status = max(status, _check(path))
        except OSError as error:
            sys.stderr.write(f"{path}: {error.strerror}; give a file of recorded lines\n")
            status = 2
    return status


def _check(path: Path) -> int:
    text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8", "backslashreplace")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    findings = check_lines(lines)
    for finding in findings:
        sys.stdout.write(f"{path}: {finding}\n")
    sys.stdout.write(f"{path}: {len(lines):,} lines, {len(findings):,} findings\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
