"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from packager.stores import Stores

exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out members whose path, or any folder or file name in it, matches; repeat it.",
)


def _stores(_: click.Context, __: click.Parameter, endpoint_url: str | None) -> Stores:
    from packager.stores import Stores  # noqa: PLC0415  kept off the path of --help

    return Stores(endpoint_url=endpoint_url)


endpoint_option = click.option(
    "--endpoint-url",
    "stores",
    callback=_stores,
    metavar="URL",
    help="Address of an S3 service other than AWS.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors; with --json, that alone.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Say on standard error what is being done.")
