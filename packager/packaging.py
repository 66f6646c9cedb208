"""From a trained and a compiled artifact to a component under its key: the work itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from posixpath import basename
from typing import TYPE_CHECKING, Any, Self

from packager import device, targets
from packager.archive.reading import ArchiveReader, Member
from packager.errors import (
    ExtractionError,
    OperationAbortedError,
    OutOfTimeError,
    PackagerError,
    RequestError,
    printable,
)
from packager.identity import component_identity, component_key
from packager.listing import MANIFEST, ComponentListing, Entry
from packager.manifest import (
    EXPORTS,
    TrainedFacts,
    TrainedFactsCollector,
    build_manifest,
    for_compiled_onnx,
    is_onnx,
    render,
    stage_types,
)
from packager.pipeline import File, zip_bytes
from packager.records import (
    ALREADY_THERE,
    FAILED,
    LEFT,
    PACKAGED,
    ComponentResult,
    Finding,
    PackageResult,
    ProcessingState,
    done_before,
)
from packager.settings import Settings, from_process_environment
from packager.stores import open_sink, open_source
from packager.zipformat import Piece, ZipEncoder
from telemetry import add, carrying, catalog, context, observe, traced

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from packager.stores import Sink, Source, StoredComponent

OnProgress = Callable[[ProcessingState], None]
"""Told how far the work is, from the threads that do it, one call at a time. What it raises stops the work cleanly."""

STREAMING = "streaming"
ABORT_RESERVE_S = 2.0
"""Work stops when no more than this is left of the caller's time: enough to abort an upload and to clean up."""

COMPILED, COMPILED_ONNX, IMPORTED_ONNX = "compiled", "compiled onnx", "imported onnx"
"""How the entries of a component are arranged; part of its identity."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One component: for which targets, from which artifact, arranged how."""

    label: str
    targets: tuple[str, ...]
    source: Source
    layout: str


def package(  # noqa: PLR0913  every choice of a call, by name
    trained: str,
    compiled: Mapping[str, str],
    output: str,
    *,
    imported_targets: Sequence[str] = (),
    strategy: str = "auto",
    force: bool = False,
    strict: bool | None = None,
    settings: Settings | None = None,
    client: S3Client | None = None,
    endpoint_url: str | None = None,
    on_progress: OnProgress | None = None,
    time_left_s: Callable[[], float] | None = None,
    previous: Mapping[str, Any] | None = None,
) -> PackageResult:
    """Package a model for several targets; each succeeds or fails on its own. Never raises a failure of the work.

    Args:
        trained: URI or path of the trained artifact (tar.gz).
        compiled: URI or path of the compiled artifact by target; `onnx` stands for the three targets an ONNX export
            serves. Empty for an imported ONNX model, which needs no compilation.
        output: bucket with optional prefix, or folder.
        imported_targets: targets of an imported ONNX model; all four that it serves when empty.
        strategy: auto or a name of `packager.strategy`.
        force: package although the component is already there.
        settings: limits; default: from the environment.
        strict: refuse a component that breaks a rule of the device; default: the setting.
        client: an S3 client to use in place of our own.
        endpoint_url: where S3 is spoken, when that is not AWS.
        on_progress: see OnProgress.
        time_left_s: gives the seconds until everything must have ended; targets that do not make it are left.
        previous: the document of an earlier result to go on from; what it has done is not done again.

    Memory: about 30 MiB a target besides the interpreter, whatever the size of the artifacts. Raises RequestError for
    wrong arguments only.
    """
    settings = settings or from_process_environment()
    model = _Trained(open_source(trained, client=client, endpoint_url=endpoint_url), settings)
    run = _Run(
        trained=model,
        sink=open_sink(output, client=client, endpoint_url=endpoint_url),
        settings=settings,
        strategy=strategy,
        force=force,
        strict=settings.strict_device_rules if strict is None else strict,
        on_progress=on_progress,
        time_left_s=time_left_s,
    )
    jobs = [
        _Job(
            target,
            tuple(each.name for each in targets.served_by(target)),
            open_source(uri, client=client, endpoint_url=endpoint_url),
            COMPILED_ONNX if target.startswith(targets.COMPILED_ONNX) else COMPILED,
        )
        for target, uri in compiled.items()
    ]
    if not jobs:
        names = tuple(targets.target(name).name for name in imported_targets)
        served = names or tuple(each.name for each in targets.SERVED_BY_IMPORTED_ONNX)
        jobs = [_Job(served[0], served, model.source, IMPORTED_ONNX)]
    elif imported_targets:
        raise RequestError(
            "Targets of an imported model were named together with compiled artifacts.",
            next_step="Name either the compiled artifact of each target, or the targets of an imported ONNX model.",
        )
    return _all(run, jobs, done_before(previous))


