"""The command `recipe`: a component's recipe for this product's devices, or from a template of the user's."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from packager.cli.locations import Location
from packager.cli.options import endpoint_option, json_option
from packager.cli.output import failures, show, warn, write
from packager.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packager.device.recipe_template import RecipeNames
    from packager.results import Finding
    from packager.stores import Stores


def _show_template(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is None or context.resilient_parsing:
        return
    from packager.device.recipe_template import shipped_template  # noqa: PLC0415  kept off the path of --help

    try:
        template = shipped_template(name)
    except RequestError as error:
        raise click.BadParameter(str(error)) from error
    write(template)
    context.exit()


@click.command()
@click.argument("uri", type=Location(), metavar="ZIP|URI")
@click.option("--name", help="Component name; without a template: model-, then letters, digits, '.', '_' and '-'.")
@click.option("--version", help="Component version; without a template: N.0.0.")
@click.option("--target", metavar="TARGET", help="The device it is for; not with a template.")
@click.option(
    "--template",
    type=Location(takes_stream=True),
    metavar="FILE",
    help="A recipe, YAML or JSON, to fill in; or onnxruntime, tflite, model.",
)
@click.option("--publisher", help="ComponentPublisher of the recipe.")
@click.option("--description", help="ComponentDescription of the recipe.")
@click.option(
    "--published-as", type=Location(), metavar="S3-URI", help="Where the ZIP will lie, when URI is a local copy."
)
@click.option(
    "--show-template",
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_show_template,
    help="Print a template that comes with the package, and exit.",
)
@endpoint_option
@json_option
def recipe(  # noqa: PLR0913, PLR0917  one an option
    uri: str,
    name: str | None,
    version: str | None,
    target: str | None,
    template: str | None,
    publisher: str | None,
    description: str | None,
    published_as: str | None,
    stores: Stores,
    as_json: bool,  # noqa: FBT001  click's
) -> None:
    """Write the Greengrass recipe of a component to standard output.

    With a template, in its format: the artifact is filled in, everything else stays, and the whole is held against the
    published reference.
    """
    from packager.device.recipe_template import RecipeNames, render  # noqa: PLC0415  kept off the path of --help

    names = RecipeNames(name, version, publisher, description)
    with failures(as_json=as_json):
        if template is None:
            made, findings, in_json = _for_target(uri, target, names, published_as, stores)
        elif target is None:
            made, findings, in_json = _from_template(uri, template, names, published_as, stores)
        else:
            raise RequestError(
                "A template says itself which platform it is for.", next_step="Leave out --target.", field="target"
            )
    if as_json:
        show({"recipe": made, "warnings": [asdict(each) for each in findings]})
    else:
        warn(findings)
        write(render(made, as_json=in_json))


_Made = tuple[dict[str, Any], "Sequence[Finding]", bool]
"""A recipe, what nucleus lite does not take of it, and whether it is written as JSON."""


def _for_target(uri: str, target: str | None, names: RecipeNames, published_as: str | None, stores: Stores) -> _Made:
    from packager.device import recipe as recipes  # noqa: PLC0415  kept off the path of --help
    from packager.device.check import published_artifact  # noqa: PLC0415  same
    from packager.model.targets import target as known_target  # noqa: PLC0415  same

    for option, value in (("--name", names.name), ("--version", names.version), ("--target", target)):
        if value is None:
            raise RequestError(
                f"{option} is missing.", next_step=f"Give {option}, or a --template that says it.", field=option[2:]
            )
    device = known_target(str(target))
    artifact = published_artifact(uri, device, stores, published_as)
    made = recipes.recipe(artifact, str(names.name), str(names.version), device)
    for key, text in (("ComponentDescription", names.description), ("ComponentPublisher", names.publisher)):
        made |= {key: text} if text is not None else {}
    recipes.check_size(made)
    return made, (), True


def _from_template(uri: str, template: str, names: RecipeNames, published_as: str | None, stores: Stores) -> _Made:
    from packager.device.check import published_artifact  # noqa: PLC0415  kept off the path of --help
    from packager.device.recipe_template import fill_template, read_template  # noqa: PLC0415  same

    read, is_json = read_template(template, stores)
    return (*fill_template(read, published_artifact(uri, None, stores, published_as), names), is_json)
