"""The public calls that make components and manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from packager.deadline import time_limit
from packager.errors import RequestError, StoreError
from packager.limits.retry import retrying
from packager.limits.storage import StorageManager
from packager.limits.strategy import AUTO
from packager.model.layouts import Component, layout_of
from packager.model.manifest import is_onnx
from packager.model.targets import served_by
from packager.model.trained import GivenManifest, TrainedArtifact
from packager.model.wanted import Wanted
from packager.results import OnProgress, PackageResult, done_before
from packager.run import Options, Run, make_components
from packager.settings import FILES_LAYOUT, MODEL_LAYOUT, Settings, from_process_environment
from packager.stores import Stores
from packager.stores.archive import COMPILED, TRAINED, Archive, patterns
from telemetry import context

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from packager.publishing.beside import RecipeBeside


def package(  # noqa: PLR0913  every choice of a call, by name
    trained: str,
    compiled: Mapping[str, str],
    output: str,
    *,
    imported_targets: Sequence[str] = (),
    strategy: str = AUTO,
    force: bool = False,
    strict: bool | None = None,
    settings: Settings | None = None,
    stores: Stores | None = None,
    client: S3Client | None = None,
    endpoint_url: str | None = None,
    on_progress: OnProgress | None = None,
    time_left_s: Callable[[], float] | None = None,
    previous: Mapping[str, Any] | None = None,
    prepared: bool = False,
    exclude: Sequence[str] = (),
    model_file: str | None = None,
    layout: str = MODEL_LAYOUT,
    name: str | None = None,
    version: str | None = None,
    prefix: str = "",
    recipe: str | None = None,
) -> PackageResult:
    """Package a model for several targets. Each succeeds or fails on its own; failures are results, never raised.

    Args:
        trained: URI or path of the trained artifact (tar.gz); in the layout `files`, of any model.
        compiled: URI or path of the compiled artifact by target; `onnx` stands for the three targets an ONNX export
            serves. Empty for an imported ONNX model, which needs no compilation.
        output: bucket with optional prefix, or folder.
        imported_targets: targets of an imported ONNX model; all four that it serves when empty.
        strategy: auto, or a name of `packager.limits.strategy.STRATEGIES`.
        force: package although the component is already there.
        strict: refuse a component that breaks a rule of the device; default: the setting.
        settings: limits; default: from the environment.
        stores: opens every URI of this call; default: `Stores(client, endpoint_url)`.
        client: an S3 client to use in place of the process's own.
        endpoint_url: address of an S3 service other than AWS.
        on_progress: see OnProgress.
        time_left_s: gives the seconds until everything must have ended; targets for which it is too short are left.
        previous: the document of an earlier result; targets that are done in it are not made again.
        prepared: look for the manifest that `prepare_manifest` kept at `output` before the trained artifact is read.
        exclude: shell-style patterns of members to leave out of every artifact, as `--exclude` has them.
        model_file: path or name of the ONNX model in its artifact, where that holds several.
        layout: `model`, which the server component takes, or `files`: the files of any model, as they are, in one
            component, held against the rules of Greengrass alone.
        name: of the component, in the layout `files`; its target in the result is `name=version`.
        version: of the component, in the layout `files`.
        prefix: a folder to put its files below, in the layout `files`.
        recipe: path or URI of a template, or the name of a shipped one, of which the recipe is written beside the
            component, in the layout `files`; see `PackageResult.recipe`.

    Memory over the idle process, whatever the size of the artifacts: from S3 to S3 at most 64 MiB for one target, and
    400 MiB for eight at once (two ranges of 6 MiB, two parts of 8 MiB and buffers for each). Raises RequestError for
    wrong arguments only.
    """
    settings = settings or from_process_environment()
    strict = settings.strict_device_rules if strict is None else strict
    options = Options(settings, strategy, force=force, strict=strict)
    run = Run(options, stores or Stores(client, endpoint_url), output, on_progress)
    wanted = Wanted(trained, compiled, imported_targets, exclude, model_file, layout, name, version, prefix, output)
    components = wanted.components(run.stores, settings, run.checkpoint.report, run.sink if prepared else None)
    beside = _recipe_beside(recipe, wanted, run.stores)
    done = done_before(previous)
    with _limited_to(time_left_s):
        result = make_components(run, components, done)
        return beside.write(result) if beside else result


def _recipe_beside(named: str | None, wanted: Wanted, stores: Stores) -> RecipeBeside | None:
    if named is None:
        return None
    if wanted.layout != FILES_LAYOUT:
        raise RequestError(
            f"A recipe beside the component does not belong to the layout {wanted.layout}.",
            next_step="Leave it out; `packager recipe` writes the recipe of a component for the server component.",
            field="recipe",
        )
    from packager.publishing.beside import RecipeBeside  # noqa: PLC0415  few calls need it

    try:
        return RecipeBeside(named, wanted.name or "", wanted.version or "", stores)
    except StoreError as error:
        raise RequestError(
            f"The template of the recipe cannot be read: {error.message}", next_step=error.next_step, field="recipe"
        ) from error


def prepare_manifest(  # noqa: PLR0913  every choice of a call, by name
    trained: str,
    output: str,
    *,
    settings: Settings | None = None,
    stores: Stores | None = None,
    client: S3Client | None = None,
    endpoint_url: str | None = None,
    time_left_s: Callable[[], float] | None = None,
    exclude: Sequence[str] = (),
) -> str | None:
    """Make the manifest of a trained artifact and keep it at `output`, for calls of `package` with `prepared`.

    Returns its URI; None when it could not be kept, and those calls read the artifact themselves. Reads
    nothing when it is there already. Arguments and memory as for `package`. Errors: ManifestError for what is missing
    or wrong in the artifact, ExtractionError and StoreError with their kinds, OutOfTimeError.
    """
    from packager.model.prepared import PreparedManifest  # noqa: PLC0415  packaging seldom needs it

    settings = settings or from_process_environment()
    run = Run(Options(settings), stores or Stores(client, endpoint_url), output)
    model = TrainedArtifact(
        run.stores.source(trained), settings, report=run.checkpoint.report, exclude=patterns(exclude)
    )
    manifest = PreparedManifest(model, run.sink, run.stores.source)
    with _limited_to(time_left_s):
        return retrying(manifest.keep, clean=lambda: None, attempts=settings.max_attempts)


def create_dda_manifest(  # noqa: PLR0913  the customer's signature
    trained_model_s3: str,
    model_type: str | None = None,
    s3_client: S3Client | None = None,
    *,
    settings: Settings | None = None,
    stores: Stores | None = None,
    endpoint_url: str | None = None,
) -> tuple[dict[str, Any], str]:
    """The component's manifest, and the file name of the model it speaks of, from the trained artifact.

    Reads the artifact once, to its checked end. `model_type` is only recorded.
    Errors: ManifestError for what is missing or wrong in it, ExtractionError and StoreError with their kinds.
    """
    settings = settings or from_process_environment()
    stores = (stores or Stores(s3_client, endpoint_url)).with_scratch(StorageManager(settings))
    trained = TrainedArtifact(stores.source(trained_model_s3), settings, model_type=model_type)
    return trained.manifest, trained.model_file_name


def package_component(  # noqa: PLR0913, PLR0917  the customer's signature
    training_id: str,
    target: str,
    compiled_model_s3: str,
    dda_manifest: Mapping[str, Any],
    s3_client: S3Client | None = None,
    usecase: Mapping[str, Any] | None = None,
    *,
    output: str | None = None,
    strategy: str = AUTO,
    force: bool = False,
    strict: bool | None = None,
    settings: Settings | None = None,
    stores: Stores | None = None,
    endpoint_url: str | None = None,
    on_progress: OnProgress | None = None,
    exclude: Sequence[str] = (),
    model_file: str | None = None,
) -> str:
    """Package one target with its manifest, and return the component's URI.

    The output is `output`, or the bucket of the use case (`usecase["s3_bucket"]`). With the manifest of an imported
    ONNX model, `compiled_model_s3` is the trained artifact itself. Raises the error of the work, a PackagerError.
    """
    settings = settings or from_process_environment()
    if not isinstance(dda_manifest, Mapping):
        raise RequestError(
            f"The manifest is {type(dda_manifest).__name__}.",
            next_step="Give the manifest that create_dda_manifest returns first.",
            field="dda_manifest",
        )
    bucket = (usecase or {}).get("s3_bucket")
    if not output and not (isinstance(bucket, str) and bucket):
        raise RequestError(
            "There is nowhere to put the component.",
            next_step="Give `output`, or a use case with `s3_bucket`.",
            field="usecase.s3_bucket",
        )
    strict = settings.strict_device_rules if strict is None else strict
    options = Options(settings, strategy, force=force, strict=strict)
    run = Run(options, stores or Stores(s3_client, endpoint_url), output or f"s3://{bucket}", on_progress)
    imported = is_onnx(dda_manifest)
    source = run.stores.source(compiled_model_s3)
    component = Component(
        label=target,
        targets=served_by(target),
        archive=Archive(source, TRAINED if imported else COMPILED, patterns(exclude)),
        layout=layout_of(target, imported=imported),
        manifest_source=GivenManifest(dda_manifest),
        model_file=model_file,
    )
    with context(training_id=training_id):
        result = make_components(run, [component], {})
    error = result.error or result.components[0].error
    if error:
        raise error
    return str(result.components[0].uri)


def _limited_to(time_left_s: Callable[[], float] | None) -> AbstractContextManager[None]:
    return time_limit(time_left_s) if time_left_s else nullcontext()