def create_dda_manifest(
    trained_model_s3: str,
    model_type: str | None = None,
    s3_client: S3Client | None = None,
    *,
    settings: Settings | None = None,
    endpoint_url: str | None = None,
) -> tuple[dict[str, Any], str]:
    """The component's manifest, and the file name of the model it speaks of, from the trained artifact.

    Reads the artifact once, to its checked end, keeping three small facts. `model_type` is recorded, not needed.
    Errors: ManifestError for what is missing or wrong in it, ExtractionError and StoreError with their kinds.
    """
    source = open_source(trained_model_s3, client=s3_client, endpoint_url=endpoint_url)
    trained = _Trained(source, settings or from_process_environment(), model_type)
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
    strategy: str = "auto",
    force: bool = False,
    strict: bool | None = None,
    settings: Settings | None = None,
    endpoint_url: str | None = None,
    on_progress: OnProgress | None = None,
) -> str:
    """Package one target with a manifest at hand, and return the component's URI.

    The output is `output`, or the bucket of the use case (`usecase["s3_bucket"]`). With the manifest of an imported
    ONNX model, `compiled_model_s3` is the trained artifact itself. Raises the error of the work, a PackagerError.
    """
    settings = settings or from_process_environment()
    bucket = (usecase or {}).get("s3_bucket")
    if not output and not bucket:
        raise RequestError(
            "There is nowhere to put the component.",
            next_step="Give `output`, or a use case with `s3_bucket`.",
            field="usecase.s3_bucket",
        )
    served = tuple(each.name for each in targets.served_by(target))
    if target.startswith(targets.COMPILED_ONNX):
        layout = COMPILED_ONNX
    else:
        layout = IMPORTED_ONNX if is_onnx(dda_manifest) else COMPILED
    run = _Run(
        trained=_Given(dict(dda_manifest)),
        sink=open_sink(output or f"s3://{bucket}", client=s3_client, endpoint_url=endpoint_url),
        settings=settings,
        strategy=strategy,
        force=force,
        strict=settings.strict_device_rules if strict is None else strict,
        on_progress=on_progress,
    )
    source = open_source(compiled_model_s3, client=s3_client, endpoint_url=endpoint_url)
    with context(training_id=training_id):
        return str(_one(run, _Job(target, served, source, layout)).uri)


class _Trained:
    """The trained artifact; its manifest is made when first asked for."""

    def __init__(self, source: Source, settings: Settings, model_type: str | None = None) -> None:
        self.source = source
        self._settings = settings
        self._model_type = model_type
        self._lock = threading.Lock()
        self._manifest: tuple[dict[str, Any], str] | None = None
        self.failure: PackagerError | None = None

    def _made(self) -> tuple[dict[str, Any], str]:
        with self._lock:
            if self.failure:
                raise self.failure
            if not self._manifest:
                try:
                    self._manifest = build_manifest(self._facts())
                except PackagerError as error:
                    self.failure = error
                    raise
            return self._manifest

    @property
    def manifest(self) -> dict[str, Any]:
        return self._made()[0]

    @property
    def model_file_name(self) -> str:
        return self._made()[1]

    def marks(self) -> Sequence[tuple[str, str]]:
        return self.source.identity().marks

    @property
    def manifest_source(self) -> Any:  # noqa: ANN401  JSON
        """What stands for the manifest in the identity of a component: the trained artifact decides it."""
        return {"trained": [list(mark) for mark in self.marks()]}

    @traced(catalog.CREATE_MANIFEST)
    def _facts(self) -> TrainedFacts:
        collector = TrainedFactsCollector()
        with self.source.open() as reader:
            archive = ArchiveReader(reader, self._settings)
            for member in archive.files_and_links():
                collector.see(member.path)
                if collector.wants(member.path, member.size_bytes):
                    collector.take(member.path, _whole(member))
        add(bytes_read=archive.packed_bytes, members=archive.members, model_type=self._model_type or "other")
        return collector.facts()


