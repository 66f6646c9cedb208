"""One call's run: it chooses a strategy and makes the components side by side, each with retries and a result."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from packager.core.component import IdentityLookup, Made, Members, make_component
from packager.core.pipeline import Lookahead
from packager.deadline import ABORT_RESERVE_S, time_left_s
from packager.device.check import Written, check
from packager.errors import (
    InsufficientStorageError,
    OperationAbortedError,
    OutOfTimeError,
    PackagerError,
    StagingNeededError,
    printable,
)
from packager.limits.checkpoint import Checkpoint
from packager.limits.memory import MemoryMonitor, memory_limit_bytes, resident_bytes
from packager.limits.retry import retrying
from packager.limits.scratch import sweep
from packager.limits.storage import StorageManager
from packager.limits.strategy import AUTO, PARTIAL, SEQUENTIAL, STRATEGIES, Choice, Demand, choose, supply_of
from packager.model.manifest import MANIFEST
from packager.results import (
    ALREADY_THERE,
    FAILED,
    LEFT,
    PACKAGED,
    ComponentResult,
    Finding,
    OnProgress,
    PackageResult,
    Phase,
    ProcessingState,
    left_out_warning,
    parted_warning,
)
from packager.stores.s3_patience import shared_patience
from telemetry import catalog, context, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from packager.core.zip import ZipEncoder
    from packager.model.layouts import Component
    from packager.settings import Settings
    from packager.stores import Stores
    from telemetry import Step

_NOTICE_SIGNALS_S = 0.1

PLANNED_BYTES_PER_S = 32 << 20
"""Packed bytes per second that a plan counts on; cautious, since a target that does not finish costs its time."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller chose for all components of a call; see `packager.packaging.package`."""

    settings: Settings
    strategy: str = AUTO
    force: bool = False
    strict: bool = False


class Run:
    """What the components of one call share: options, stores, output, scratch, memory and checkpoint."""

    def __init__(self, options: Options, stores: Stores, output: str, on_progress: OnProgress | None = None) -> None:
        self.options = options
        self.settings = options.settings
        self.storage = StorageManager(options.settings)
        self.stores = stores.with_scratch(self.storage)
        self.sink = self.stores.sink(output)
        self.memory = MemoryMonitor(memory_limit_bytes(options.settings, os.environ))
        self.checkpoint = Checkpoint(self.memory, on_progress)
        self.staged_bytes: dict[str, int] = {}
        """What staging a component takes, by its label, where that was learned to choose a strategy."""


def make_components(run: Run, components: Sequence[Component], done: Mapping[str, ComponentResult]) -> PackageResult:
    """Make the components that are not `done`; the results of all."""
    started = time.monotonic()
    to_do = [each for each in components if not all(target.name in done for target in each.targets)]
    targets = sum(len(each.targets) for each in components)
    with (
        run.checkpoint.watched(),
        shared_patience(),
        observe(catalog.PACKAGE_REQUEST, targets=targets) as step,
        run.storage.measured(step),
    ):
        sweep(run.storage.path)
        run.sink.sweep(run.settings.abandoned_upload_s)
        run.storage.monitor_usage()
        nothing_fits: PackagerError | None = None
        made: dict[str, list[ComponentResult]] = {}
        try:
            if to_do:
                made = _side_by_side(run, to_do, _choose(run, to_do))
        except OperationAbortedError as error:
            made = {each.label: _not_begun(run, each, LEFT, error) for each in to_do}
        except (InsufficientStorageError, StagingNeededError) as error:
            nothing_fits = error
            made = {each.label: _not_begun(run, each, FAILED, error) for each in to_do}
        _add_figures(step, run, to_do, made, time.monotonic() - started)
    manifest_source = components[0].manifest_source
    return PackageResult(
        components=[
            result
            for each in components
            for result in made.get(each.label) or [done[target.name] for target in each.targets]
        ],
        manifest=manifest_source.manifest
        if manifest_source and any(each[0].status == PACKAGED for each in made.values())
        else None,
        peak_scratch_bytes=run.storage.peak_written_bytes,
        error=nothing_fits or (manifest_source.failure if manifest_source else None),
    )


def _not_begun(run: Run, component: Component, status: str, error: PackagerError) -> list[ComponentResult]:
    return [ComponentResult(target.name, status, run.options.strategy, 0, error=error) for target in component.targets]


def _add_figures(
    step: Step, run: Run, components: Sequence[Component], made: Mapping[str, list[ComponentResult]], duration_s: float
) -> None:
    results = [result for each in made.values() for result in each]
    bytes_in = sum(each.packed_bytes() for each in components if made[each.label][0].status == PACKAGED)
    step.add(
        targets_failed=sum(each.status == FAILED for each in results),
        bytes_in=bytes_in,
        bytes_out=sum({each.uri: each.size_bytes or 0 for each in results}.values()),
        peak_scratch_bytes=run.storage.peak_written_bytes,
        throughput=bytes_in / max(duration_s, 1e-6),
    )


