"""The commands `inspect` and `check`: what an archive holds, and whether a device would take a component."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from packager.cli.locations import Location
from packager.cli.options import complete_target, endpoint_option, exclude_option, json_option
from packager.cli.output import FAILED, counted, failures, finding_line, progress, show
from packager.errors import in_units
from packager.settings import LAYOUT_NAMES, MODEL_LAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.extractor import ArchiveInfo
    from packager.stores import Stores


@click.command()
@click.argument("uri", type=Location(takes_stream=True))
@click.option(
    "--layout",
    type=click.Choice(LAYOUT_NAMES),
    default=MODEL_LAYOUT,
    show_default=True,
    help="model: a tar.gz. files: whatever --model can be, an archive of any kind, a folder, a prefix or a file.",
)
@exclude_option
@endpoint_option
@json_option
def inspect(uri: str, layout: str, exclude: tuple[str, ...], stores: Stores, as_json: bool) -> None:  # noqa: FBT001  click's
    """List an archive's members and what is wrong with it, in one pass, extracting nothing."""
    from packager.extractor import StreamingExtractor  # noqa: PLC0415  kept off the path of --help
    from packager.results import ProcessingState  # noqa: PLC0415  same

    with failures(as_json=as_json), progress() as bars:
        # What is below a folder or a prefix is listed once, by whoever reads it.
        total = stores.source(uri).size_bytes() if layout == MODEL_LAYOUT else 0
        info = StreamingExtractor(stores=stores, exclude=exclude, layout=layout).get_archive_info(
            uri,
            bars and (lambda done: bars(ProcessingState("inspecting", bytes_done=done, bytes_total=total))),
        )
    if as_json:
        show(info.as_dict())
    else:
        for line in _archive_lines(info):
            show(line)
    sys.exit(FAILED if info.findings else 0)


@click.command()
@click.argument("uri", type=Location(takes_stream=True), metavar="ZIP|URI")
@click.option("--target", metavar="TARGET", shell_complete=complete_target, help="Also what this target alone needs.")
@click.option(
    "--layout",
    type=click.Choice(LAYOUT_NAMES),
    default=MODEL_LAYOUT,
    show_default=True,
    help="files: the rules of Greengrass alone, for a component of any model.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 when there is any finding.")
@endpoint_option
@json_option
def check(  # noqa: PLR0913, PLR0917  one an option
    uri: str,
    target: str | None,
    layout: str,
    strict: bool,  # noqa: FBT001  click's
    stores: Stores,
    as_json: bool,  # noqa: FBT001  same
) -> None:
    """Say whether a device would take a component, or Greengrass a recipe (.json, .yaml), rule by rule."""
    from packager.device.check import check_component  # noqa: PLC0415  kept off the path of --help
    from packager.device.recipe_check import check_recipe_file, is_recipe  # noqa: PLC0415  same

    with failures(as_json=as_json):
        source = stores.source(uri)
        if is_recipe(uri):
            findings = check_recipe_file(source)
        else:
            findings = check_component(uri, target, stores=stores, layout=layout)
    if as_json:
        show({"uri": uri, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            show(finding_line(finding))
        show(
            f"{counted(len(findings), 'rule is', 'rules are')} broken."
            if findings
            else f"A device would take this {'recipe' if is_recipe(uri) else 'component'}."
        )
    sys.exit(FAILED if findings and strict else 0)


def _archive_lines(info: ArchiveInfo) -> Iterator[str]:
    from packager.results import left_out_warning  # noqa: PLC0415  kept off the path of --help

    for member in info.members:
        yield f"{member.size_bytes:>14}  {member.kind:<13}  {member.name}"
    if info.members_in_all > len(info.members):
        yield f"... and {info.members_in_all - len(info.members)} more, whose names are too long to list"
    sizes = f"{in_units(info.packed_bytes)} packed, {in_units(info.unpacked_bytes)} unpacked"
    yield f"{info.members_in_all} members, {sizes}, ratio {info.ratio:.2f}"
    for finding in (*left_out_warning(info.left_out_in_all, info.left_out), *info.findings):
        yield finding_line(finding)
    if info.findings_in_all > len(info.findings):
        yield f"... and {info.findings_in_all - len(info.findings)} more of such findings"