class _Given:
    """A manifest that the caller brought along."""

    failure: PackagerError | None = None

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.manifest = self.manifest_source = manifest


@dataclass(frozen=True)
class _Run:
    """What the jobs of one call share."""

    trained: _Trained | _Given
    sink: Sink
    settings: Settings
    strategy: str
    force: bool
    strict: bool
    on_progress: OnProgress | None
    time_left_s: Callable[[], float] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, state: ProcessingState) -> None:
        """Tell the caller how far a job is; OperationAbortedError when the run is to stop."""
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
            with self._lock:
                self.on_progress(state)


class _Name:
    """The identity and key of a component; files are hashed in a thread while they are packaged."""

    def __init__(self, run: _Run, job: _Job) -> None:
        self._sink = run.sink
        self._looks = not run.force
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="identity")
        self._identity: Future[str] = self._pool.submit(carrying(lambda: _identity(run, job)))
        if job.source.identity_is_at_hand:
            self._identity.exception()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def resolve(self) -> tuple[str, str]:
        """Key and identity; waits for them."""
        identity = self._identity.result()
        return component_key(identity), identity

    def found(self) -> StoredComponent | None:
        """The very component, if it is there already. Looks once, as soon as the identity is known; never waits."""
        if not self._looks or not self._identity.done():
            return None
        self._looks = False
        key, identity = self.resolve()
        there = self._sink.find(key)
        return there if there and there.identity == identity else None


def _identity(run: _Run, job: _Job) -> str:
    return component_identity([job.source.identity().marks], run.trained.manifest_source, job.layout)


def _all(run: _Run, jobs: Sequence[_Job], done: Mapping[str, ComponentResult]) -> PackageResult:
    started = time.monotonic()
    wanted = [target for job in jobs for target in job.targets]
    with (
        observe(catalog.PACKAGE_REQUEST, targets=len(wanted)) as step,
        ThreadPoolExecutor(run.settings.max_concurrent_operations, thread_name_prefix="target") as pool,
    ):
        work = carrying(lambda job: _results(run, job))
        waiting = [pool.submit(work, job) for job in jobs if not done.keys() >= {*job.targets}]
        try:
            now = {component.target: component for results in waiting for component in results.result()}
        except BaseException:  # a signal in this thread: tell the others, and wait until they have cleaned up
            run.stop.set()
            raise
        bytes_out = sum({each.uri: each.size_bytes or 0 for each in now.values()}.values())
        step.add(
            targets_failed=sum(each.status == FAILED for each in now.values()),
            bytes_out=bytes_out,
            throughput=bytes_out / max(time.monotonic() - started, 1e-6),
        )
    manifest = run.trained.manifest if any(each.status == PACKAGED for each in now.values()) else None
    return PackageResult([now.get(target) or done[target] for target in wanted], manifest, error=run.trained.failure)


def _results(run: _Run, job: _Job) -> list[ComponentResult]:
    """One result per target of a job, whatever becomes of it."""
    started = time.monotonic()
    try:
        made = _one(run, job)
    except Exception as error:  # noqa: BLE001  one target's failure, of any kind, must leave the others whole
        status = LEFT if isinstance(error, OutOfTimeError) else FAILED
        made = ComponentResult(job.label, status, STREAMING, 0, error=_as_packager_error(error))
    duration_s = time.monotonic() - started
    return [replace(made, target=target, duration_s=duration_s) for target in job.targets]


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


def _one(run: _Run, job: _Job) -> ComponentResult:
    with observe(catalog.PACKAGE_TARGET, target=job.label, strategy=STREAMING) as step, _Name(run, job) as name:
        run.report(ProcessingState("identifying", job.label, bytes_total=job.source.size_bytes()))
        there = name.found()
        result = _already_there(job, there) if there else _packaged(run, job, name)
        step.add(bytes_out=result.size_bytes, sha256=result.sha256, warnings=len(result.warnings))
        step.add(already_there=int(result.status == ALREADY_THERE))
        return result