def _choose(run: Run, components: Sequence[Component], *, needs_staging: bool = False) -> Choice:
    """How to make these components, now."""
    wanted = run.options.strategy
    if wanted == AUTO:
        staging = needs_staging or not run.settings.streaming_enabled
    else:
        staging = needs_staging or (wanted in STRATEGIES and STRATEGIES[wanted].stages_always)
    demand = Demand(
        staged_bytes=[_staged_bytes(run, each) if staging else 0 for each in components],
        needs_staging=needs_staging,
        time_s=sum(each.packed_bytes() for each in components) / PLANNED_BYTES_PER_S,
    )
    if staging:
        run.storage.monitor_usage()  # listing took its time, and a warning comes before a refusal
    return choose(wanted, demand, supply_of(run.settings, run.storage, run.memory))


def _staged_bytes(run: Run, component: Component) -> int:
    from packager.limits.staging import list_files, sizes_at_hand  # noqa: PLC0415  streaming needs none of it

    try:
        listing = sizes_at_hand(component.archive)
        most_bytes = run.storage.estimate_space_needed(listing, "standard")
        # Reading and packing a hundred thousand files once more takes longer than all else; only a tight disk needs it.
        if not listing or most_bytes > run.storage.get_unreserved_space() // 2:
            listing = list_files(component.archive, run.settings, _reporter(run, component, "listing"))
    except OperationAbortedError:
        raise
    except Exception:  # noqa: BLE001  it fails the same way when its turn comes, and leaves the others whole
        return 0
    needed_bytes = run.storage.estimate_space_needed(listing, "standard")
    run.staged_bytes[component.label] = needed_bytes
    return needed_bytes


def _side_by_side(run: Run, components: Sequence[Component], choice: Choice) -> dict[str, list[ComponentResult]]:
    """The results of each component by its label.

    As many at a time as the choice says; those whose scratch the others held come afterwards, one at a time.
    """
    with _pool(run, choice.at_once) as pool:
        # A copy of the context for each: one can be entered only once at a time.
        waiting = {
            each.label: pool.submit(copy_context().run, _ComponentRun(run, each, choice).results) for each in components
        }
        # A signal is noticed between two waits; one wait without an end could sleep through it.
        while wait(waiting.values(), timeout=_NOTICE_SIGNALS_S).not_done:
            pass
        results = {label: future.result() for label, future in waiting.items()}
    if choice.at_once > 1:
        alone = replace(choice, strategy=SEQUENTIAL, stages=True)
        for each in components:
            error = results[each.label][0].error
            if isinstance(error, InsufficientStorageError) and error.path == str(run.storage.path):
                results[each.label] = _ComponentRun(run, each, alone).results()
    return results


@contextmanager
def _pool(run: Run, workers: int) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(workers, thread_name_prefix="target") as pool:
        try:
            yield pool
        except BaseException:  # a signal in this thread: tell the others, and wait until they have cleaned up
            run.checkpoint.stop()
            pool.shutdown(cancel_futures=True)
            raise


