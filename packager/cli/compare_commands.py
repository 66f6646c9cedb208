"""The commands `diff` and `verify`: two components, and a component with what a device has of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from packager.cli.locations import Location
from packager.cli.options import endpoint_option, exclude_option, json_option
from packager.cli.output import FAILED, UNDECIDED, counted, failures, show
from packager.errors import in_units, printable
from packager.settings import from_process_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.device.compare import ComponentComparison, FieldDifference, FileDifference
    from packager.device.unpacked import UnpackedComparison
    from packager.stores import Stores

_SHOWN_VALUE = 80


@click.command()
@click.argument("a", type=Location(), metavar="A")
@click.argument("b", type=Location(), metavar="B")
@click.option("--digests", is_flag=True, help="Read the files that differ, and give the SHA-256 of each.")
@endpoint_option
@json_option
def diff(a: str, b: str, digests: bool, stores: Stores, as_json: bool) -> None:  # noqa: FBT001  click's
    """Say what changed from component A to component B: files, sizes, CRC-32, fields of the manifest.

    Of components in S3 only the directories are read. Exit status: 0 the same files, 1 they differ, 3 it cannot be
    told.
    """
    from packager.device.compare import compare_components  # noqa: PLC0415  kept off the path of --help

    with failures(as_json=as_json, status=UNDECIDED):
        compared = compare_components(stores.source(a), stores.source(b), from_process_environment(), digests=digests)
    show(compared.as_dict() if as_json else "\n".join(_comparison_lines(compared)), unwritten=UNDECIDED)
    sys.exit(0 if compared.equal else FAILED)


@click.command()
@click.argument("folder", type=Location(is_folder=True), metavar="DIR")
@click.argument("component", type=Location(), metavar="ZIP|URI")
@exclude_option
@endpoint_option
@json_option
def verify(folder: str, component: str, exclude: tuple[str, ...], stores: Stores, as_json: bool) -> None:  # noqa: FBT001  click's
    """Compare a component that was unpacked on a device, byte for byte, with the ZIP that was shipped.

    Symbolic links are not followed. Exit status: 0 the same, 1 they differ, 3 it cannot be told.
    """
    from packager.device.unpacked import verify_unpacked  # noqa: PLC0415  kept off the path of --help

    with failures(as_json=as_json, status=UNDECIDED):
        verified = verify_unpacked(Path(folder), stores.source(component), from_process_environment(), exclude)
    show(verified.as_dict() if as_json else "\n".join(_verification_lines(verified)), unwritten=UNDECIDED)
    sys.exit(0 if verified.equal else FAILED)


def _comparison_lines(compared: ComponentComparison) -> Iterator[str]:
    for side, about in (("A", compared.a), ("B", compared.b)):
        size = f"{in_units(about['size_bytes'])}, {counted(about['files'], 'file', 'files')}"
        yield f"{side}: {printable(about['uri'], 1100)}: {size}"
    yield from map(_file_line, compared.files)
    if compared.files_in_all > len(compared.files):
        yield f"... and {compared.files_in_all - len(compared.files)} more files"
    yield from map(_field_line, compared.fields)
    if compared.fields_in_all > len(compared.fields):
        yield f"... and {compared.fields_in_all - len(compared.fields)} more fields of the manifest"
    same = f"{counted(compared.unchanged, 'is', 'are')} the same"
    if compared.repacked:
        same += f", {compared.repacked} of them packed to another size"
    yield f"{counted(compared.files_in_all, 'file differs', 'files differ')}, {same}."


def _file_line(each: FileDifference) -> str:
    path = printable(each.path, 400)
    moved = f" (from {printable(each.moved_from, 400)})" if each.moved_from else ""
    sides = [side for side in (each.a, each.b) if side]
    marks = [f"{in_units(side.size_bytes)} CRC-32 {side.crc32}" for side in sides]
    if each.change == "moved":
        marks = marks[:1]
    digests = "".join(f"\n    SHA-256 {side.sha256}" for side in sides if side.sha256)
    return f"{each.change:<8} {path}{moved}: {' -> '.join(marks)}{digests}"


def _field_line(each: FieldDifference) -> str:
    sides = each.as_dict()
    values = " -> ".join(_value(sides[side]) if side in sides else "(none)" for side in ("a", "b"))
    return f"manifest {printable(each.field, 400) or 'as a whole'}: {values}"


def _value(value: Any) -> str:  # noqa: ANN401  any JSON value
    return printable(json.dumps(value, ensure_ascii=False), _SHOWN_VALUE)


def _verification_lines(verified: UnpackedComparison) -> Iterator[str]:
    for each in verified.deviations:
        yield f"{each.kind.replace('_', ' '):<10}  {each.path}: {each.detail}"
    if verified.deviations_in_all > len(verified.deviations):
        yield f"... and {verified.deviations_in_all - len(verified.deviations)} more"
    size, differing = in_units(verified.bytes_compared), verified.deviations_in_all
    if not differing:
        yield f"{counted(verified.files, 'file', 'files')} ({size}): all the same."
    else:
        same = counted(verified.files, "file is", "files are")
        yield f"{counted(differing, 'path differs', 'paths differ')}, {same} the same ({size})."
