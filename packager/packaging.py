"""From a trained artifact and its compiled ones to components under their keys: all targets of a call."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from packager.core.component import (
    Component,
    IdentityLookup,
    Made,
    Members,
    layout_of,
    make_component,
    streamed_members,
)
from packager.core.pipeline import Lookahead
from packager.deadline import ABORT_RESERVE_S, time_limit
from packager.device import check
from packager.errors import (
    InsufficientStorageError,
    OperationAbortedError,
    OutOfTimeError,
    PackagerError,
    RequestError,
    StagingNeededError,
    printable,
)
from packager.limits.memory import MemoryMonitor, memory_limit_bytes, resident_bytes
from packager.limits.retry import retrying
from packager.limits.scratch import sweep
from packager.limits.staging import list_files, staged_members
from packager.limits.storage import StorageManager
from packager.limits.strategy import AUTO, PARTIAL, SEQUENTIAL, STRATEGIES, Choice, Demand, Supply, choose
from packager.model import targets
from packager.model.manifest import is_onnx
from packager.model.prepared import PreparedManifest
from packager.model.trained import GivenManifest, ManifestSource, TrainedArtifact
from packager.results import (
    ALREADY_THERE,
    FAILED,
    LEFT,
    PACKAGED,
    ComponentResult,
    PackageResult,
    ProcessingState,
    done_before,
)
from packager.settings import Settings, from_process_environment
from packager.stores import Stores
from telemetry import carrying, catalog, context, log, observe

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from packager.stores import Sink

OnProgress = Callable[[ProcessingState], None]
"""Told how far the work is, from the threads that do it, one call at a time. What it raises stops that target."""

_NOTICE_SIGNALS_S = 0.1

PLANNED_BYTES_PER_S = 32 << 20
"""Packed bytes per second that a plan counts on: cautious, since a target that is begun in vain is time lost."""


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
) -> PackageResult:
    """Package a model for several targets; each succeeds or fails on its own. Never raises a failure of the work.

    Args:
        trained: URI or path of the trained artifact (tar.gz).
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
        time_left_s: gives the seconds until everything must have ended; targets that do not make it are left.
        previous: the document of an earlier result to go on from; what it has done is not done again.
        prepared: look for the manifest that `prepare_manifest` kept at `output` before the trained artifact is read.

    Memory: about 30 MiB a target besides the interpreter, whatever the size of the artifacts. Raises RequestError for
    wrong arguments only.
    """
    settings = settings or from_process_environment()
    storage = StorageManager(settings)
    stores = (stores or Stores(client, endpoint_url)).with_scratch(storage)
    run = _Run(
        settings=settings,
        storage=storage,
        stores=stores,
        sink=stores.sink(output),
        wanted=strategy,
        force=force,
        strict=settings.strict_device_rules if strict is None else strict,
        on_progress=on_progress,
        time_left_s=time_left_s,
    )
    model = TrainedArtifact(stores.source(trained), settings, report=run.report)
    manifest_source = PreparedManifest(model, run.sink, stores.source) if prepared else model
    components = components_of(model, compiled, stores, imported_targets, manifest_source)
    return _all(run, components, done_before(previous))


def prepare_manifest(
    trained: str,
    output: str,
    *,
    settings: Settings | None = None,
    stores: Stores | None = None,
    time_left_s: Callable[[], float] | None = None,
) -> str | None:
    """Make the manifest of a trained artifact and keep it at `output`, for calls of `package` with `prepared`.

    Returns its URI; None when it could not be kept, which leaves those calls to read the artifact themselves. Reads
    nothing when it is there already. Arguments and memory as for `package`. Errors: ManifestError for what is missing
    or wrong in the artifact, ExtractionError and StoreError with their kinds, OutOfTimeError.
    """
    settings = settings or from_process_environment()
    storage = StorageManager(settings)
    stores = (stores or Stores()).with_scratch(storage)
    sink = stores.sink(output)
    run = _Run(
        settings, storage, stores, sink, AUTO, force=False, strict=False, on_progress=None, time_left_s=time_left_s
    )
    model = TrainedArtifact(stores.source(trained), settings, report=run.report)
    manifest = PreparedManifest(model, sink, stores.source)
    with run.time_limited():
        return retrying(manifest.keep, clean=lambda: None, attempts=settings.max_attempts, time_left_s=time_left_s)


def components_of(
    model: TrainedArtifact,
    compiled: Mapping[str, str],
    stores: Stores,
    imported_targets: Sequence[str] = (),
    manifest_source: ManifestSource | None = None,
) -> list[Component]:
    """One component for each compiled artifact, or one for an imported model. RequestError for a wrong target.

    The manifest comes from `manifest_source`, by default the model itself.
    """
    manifest_source = manifest_source or model
    if imported_targets and compiled:
        raise RequestError(
            "Targets of an imported model were named together with compiled artifacts.",
            next_step="Name either the compiled artifact of each target, or the targets of an imported ONNX model.",
            field="targets",
        )
    if not compiled:
        named = dict.fromkeys(targets.target(name) for name in imported_targets)
        served = tuple(named) or targets.SERVED_BY_IMPORTED_ONNX
        label = served[0].name
        return [Component(label, served, model.source, layout_of(label, imported=True), manifest_source)]
    return [
        Component(
            label=target,
            targets=targets.served_by(target),
            source=stores.source(uri),
            layout=layout_of(target),
            manifest_source=manifest_source,
        )
        for target, uri in compiled.items()
    ]


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

    Reads the artifact once, to its checked end, keeping three small facts. `model_type` is recorded, not needed.
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
) -> str:
    """Package one target with a manifest at hand, and return the component's URI.

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
    storage = StorageManager(settings)
    stores = (stores or Stores(s3_client, endpoint_url)).with_scratch(storage)
    run = _Run(
        settings=settings,
        storage=storage,
        stores=stores,
        sink=stores.sink(output or f"s3://{bucket}"),
        wanted=strategy,
        force=force,
        strict=settings.strict_device_rules if strict is None else strict,
        on_progress=on_progress,
    )
    component = Component(
        label=target,
        targets=targets.served_by(target),
        source=stores.source(compiled_model_s3),
        layout=layout_of(target, imported=is_onnx(dda_manifest)),
        manifest_source=GivenManifest(dda_manifest),
    )
    with context(training_id=training_id):
        result = _all(run, [component], {})
    error = result.error or result.components[0].error
    if error:
        raise error
    return str(result.components[0].uri)


