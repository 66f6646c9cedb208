"""The commands: each turns its options into one call of the library, and the result into text or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from packager.cli.group import JsonErrorsGroup
from packager.cli.locations import Location
from packager.cli.options import (
    complete_target,
    endpoint_option,
    exclude_option,
    json_option,
    quiet_option,
    verbose_option,
)
from packager.cli.output import FAILED, failures, finding_line, progress, show, usage_errors, warn
from packager.cli.recorded import RunReport, recorded
from packager.errors import OperationAbortedError, in_units, printable
from packager.settings import FILES_LAYOUT, LAYOUT_NAMES, MODEL_LAYOUT, STRATEGY_NAMES
from packager.stores.standard_streams import STREAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from click.shell_completion import CompletionItem

    from packager.results import ComponentResult, PackageResult

Command = Callable[..., None]


ELSEWHERE = {
    "bundle-local": "publish_commands",
    "check": "look_commands",
    "diff": "compare_commands",
    "inspect": "look_commands",
    "publish": "publish_commands",
    "recipe": "recipe_commands",
    "verify": "compare_commands",
}
"""Commands in modules of their own, which are loaded when they are asked for."""


class LazyGroup(JsonErrorsGroup):
    """A group whose other commands cost nothing where one is run: making their options takes longer than parsing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(
            import_module(f"packager.cli.{ELSEWHERE[cmd_name]}"), cmd_name.replace("-", "_")
        )
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edge-model-packager")
def packager() -> None:
    """Turn trained and compiled models of any size into AWS IoT Greengrass components.

    A URI is s3://bucket/key, file:///path or a plain path. Results go to standard output, everything else to standard
    error. Exit status: 0 all done, 1 some or all failed, 2 wrong use; 130, 143 and 129 after Ctrl-C, SIGTERM and
    SIGHUP.
    """


