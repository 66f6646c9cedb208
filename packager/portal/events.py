"""Events of machines and of EventBridge, read into frozen requests; RequestError names a field that is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from packager.errors import RequestError, SettingsError, printable
from packager.portal.fields import LONGEST_TEXT, Fields, wrong
from packager.settings import FILES_LAYOUT, LAYOUT_NAMES, MODEL_LAYOUT, STRATEGY_NAMES, TEMPLATE_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packager.stores import Stores

COMPILATION_CHANGED = "SageMaker Compilation Job State Change"
ENDED = {"Completed": "COMPLETED", "Failed": "FAILED", "Stopped": "STOPPED"}
"""SageMaker's states of a compilation that has ended, and their spelling in the portal's records."""

_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class PackageArguments:
    """Arguments of `packager.packaging.package`, which says what they mean."""

    trained: str
    compiled: Mapping[str, str]
    output: str
    imported_targets: tuple[str, ...] = ()
    strategy: str = "auto"
    force: bool = False
    strict: bool | None = None
    previous: Mapping[str, Any] | None = None
    prepared: bool = False
    exclude: tuple[str, ...] = ()
    model_file: str | None = None
    stores: Stores | None = None
    layout: str = MODEL_LAYOUT
    name: str | None = None
    version: str | None = None
    prefix: str = ""
    recipe: str | None = None


PREPARE, PREPARED = "prepare", "prepared"
"""What a machine event can request of the manifest: to keep it below the output, or to take it from there."""


@dataclass(frozen=True, slots=True)
class MachineCall:
    """A machine's request. `manifest` is PREPARE, when nothing else is to be done, PREPARED, or None."""

    arguments: PackageArguments
    training_id: str | None
    manifest: str | None


@dataclass(frozen=True, slots=True)
class CompilationEnded:
    """A compilation that ended: `status` as in records, `compiled_model_s3` when COMPLETED, else a reason."""

    job_name: str
    status: str
    compiled_model_s3: str | None
    failure_reason: str | None


def is_event_bridge_event(event: object) -> bool:
    return isinstance(event, dict) and "detail-type" in event


def is_delivery(event: object) -> bool:
    """Whether the event holds messages of SQS, SNS or S3; S3 also tries out whether its notifications arrive."""
    return isinstance(event, dict) and ("Records" in event or event.get("Event") == "s3:TestEvent")


def is_asynchronous_event(event: object) -> bool:
    """Whether the sender of a machine's request says that Lambda was asked to queue it, which Lambda does not say."""
    return isinstance(event, dict) and event.get("asynchronous") is True


def is_probe_event(event: object) -> bool:
    """Whether the schedule asks for a probe, or somebody who is allowed to invoke the function: `{"probe": true}`."""
    return isinstance(event, dict) and event.keys() == {"probe"} and event["probe"] is True


def is_execution_event(event: object) -> bool:
    """Whether a state machine sends the event, which tries again by itself and fails by itself."""
    return isinstance(event, dict) and isinstance(event.get("execution"), dict)


def machine_call(event: object, *, in_lambda: bool = False) -> MachineCall:
    """The request in a machine's event: trained, compiled and output; optionally options, manifest, training_id.

    In the layout `files`: model, name, version and output; optionally prefix, recipe, options and training_id.

    A field that is null is a missing one. In Lambda the output has to be in S3: the function's own disk is lost.
    """
    fields = Fields(event).without_nulls()
    manifest = fields.optional_text("manifest")
    if manifest not in {None, PREPARE, PREPARED}:
        raise wrong("manifest", manifest, f"{PREPARE} or {PREPARED}")
    options = _options(fields.object("options").without_nulls()) if "options" in fields else {}
    if _layout(fields) == FILES_LAYOUT:
        if manifest:
            raise wrong("manifest", manifest, "missing: the layout files makes none")
        arguments = _files_of_any_model(fields, options, in_lambda=in_lambda)
        return MachineCall(arguments, fields.optional_text("training_id"), manifest)
    arguments = PackageArguments(
        trained=_uri(fields, "trained"),
        compiled=_compiled(fields) if manifest != PREPARE else {},
        output=_output(fields, in_lambda=in_lambda),
        prepared=manifest == PREPARED,
        **options,
    )
    return MachineCall(arguments, fields.optional_text("training_id"), manifest)


def _layout(fields: Fields) -> str:
    layout = fields.optional_text("layout") or MODEL_LAYOUT
    if layout not in LAYOUT_NAMES:
        raise wrong("layout", layout, " or ".join(LAYOUT_NAMES))
    others = ("trained", "compiled") if layout == FILES_LAYOUT else ("model", "name", "version", "prefix", "recipe")
    for name in others:
        if name in fields:
            raise RequestError(
                f"{name} does not belong to the layout {layout}.",
                next_step=f"Leave it out, or name the layout that it belongs to: {' or '.join(LAYOUT_NAMES)}.",
                field=name,
            )
    return layout


def _files_of_any_model(fields: Fields, options: dict[str, Any], *, in_lambda: bool) -> PackageArguments:
    model = _uri(fields, "model")
    if in_lambda and not model.startswith("s3://"):
        # Any file is a model here: one of the function's own must not become a component.
        raise wrong("model", model, "s3://bucket/key or s3://bucket/prefix/")
    return PackageArguments(
        trained=model,
        compiled={},
        output=_output(fields, in_lambda=in_lambda),
        layout=FILES_LAYOUT,
        name=fields.text("name"),
        version=fields.text("version"),
        prefix=fields.optional_text("prefix", LONGEST_TEXT) or "",
        recipe=_template(fields, in_lambda=in_lambda) if "recipe" in fields else None,
        **options,
    )