@dataclass(frozen=True)
class _Run:
    """What the components of one call share."""

    settings: Settings
    storage: StorageManager
    stores: Stores
    sink: Sink
    wanted: str
    force: bool
    strict: bool
    on_progress: OnProgress | None
    time_left_s: Callable[[], float] | None = None
    memory: MemoryMonitor = field(init=False)
    stop: threading.Event = field(default_factory=threading.Event)
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", MemoryMonitor(memory_limit_bytes(self.settings, os.environ)))

    def time_limited(self) -> AbstractContextManager[None]:
        """What is asked of S3 inside is waited for no longer than there is time."""
        return time_limit(self.time_left_s) if self.time_left_s else nullcontext()

    def report(self, state: ProcessingState) -> None:
        """Tell the caller how far the work is. OperationAbortedError or OutOfTimeError when it has to stop."""
        self.memory.relieve_if_needed()
        if self.stop.is_set():
            raise OperationAbortedError(
                "The work was stopped; nothing of this target was published.", next_step="Package it again."
            )
        if self.time_left_s and self.time_left_s() <= ABORT_RESERVE_S:
            raise OutOfTimeError(
                f"No more than {ABORT_RESERVE_S:.0f} s are left; nothing of this target was published.",
                next_step="Call again with this result as `previous`, or give one call more time.",
                time_left_s=round(self.time_left_s(), 3),
            )
        if self.on_progress:
            with self._telling:
                self.on_progress(state)

    def report_done(self, state: ProcessingState) -> None:
        """Tell the caller that a component is there. It is too late to stop: what this raises is logged."""
        if self.on_progress:
            try:
                with self._telling:
                    self.on_progress(state)
            except Exception as error:  # noqa: BLE001  the component is visible, and must not be called a failure
                log("warning", "on_progress failed", target=state.target, error_type=type(error).__name__)

    def choice(self, wanted: str, components: Sequence[Component], *, needs_staging: bool = False) -> Choice:
        """How to make these components, now."""
        if wanted == AUTO:
            staging = needs_staging or not self.settings.streaming_enabled
        else:
            staging = needs_staging or (wanted in STRATEGIES and STRATEGIES[wanted].stages_always)
        demand = Demand(
            staged_bytes=[self._staged_bytes(each) if staging else 0 for each in components],
            needs_staging=needs_staging,
            time_s=sum(packed_bytes(each) for each in components) / PLANNED_BYTES_PER_S,
        )
        if staging:
            self.storage.monitor_usage()  # listing took its time, and a warning comes before a refusal
        time_left_s = self.time_left_s() - ABORT_RESERVE_S if self.time_left_s else None
        return choose(wanted, demand, supply(self.settings, self.storage, self.memory, time_left_s))

    def is_short_of_scratch(self, error: PackagerError | None) -> bool:
        return isinstance(error, InsufficientStorageError) and error.path == str(self.storage.path)

    def refuse_if_too_late(self, component: Component) -> None:
        """OutOfTimeError when the component is not expected to be made in the time there is."""
        needed_s = packed_bytes(component) / PLANNED_BYTES_PER_S
        if self.time_left_s and needed_s > (left_s := self.time_left_s() - ABORT_RESERVE_S):
            raise OutOfTimeError(
                f"{component.label} takes about {needed_s:.0f} s, and {left_s:.0f} s are left; it was not begun.",
                next_step="Call again with this result as `previous`.",
                time_left_s=round(left_s, 3),
                needed_s=round(needed_s, 3),
            )

    def _staged_bytes(self, component: Component) -> int:
        try:
            listing = list_files(component.source, self.settings, self._reporter(component, "listing"))
        except OperationAbortedError:
            raise
        except Exception:  # noqa: BLE001  it fails the same way when its turn comes, and leaves the others whole
            return 0
        return self.storage.estimate_space_needed(listing, "standard")

    def _reporter(self, component: Component, phase: str) -> Callable[[int, int], None]:
        started = time.monotonic()
        total_bytes = packed_bytes(component)

        def report(packed_bytes: int, files: int) -> None:
            spent_s = time.monotonic() - started
            self.report(
                ProcessingState(
                    phase,
                    component.label,
                    packed_bytes,
                    total_bytes,
                    files,
                    scratch_bytes=self.storage.written_bytes,
                    remaining_s=spent_s / packed_bytes * (total_bytes - packed_bytes) if packed_bytes else None,
                )
            )

        return report

    def make(self, component: Component, name: IdentityLookup, *, stages: bool) -> Made:
        """Make the component, with its members staged on scratch or straight from the stream."""
        members: Members = partial(streamed_members, component.source, self.settings)
        if stages:
            reporter = partial(self._reporter, component)
            members = partial(staged_members, component.source, self.settings, self.storage, component.label, reporter)
        lookahead = Lookahead()
        with self.memory.watching(lookahead):
            return make_component(
                component,
                name,
                self.sink,
                members,
                settings=self.settings,
                strict=self.strict,
                report=self._reporter(component, "packaging"),
                lookahead=lookahead,
                measured=self.storage.measured,
            )