class _ComponentRun:
    """The making of one component: attempts, a second choice when it cannot be streamed, and its results."""

    def __init__(self, run: Run, component: Component, choice: Choice) -> None:
        self._run = run
        self._component = component
        self._choice = choice
        self._findings: list[Finding] = []

    def results(self) -> list[ComponentResult]:
        """One result for each target that the component serves; a failure of any kind is a result."""
        run, component = self._run, self._component
        started = time.monotonic()
        make = partial(
            retrying,
            self._attempt,
            clean=partial(sweep, run.storage.path),
            attempts=run.settings.max_attempts,
            pause=run.checkpoint.pause,
        )
        try:
            with (
                shared_patience(),
                context(target=component.label),
                observe(catalog.PACKAGE_TARGET, target=component.label, strategy=self._choice.strategy) as step,
                run.storage.measured(step),
            ):
                run.checkpoint.report(
                    ProcessingState("identifying", component.label, bytes_total=component.packed_bytes())
                )
                try:
                    made = make()
                except StagingNeededError:
                    if self._choice.stages or run.options.strategy not in (AUTO, PARTIAL):
                        raise
                    self._choice = _choose(run, [component], needs_staging=True)
                    made = make()
                result = self._finish(made, step)
        except Exception as error:  # noqa: BLE001  one target's failure, of any kind, must leave the others whole
            result = self._failed(error)
        warnings = (*result.warnings, *run.storage.findings())
        result = replace(result, duration_s=time.monotonic() - started, warnings=warnings)
        return [replace(result, target=target.name) for target in component.targets]

    def _attempt(self) -> Made:
        """The component, found or made. Its identity is looked up in here: that can fail and be tried again too."""
        run, component, sink = self._run, self._component, self._run.sink
        self._findings.clear()
        at_hand = component.source.identity_is_at_hand
        with IdentityLookup(component.identify, sink, at_hand=at_hand, look=not run.options.force) as name:
            if there := name.found():
                return Made(there)
            if self._choice.strategy == PARTIAL:
                self._refuse_if_too_late()
            contents = component.contents(run.settings)
            written = Written(dict(contents.head).get(MANIFEST))
            lookahead = Lookahead()
            with run.memory.watching(lookahead):
                return make_component(
                    replace(contents, files=lambda members: written.watch(contents.files(members))),
                    name,
                    sink,
                    self._members(),
                    source=component.archive.source,
                    check=partial(self._check, written, contents.parted),
                    report=_reporter(run, component, "packaging"),
                    lookahead=lookahead,
                    measured=run.storage.measured,
                )

    def _members(self) -> Members:
        """Opens the artifact's members, staged on scratch or straight from the stream."""
        run, component = self._run, self._component
        if not self._choice.stages:
            return partial(component.archive.open, run.settings)
        from packager.limits.staging import staged_members  # noqa: PLC0415  streaming needs none of it

        reporter = partial(_reporter, run, component)
        return partial(
            staged_members,
            component.archive,
            run.settings,
            run.storage,
            component.label,
            reporter,
            needed_bytes=run.staged_bytes.pop(component.label, None),  # a second attempt may find another artifact
        )

    def _check(self, written: Written, parted: Sequence[str], key: str, encoder: ZipEncoder) -> None:
        target = self._component.targets[0]
        self._findings += parted_warning(parted)
        self._findings += written.check(key, encoder, target, strict=self._run.options.strict)

    def _refuse_if_too_late(self) -> None:
        """OutOfTimeError when the component is not expected to be made in the time there is."""
        needed_s = self._component.packed_bytes() / PLANNED_BYTES_PER_S
        left_s = time_left_s() - ABORT_RESERVE_S
        if needed_s > left_s:
            raise OutOfTimeError(
                f"{self._component.label} takes about {needed_s:.0f} s, and {left_s:.0f} s are left; it was not begun.",
                next_step="Call again with this result as `previous`.",
                time_left_s=round(left_s, 3),
                needed_s=round(needed_s, 3),
            )

    def _finish(self, made: Made, step: Step) -> ComponentResult:
        """Record and report what was made or found; ComponentRefusedError for what was found and breaks a rule."""
        run, component, stored = self._run, self._component, made.stored
        if run.options.strict and not made.new:  # it may have been made when nobody was strict
            source = run.stores.source(stored.uri)
            check(source, component.targets[0], strict=True, settings=run.settings)
        step.add(
            strategy=self._choice.strategy,
            bytes_out=stored.size_bytes,
            sha256=stored.sha256,
            warnings=len(self._findings),
            left_out=made.left_out.count,
            already_there=int(not made.new),
            peak_scratch_bytes=run.storage.peak_written_bytes,
            peak_memory_bytes=resident_bytes(),
        )
        read_bytes, files = made.read_bytes, made.files
        done = ProcessingState("done", component.label, read_bytes, read_bytes, files, files, cleaned_up=True)
        run.checkpoint.report_done(done)
        return ComponentResult(
            target=component.label,
            status=PACKAGED if made.new else ALREADY_THERE,
            strategy=self._choice.strategy,
            duration_s=0,
            uri=stored.uri,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            files=files if made.new else None,
            warnings=(*self._findings, *left_out_warning(made.left_out.count, made.left_out.names)),
        )

    def _failed(self, error: Exception) -> ComponentResult:
        strategy = self._choice.strategy
        out_of_room = strategy == PARTIAL and isinstance(error, InsufficientStorageError)
        status = LEFT if isinstance(error, OperationAbortedError) or out_of_room else FAILED
        return ComponentResult(self._component.label, status, strategy, 0, error=_as_packager_error(error))


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


def _reporter(run: Run, component: Component, phase: Phase) -> Callable[[int, int], None]:
    """A function that reports the progress of a phase, from packed bytes read and files done."""
    started = time.monotonic()
    total_bytes = component.packed_bytes()

    def report(packed_bytes: int, files: int) -> None:
        spent_s = time.monotonic() - started
        run.checkpoint.report(
            ProcessingState(
                phase,
                component.label,
                packed_bytes,
                total_bytes,
                files,
                scratch_bytes=run.storage.written_bytes,
                remaining_s=spent_s / packed_bytes * (total_bytes - packed_bytes)
                if 0 < packed_bytes <= total_bytes
                else None,
            )
        )

    return report