def _template(fields: Fields, *, in_lambda: bool) -> str:
    """A template that comes with the package, by name, or the URI of one."""
    if fields.text("recipe", LONGEST_TEXT) in TEMPLATE_NAMES:
        return fields.text("recipe", LONGEST_TEXT)
    uri = _uri(fields, "recipe")
    if in_lambda and not uri.startswith("s3://"):
        raise wrong("recipe", uri, f"s3://bucket/key or one of {', '.join(TEMPLATE_NAMES)}")
    return uri


def compilation_ended(event: dict[str, Any]) -> CompilationEnded:
    """The end of a compilation in EventBridge's event."""
    fields = Fields(event)
    if (fields["source"], fields["detail-type"]) != ("aws.sagemaker", COMPILATION_CHANGED):
        raise RequestError(
            "The function does not handle this event of EventBridge.",
            next_step=f"Send events of source aws.sagemaker and detail-type {COMPILATION_CHANGED}.",
            field="detail-type" if fields["source"] == "aws.sagemaker" else "source",
        )
    detail = fields.object("detail")
    job_name = detail.text("CompilationJobName")
    state = detail.text("CompilationJobStatus")
    status = ENDED.get(state.capitalize())
    if status is None:
        raise wrong("detail.CompilationJobStatus", state, " or ".join(ENDED))
    if status == "COMPLETED":
        return CompilationEnded(
            job_name, status, detail.object("ModelArtifacts").text("S3ModelArtifacts", LONGEST_TEXT), None
        )
    reason = detail["FailureReason"]
    text = reason if isinstance(reason, str) and reason else f"The compilation job ended as {status}."
    return CompilationEnded(job_name, status, None, printable(text, _LONGEST_REASON))


def _uri(fields: Fields, name: str) -> str:
    """An s3:// or file:/// URI, or an absolute path: a function has no meaningful working folder."""
    uri = fields.text(name, LONGEST_TEXT)
    if not uri.startswith(("s3://", "file:///", "/")):
        raise wrong(fields.named(name), uri, "s3://bucket/key, file:///path or an absolute path")
    return uri


def _output(fields: Fields, *, in_lambda: bool) -> str:
    uri = _uri(fields, "output")
    if in_lambda and not uri.startswith("s3://"):
        raise wrong(fields.named("output"), uri, "s3://bucket or s3://bucket/prefix, since Lambda keeps no files")
    return uri


def _compiled(fields: Fields) -> dict[str, str]:
    compiled: dict[str, str] = {}
    for number, each in enumerate(fields.list("compiled")):
        entry = Fields(each, f"compiled[{number}]")
        target = entry.text("target")
        if target in compiled:
            raise RequestError(
                f"{entry.named('target')} names a target a second time.",
                next_step="Name each target once.",
                field=entry.named("target"),
            )
        compiled[target] = _uri(entry, "uri")
    return compiled


_OPTIONS = ("strategy", "force", "strict", "imported_targets", "previous", "exclude", "model_file", "s3")


def _options(fields: Fields) -> dict[str, Any]:
    unknown = fields.names() - set(_OPTIONS)
    if unknown:
        raise RequestError(
            f"options has {len(unknown)} fields that are not known.",
            next_step=f"Known are {', '.join(_OPTIONS)}.",
            field="options",
        )
    strategy = fields.optional_text("strategy")
    if strategy not in {None, *STRATEGY_NAMES}:
        raise wrong(fields.named("strategy"), strategy, f"one of {', '.join(STRATEGY_NAMES)}")
    given = {
        "strategy": strategy,
        "force": fields.optional_flag("force"),
        "strict": fields.optional_flag("strict"),
        "imported_targets": fields.texts("imported_targets") or None,
        "previous": _previous(fields) if "previous" in fields else None,
        "exclude": fields.texts("exclude") or None,
        "model_file": fields.optional_text("model_file", LONGEST_TEXT),
        "stores": _stores(fields.object("s3").without_nulls()) if "s3" in fields else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _stores(fields: Fields) -> Stores:
    """Stores that ask S3 for what a request wants, and else for what the settings say."""
    from packager.stores import Stores  # noqa: PLC0415  few requests need it
    from packager.stores.s3_options import OF_REQUESTS, from_process_environment  # noqa: PLC0415  same

    if fields.names() - set(OF_REQUESTS):
        raise RequestError(
            "options.s3 has fields that are not known.",
            next_step=f"Known are {', '.join(OF_REQUESTS)}.",
            field="options.s3",
        )
    wanted: dict[str, Any] = {
        name: fields.optional_flag(name) if OF_REQUESTS[name] is bool else fields.text(name, LONGEST_TEXT)
        for name in fields.names()
    }
    try:
        return Stores(s3=replace(from_process_environment(), **wanted))
    except SettingsError as error:
        name = str(error.figures["setting"]).removeprefix("S3_").lower()
        raise RequestError(
            f"{fields.named(name)} cannot be used: {error.message}", next_step=error.next_step, field=fields.named(name)
        ) from None


def _previous(fields: Fields) -> dict[str, Any]:
    previous = fields.object("previous")
    for number, each in enumerate(previous.list("components")):
        component = Fields(each, f"{fields.named('previous')}.components[{number}]")
        component.text("target")
        component.text("status")
    return previous.whole()