def supply(
    settings: Settings, storage: StorageManager, memory: MemoryMonitor, time_left_s: float | None = None
) -> Supply:
    """What there is to work with, now."""
    return Supply(
        scratch_bytes=storage.get_unreserved_space(),
        path=storage.path,
        memory_bytes=None if memory.limit_bytes is None else max(0, memory.limit_bytes - resident_bytes()),
        at_once=settings.max_concurrent_operations,
        time_left_s=time_left_s,
        streaming_enabled=settings.streaming_enabled,
    )


def packed_bytes(component: Component) -> int:
    """The size of the component's artifact; 0 when that cannot be had, which its own turn will tell."""
    try:
        return component.source.size_bytes()
    except PackagerError:
        return 0


def _all(run: _Run, components: Sequence[Component], done: Mapping[str, ComponentResult]) -> PackageResult:
    started = time.monotonic()
    wanted = [target.name for each in components for target in each.targets]
    to_do = [each for each in components if not all(target.name in done for target in each.targets)]
    with (
        run.time_limited(),
        observe(catalog.PACKAGE_REQUEST, targets=len(wanted)) as step,
        run.storage.measured(step),
    ):
        sweep(run.storage.path)
        run.sink.sweep(run.settings.abandoned_upload_s)
        run.storage.monitor_usage()
        nothing_fits: PackagerError | None = None
        made: dict[str, list[ComponentResult]] = {}
        try:
            made = _in_rounds(run, to_do, run.choice(run.wanted, to_do)) if to_do else {}
        except OutOfTimeError as error:
            made = {each.label: _not_begun(run, each, LEFT, error) for each in to_do}
        except (InsufficientStorageError, StagingNeededError) as error:
            nothing_fits = error
            made = {each.label: _not_begun(run, each, FAILED, error) for each in to_do}
        results = [result for each in made.values() for result in each]
        bytes_out = sum({each.uri: each.size_bytes or 0 for each in results}.values())
        bytes_in = sum(packed_bytes(each) for each in to_do if made[each.label][0].status == PACKAGED)
        step.add(
            targets_failed=sum(each.status == FAILED for each in results),
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            peak_scratch_bytes=run.storage.peak_written_bytes,
            throughput=bytes_in / max(time.monotonic() - started, 1e-6),
        )
    manifest_source = components[0].manifest_source
    return PackageResult(
        components=[
            result
            for each in components
            for result in made.get(each.label) or [done[target.name] for target in each.targets]
        ],
        manifest=manifest_source.manifest if any(each.status == PACKAGED for each in results) else None,
        peak_scratch_bytes=run.storage.peak_written_bytes,
        error=nothing_fits or manifest_source.failure,
    )


def _not_begun(run: _Run, component: Component, status: str, error: PackagerError) -> list[ComponentResult]:
    return [ComponentResult(target.name, status, run.wanted, 0, error=error) for target in component.targets]