def _already_there(job: _Job, there: StoredComponent) -> ComponentResult:
    return ComponentResult(job.label, ALREADY_THERE, STREAMING, 0, there.uri, there.sha256, there.size_bytes)


def _packaged(run: _Run, job: _Job, name: _Name) -> ComponentResult:
    manifest = _manifest(run, job)
    head = render(manifest)
    encoder = ZipEncoder()
    total_bytes = job.source.size_bytes()
    with (
        job.source.open() as reader,
        run.sink.open(name.resolve) as upload,
        observe(catalog.ZIP_COMPONENT) as step,
    ):
        archive = ArchiveReader(reader, run.settings)
        files = _arranged(job, manifest, archive.files())
        with closing(zip_bytes(files, encoder, [Piece(MANIFEST, len(head), head, last=True)])) as chunks:
            for chunk in chunks:
                upload.write(chunk)
                if there := name.found():
                    return _already_there(job, there)
                run.report(
                    ProcessingState("packaging", job.label, archive.packed_bytes, total_bytes, len(encoder.entries))
                )
        step.add(files=len(encoder.entries), bytes_in=encoder.bytes_in, bytes_out=encoder.bytes_out)
        warnings = _checked(run, job, encoder, head, name)
        stored = upload.commit()
    add(files=len(encoder.entries), bytes_in=archive.packed_bytes, ratio=encoder.bytes_out / encoder.bytes_in)
    return ComponentResult(
        job.label, PACKAGED, STREAMING, 0, stored.uri, stored.sha256, stored.size_bytes, len(encoder.entries), warnings
    )


def _manifest(run: _Run, job: _Job) -> dict[str, Any]:
    manifest = run.trained.manifest
    if job.layout == COMPILED_ONNX:
        return for_compiled_onnx(manifest, _first_onnx_name(run, job))
    if is_onnx(manifest) != (job.layout == IMPORTED_ONNX):
        found, needed = ("an imported ONNX model", "none") if is_onnx(manifest) else ("a trained model", "one a target")
        raise RequestError(
            f"The trained artifact is {found}, which needs {needed} of the compiled artifacts.",
            next_step="Name the compiled artifact of each target for a trained model, none for an imported ONNX model.",
            field="compiled",
        )
    return manifest


def _first_onnx_name(run: _Run, job: _Job) -> str:
    """The manifest comes first in the component and names the model's file, so that is looked for beforehand."""
    with job.source.open() as reader:
        for member in ArchiveReader(reader, run.settings).files_and_links():
            if member.path.endswith(".onnx"):
                return basename(member.path)
    raise ExtractionError(
        "The compiled artifact holds no .onnx file.", next_step="Export the model as ONNX again, and pack the export."
    )


def _arranged(job: _Job, manifest: Mapping[str, Any], members: Iterator[Member]) -> Iterator[File]:
    """The files of the component where devices look for them: below a folder named after the first stage's type."""
    folder = stage_types(manifest)[0]
    count = 0
    for member in members:
        path = member.path
        if job.layout == IMPORTED_ONNX:
            if count or basename(path) != manifest["runtime_artifact"] or not path.startswith(EXPORTS):
                continue
            path = basename(path)
        count += 1
        yield f"{folder}/{path}", member.size_bytes, member.readinto
    if not count:
        raise ExtractionError(
            "The artifact holds no file for the component.",
            next_step="Compile the model again; an empty component would fail on every device.",
        )


def _checked(run: _Run, job: _Job, encoder: ZipEncoder, head: bytes, name: _Name) -> list[Finding]:
    listing = ComponentListing(
        file_name=basename(name.resolve()[0]),
        size_bytes=encoder.bytes_out,
        entries=tuple(
            Entry(each.name, each.size_bytes, each.packed_bytes, each.method, each.flags) for each in encoder.entries
        ),
        manifest=head,
    )
    with observe(catalog.CHECK_COMPONENT, strict=run.strict) as step:
        findings = device.check(listing, targets.target(job.targets[0]))
        step.add(findings=len(findings))
        device.refuse_if_strict(findings, strict=run.strict)
    return findings


def _whole(member: Member) -> bytes:
    content = memoryview(bytearray(member.size_bytes))
    member.readinto(content)
    return bytes(content)
