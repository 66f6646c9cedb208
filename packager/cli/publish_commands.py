"""The commands `publish` and `bundle-local`: a component with its recipe to the cloud, or to one device without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from packager.cli.locations import Location
from packager.cli.options import endpoint_option, json_option, quiet_option, verbose_option
from packager.cli.output import failures, progress, show, warn
from packager.errors import OperationAbortedError, in_units, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.publishing.local import LocalBundle
    from packager.publishing.publish import Publication
    from packager.stores import Stores

_recipe_argument = click.argument("recipe", type=Location(takes_stream=True), metavar="RECIPE")
_artifact_option = click.option(
    "--artifact", required=True, type=Location(), metavar="ZIP|URI", help="The component's ZIP."
)


@click.command()
@_recipe_argument
@_artifact_option
@click.option("--bucket", required=True, metavar="BUCKET", help="Where the ZIP goes: a bucket, or s3://bucket/prefix.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0, max=86400),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for Greengrass.",
)
@endpoint_option
@json_option
@quiet_option
@verbose_option
def publish(  # noqa: PLR0913, PLR0917  one an option
    recipe: str,
    artifact: str,
    bucket: str,
    dry_run: bool,  # noqa: FBT001  click's
    wait_s: float,
    stores: Stores,
    as_json: bool,  # noqa: FBT001  same
    quiet: bool,  # noqa: FBT001  same
    verbose: bool,  # noqa: FBT001  same
) -> None:
    """Upload a component, create its version in Greengrass from RECIPE, and wait until it is deployable.

    What is there already is not done again. A version that exists with other bytes is refused before anything is
    written.
    """
    from packager.cli.signals import stop_on_signals  # noqa: PLC0415  kept off the path of --help
    from packager.publishing.publish import publish_component  # noqa: PLC0415  same

    with stop_on_signals(_nothing_to_say):
        with failures(as_json=as_json), progress(quiet=quiet, verbose=verbose) as bars:
            done = publish_component(
                recipe, artifact, bucket, dry_run=dry_run, wait_s=wait_s, stores=stores, on_progress=bars
            )
        _show(done, _publication_lines(done), as_json=as_json, quiet=quiet)


@click.command("bundle-local")
@_recipe_argument
@_artifact_option
@click.option(
    "--output", required=True, type=Location(takes_stream=True, is_folder=True), metavar="DIR", help="Folder to write."
)
@endpoint_option
@json_option
@quiet_option
def bundle_local(  # noqa: PLR0913, PLR0917  one an option
    recipe: str,
    artifact: str,
    output: str,
    stores: Stores,
    as_json: bool,  # noqa: FBT001  click's
    quiet: bool,  # noqa: FBT001  same
) -> None:
    """Write the folders of recipes and artifacts that a local deployment takes, and say the command to run."""
    from packager.publishing.local import bundle_local as write_bundle  # noqa: PLC0415  kept off the path of --help
    from packager.stores.address import output_folder  # noqa: PLC0415  same

    with failures(as_json=as_json):
        bundle = write_bundle(recipe, artifact, output_folder(output), stores=stores)
    _show(bundle, _bundle_lines(bundle), as_json=as_json, quiet=quiet)


def _nothing_to_say() -> None:
    click.echo(f"Error: {OperationAbortedError('The work was told to stop, and did not in time.')}", err=True)


def _show(done: Publication | LocalBundle, lines: Iterator[str], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        show(done.as_dict())
        return
    warn(done.finished.findings)
    if not quiet:
        show("\n".join(lines))


def _publication_lines(done: Publication) -> Iterator[str]:
    artifact = done.finished.artifact
    would = "would be " if done.dry_run else ""
    uploaded = f"{would}uploaded" if done.uploads else "already there"
    yield f"{printable(artifact.uri, 1100)}: {uploaded}, {in_units(artifact.size_bytes)}"
    yield f"    SHA-256 {artifact.sha256}"
    created = f"{would}created" if done.creates else "already there"
    yield f"{done.arn}: {created}{f', {done.state}' if done.state else ''}"


def _bundle_lines(bundle: LocalBundle) -> Iterator[str]:
    yield printable(bundle.recipe_path, 4096)
    yield f"{printable(bundle.artifact_path, 4096)}: {in_units(bundle.finished.artifact.size_bytes)}"
    yield "Copy the folder to the device, and deploy it there:"
    yield f"    {bundle.commands['classic']}"
    yield f"or, with Greengrass nucleus lite:\n    {bundle.commands['lite']}"