def _in_rounds(run: _Run, components: Sequence[Component], choice: Choice) -> dict[str, list[ComponentResult]]:
    """Side by side as far as the choice goes; those whose scratch the others held come afterwards, one at a time."""
    results: dict[str, list[ComponentResult]] = {}
    with _pool(run, choice.at_once) as pool:
        work = carrying(lambda component: _results(run, component, choice))
        waiting = {each.label: pool.submit(work, each) for each in components}
        # A signal is noticed between two waits; one wait without an end could sleep through it.
        while wait(waiting.values(), timeout=_NOTICE_SIGNALS_S).not_done:
            pass
        results.update((label, future.result()) for label, future in waiting.items())
    if choice.at_once > 1:
        for each in components:
            if run.is_short_of_scratch(results[each.label][0].error):
                results[each.label] = _results(run, each, replace(choice, strategy=SEQUENTIAL, stages=True))
    return results


@contextmanager
def _pool(run: _Run, workers: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(workers, thread_name_prefix="target") as pool:
        try:
            yield pool
        except BaseException:  # a signal in this thread: tell the others, and wait until they have cleaned up
            run.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _results(run: _Run, component: Component, choice: Choice) -> list[ComponentResult]:
    """One result per target of a component, whatever becomes of it."""
    started = time.monotonic()
    try:
        with context(target=component.label):
            made = _one(run, component, choice)
    except Exception as error:  # noqa: BLE001  one target's failure, of any kind, must leave the others whole
        out_of_room = choice.strategy == PARTIAL and isinstance(error, InsufficientStorageError)
        status = LEFT if isinstance(error, OutOfTimeError) or out_of_room else FAILED
        made = ComponentResult(component.label, status, choice.strategy, 0, error=_as_packager_error(error))
    warnings = (*made.warnings, *run.storage.findings())
    duration_s = time.monotonic() - started
    return [replace(made, target=target.name, duration_s=duration_s, warnings=warnings) for target in component.targets]


def _as_packager_error(error: Exception) -> PackagerError:
    if isinstance(error, PackagerError):
        return error
    unexpected = PackagerError(
        f"An unexpected error stopped the work: {type(error).__name__}: {printable(error)}.",
        next_step="Report it, with the log lines around it.",
        cause=type(error).__name__,
    )
    unexpected.__cause__ = error
    return unexpected


def _one(run: _Run, component: Component, choice: Choice) -> ComponentResult:
    with (
        observe(catalog.PACKAGE_TARGET, target=component.label, strategy=choice.strategy) as step,
        run.storage.measured(step),
    ):
        run.report(ProcessingState("identifying", component.label, bytes_total=packed_bytes(component)))
        made, choice = _made(run, component, choice)
        if run.strict and not made.new:  # it may have been made when nobody was strict
            check.check(run.stores.source(made.stored.uri), component.targets[0], strict=True, settings=run.settings)
        step.add(
            strategy=choice.strategy,
            bytes_out=made.stored.size_bytes,
            sha256=made.stored.sha256,
            warnings=len(made.findings),
            already_there=int(not made.new),
            peak_scratch_bytes=run.storage.peak_written_bytes,
            peak_memory_bytes=resident_bytes(),
        )
        run.report_done(
            ProcessingState(
                "done", component.label, made.read_bytes, made.read_bytes, made.files, made.files, cleaned_up=True
            )
        )
        return ComponentResult(
            target=component.label,
            status=PACKAGED if made.new else ALREADY_THERE,
            strategy=choice.strategy,
            duration_s=0,
            uri=made.stored.uri,
            sha256=made.stored.sha256,
            size_bytes=made.stored.size_bytes,
            files=made.files if made.new else None,
            warnings=made.findings,
        )


def _made(run: _Run, component: Component, choice: Choice) -> tuple[Made, Choice]:
    """The component, and the choice by which it was made in the end: staged, once, when streaming cannot serve it."""
    try:
        return _retried(run, component, choice), choice
    except StagingNeededError:
        if choice.stages or run.wanted not in (AUTO, PARTIAL):
            raise
    choice = run.choice(run.wanted, [component], needs_staging=True)
    return _retried(run, component, choice), choice


def _retried(run: _Run, component: Component, choice: Choice) -> Made:
    return retrying(
        lambda: _attempt(run, component, choice),
        clean=lambda: sweep(run.storage.path),
        attempts=run.settings.max_attempts,
        time_left_s=run.time_left_s,
    )


def _attempt(run: _Run, component: Component, choice: Choice) -> Made:
    """The component, found or made. Its identity is looked up in here too: that can fail and be tried again."""
    with IdentityLookup(component, run.sink, look=not run.force) as name:
        if there := name.found():
            return Made(there)
        if choice.strategy == PARTIAL:
            run.refuse_if_too_late(component)
        return run.make(component, name, stages=choice.stages)
