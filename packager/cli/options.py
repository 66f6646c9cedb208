"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from packager import settings
from packager.errors import printable
from packager.stores import s3_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from packager.stores import Stores

exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out members whose path, or any folder or file name in it, matches; repeat it.",
)


def complete_target(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    from packager.model.targets import TARGETS  # noqa: PLC0415  kept off the path of --help

    return [name for name in TARGETS if name.startswith(begun)]


def _stores(_: click.Context, __: click.Parameter, endpoint_url: str | None) -> Stores:
    from packager.stores import Stores  # noqa: PLC0415  kept off the path of --help

    return Stores(
        endpoint_url=endpoint_url,
        standard_input=getattr(sys.stdin, "buffer", None),
        standard_output=getattr(sys.stdout, "buffer", None),
    )


def _change_settings(context: click.Context, _: click.Parameter, changes: tuple[str, ...]) -> None:
    """Set variables of the environment until the command ends, so that whoever reads a setting sees the same."""
    readers = (settings.from_process_environment, s3_options.from_process_environment)
    known = {each.metadata["variable"] for kind in (settings.Settings, s3_options.S3Options) for each in fields(kind)}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise click.BadParameter(f"{printable(change)!r} is not of the form SETTING=VALUE.")
        if name not in known:
            from difflib import get_close_matches  # noqa: PLC0415  only to explain an error

            (near,) = get_close_matches(name.upper(), sorted(known), 1, cutoff=0)
            raise click.BadParameter(
                f"{printable(name)!r} is no setting; the nearest is {near}. docs/settings.md lists them all."
            )
        # The root: of a command whose other options are refused, nothing is closed.
        context.find_root().call_on_close(partial(_put_back, name, os.environ.get(name), readers))
        os.environ[name] = value
    for reader in readers:
        reader.cache_clear()


def _put_back(name: str, value: str | None, readers: Iterable[Any]) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
    for reader in readers:
        reader.cache_clear()


_settings_option = click.option(
    "--set",
    multiple=True,
    callback=_change_settings,
    expose_value=False,
    is_eager=True,
    metavar="SETTING=VALUE",
    help="A limit, or what is asked of S3, for this run: MAX_COMPRESSION_RATIO=500, S3_ENCRYPTION=aws:kms; repeat it.",
)
_endpoint_option = click.option(
    "--endpoint-url",
    "stores",
    callback=_stores,
    metavar="URL",
    help="Address of an S3 service other than AWS.",
)


def endpoint_option(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every command that opens a URI: where S3 is, and how it is asked."""
    return _endpoint_option(_settings_option(command))


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors; with --json, that alone.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Say on standard error what is being done.")