def _compiled(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    compiled: dict[str, str] = {}
    for value in values:
        target, equals, uri = value.partition("=")
        if not equals or not target or not uri:
            raise click.BadParameter(f"{printable(value)!r} is not of the form TARGET=URI.")
        if target in compiled:
            raise click.BadParameter(f"The target {printable(target)!r} is named twice.")
        compiled[target] = uri
    return compiled


def _complete_compiled(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem  # noqa: PLC0415  kept off the path of --help

    from packager.cli.completion import complete_behind  # noqa: PLC0415  same
    from packager.model.targets import COMPILED_ONNX, TARGETS  # noqa: PLC0415  same

    target, equals, uri = begun.partition("=")
    if equals:
        return complete_behind(f"{target}=", uri)
    return [CompletionItem(f"{name}=") for name in (*TARGETS, COMPILED_ONNX) if name.startswith(begun)]


_PACKAGE_OPTIONS = (
    click.option(
        "--layout",
        type=click.Choice(LAYOUT_NAMES),
        default=MODEL_LAYOUT,
        show_default=True,
        help="model: --trained with --compiled, for the server component. files: the files of any --model.",
    ),
    click.option("--trained", type=Location(takes_stream=True), metavar="URI", help="Trained artifact (tar.gz)."),
    click.option(
        "--compiled",
        multiple=True,
        callback=_compiled,
        shell_complete=_complete_compiled,
        metavar="TARGET=URI",
        help="Compiled artifact of one target; repeat it. None for an imported ONNX model.",
    ),
    click.option(
        "--target",
        "imported_targets",
        multiple=True,
        shell_complete=complete_target,
        metavar="TARGET",
        help="Target of an imported ONNX model; repeat it. [default: all that it serves]",
    ),
    click.option("--model", type=Location(takes_stream=True), metavar="URI", help="Any model, for the layout files."),
    click.option("--name", metavar="NAME", help="Name of the component, for the layout files."),
    click.option("--version", metavar="VERSION", help="Version of the component, for the layout files."),
    click.option("--prefix", default="", metavar="PATH", help="Folder for the files, for the layout files."),
    click.option(
        "--output",
        required=True,
        type=Location(takes_stream=True, is_folder=True),
        metavar="URI",
        help="Bucket with optional prefix, or folder.",
    ),
    click.option("--strategy", type=click.Choice(STRATEGY_NAMES), default="auto", show_default=True),
    exclude_option,
    click.option(
        "--model-file",
        metavar="PATH",
        help="The ONNX model in its artifact, by path or file name, where there are several.",
    ),
)


def _package_options(command: Command) -> Command:
    for option in reversed(_PACKAGE_OPTIONS):
        command = option(command)
    return command


def _model_of(layout: str, trained: str | None, model: str | None, compiled: Mapping[str, str]) -> str:
    """The one artifact that the layout asks for, by the option that stands for it."""
    if STREAM in {trained, *compiled.values()}:
        raise click.UsageError("Standard input (-) can be --model alone: a trained artifact is looked at again.")
    needed, given, other, left_over = (
        ("--model", model, "--trained", trained) if layout == FILES_LAYOUT else ("--trained", trained, "--model", model)
    )
    if left_over is not None:
        raise click.UsageError(f"{other} does not belong to --layout {layout}, which takes {needed}.")
    if given is None:
        raise click.UsageError(f"Missing option {needed!r}, which --layout {layout} needs.")
    return given


@packager.command()
@_package_options
@endpoint_option
@json_option
@click.option("--force", is_flag=True, help="Package although the component is already there.")
@click.option("--strict", is_flag=True, default=None, help="Refuse a component that breaks a rule of the device.")
@click.option(
    "--telemetry",
    type=Location(is_folder=True),
    metavar="DIR",
    help="Write telemetry.jsonl and spans.jsonl there.",
)
@click.option(
    "--recipe",
    "template",
    type=Location(takes_stream=True),
    metavar="TEMPLATE",
    help="Write the recipe beside the component, from a template as `recipe` takes it; for the layout files.",
)
@click.option(
    "--report",
    type=Location(),
    metavar="FILE.html",
    help="Write a page about the run there.",
)
@quiet_option
@verbose_option
@click.option("--trace", is_flag=True, help="Print where the time went, as a tree of spans, on standard error.")
def package(  # noqa: PLR0913, PLR0917  one an option
    as_json: bool,  # noqa: FBT001  click's
    telemetry: str | None,
    report: str | None,
    template: str | None,
    trace: bool,  # noqa: FBT001  same
    quiet: bool,  # noqa: FBT001  same
    verbose: bool,  # noqa: FBT001  same
    trained: str | None,
    model: str | None,
    layout: str,
    **wanted: Any,  # noqa: ANN401  same
) -> None:
    """Package a model for one or more targets."""
    from packager.cli.signals import stop_on_signals  # noqa: PLC0415  same
    from packager.packaging import package as package_model  # noqa: PLC0415  kept off the path of --help
    from packager.results import PackageResult  # noqa: PLC0415  same

    trained = _model_of(layout, trained, model, wanted["compiled"])
    _check_streams(trained, wanted["output"], wanted["compiled"], template)
    page = RunReport(report)

    def show_result(result: PackageResult) -> None:
        _show_result(result, as_json=as_json, quiet=quiet, on_error=wanted["output"] == STREAM)

    with stop_on_signals(lambda: show_result(PackageResult(error=_stopped()))):
        with (
            usage_errors(PackageResult().as_dict() if as_json else None),
            recorded(telemetry, trace=trace),
            progress(quiet=quiet, verbose=verbose) as bars,
            page.recording,
        ):
            result = package_model(
                trained, **wanted, layout=layout, recipe=template, on_progress=page.on_progress(bars)
            )
        page.write(result, trained)
        show_result(result)
    sys.exit(0 if result.succeeded and not page.failed else FAILED)


@packager.command()
@_package_options
@endpoint_option
@json_option
def plan(as_json: bool, trained: str | None, model: str | None, layout: str, **wanted: Any) -> None:  # noqa: ANN401, FBT001  click's
    """Say what packaging would need and take, and write nothing."""
    from packager.plan import plan as plan_package  # noqa: PLC0415  kept off the path of --help

    trained = _model_of(layout, trained, model, wanted["compiled"])
    if STREAM in {trained, wanted["output"]}:
        raise click.UsageError("A plan reads a model twice, and writes nothing: name a file and an output.")
    with failures(as_json=as_json), progress() as bars:
        planned = plan_package(trained, **wanted, layout=layout, on_progress=bars)
    show(planned.as_dict() if as_json else "\n".join(planned.lines()))
    sys.exit(0 if planned.fits else FAILED)


def _check_streams(model: str, output: str, compiled: Mapping[str, str], template: str | None) -> None:
    """Refuse what standard input and output cannot be."""
    if model == STREAM and output.startswith("s3://"):
        raise click.UsageError(
            "What is piped in cannot go to S3: the key of a component is made of all its bytes, and is needed before. "
            "Write it to a file first, or give a folder as --output."
        )
    if STREAM == model == template:
        raise click.UsageError("Standard input (-) cannot be both --model and --recipe.")
    if output != STREAM:
        return
    if len(compiled) > 1 or template:
        raise click.UsageError("Standard output (-) takes one component, and no recipe beside it: give a folder.")
    if sys.stdout is not None and sys.stdout.isatty():  # None: it is closed, which the store refuses
        raise click.UsageError("Standard output is a terminal: send the component to a file or another program.")


def _stopped() -> OperationAbortedError:
    return OperationAbortedError(
        "The work was told to stop, and did not in time; what it has finished is not listed.",
        next_step="Run it again: what is finished is found.",
    )


def _show_result(result: PackageResult, *, as_json: bool, quiet: bool, on_error: bool) -> None:
    """Say what came of it: on standard error when the component itself is on standard output."""
    if as_json:
        show(result.as_dict(), err=on_error)
    elif not quiet:
        warn(result.recipe.warnings if result.recipe else ())
        show("\n".join(_package_lines(result)), err=on_error)
    else:
        errors = [result.error, *(component.error for component in result.components)]
        for message in dict.fromkeys(str(error) for error in errors if error):
            click.echo(f"Error: {message}", err=True)


def _package_lines(result: PackageResult) -> Iterator[str]:
    told: set[str] = set()
    for component in result.components:
        yield _component_line(component)
        if component.error:
            error = str(component.error)
            yield "    for the same reason" if error in told else f"    {error}"
            told.add(error)
        for warning in component.warnings:
            yield f"    {finding_line(warning)}"
    if result.error and not result.components:
        yield f"Nothing was packaged: {result.error}"
    if result.recipe_failed:
        yield f"    The recipe was not written: {result.error}"
    elif result.recipe and result.recipe.uri:
        yield f"    {printable(result.recipe.uri, 1100)}"


def _component_line(component: ComponentResult) -> str:
    words = {
        "packaged": "packaged",
        "already_there": "already there",
        "failed": "FAILED",
        "left": "left for the next call",
    }
    line = f"{component.target}: {words[component.status]}"
    if component.uri is None:
        return line
    size = in_units(component.size_bytes or 0)
    where = printable(component.uri, 1100)
    return f"{line} in {component.duration_s:.1f} s, {size}\n    {where}\n    SHA-256 {component.sha256}"
