"""What the packager owes its users, one property each, on disks that are really small."""

from __future__ import annotations

import errno
import gc
import shutil
import sys
import threading
import tracemalloc
import zipfile
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from packager import run
from packager.core.ports import TEMPORARY_PREFIX
from packager.core.zip import ZipEncoder
from packager.deadline import ABORT_RESERVE_S
from packager.device import rules
from packager.errors import (
    RECOVERABLE_CODES,
    InsufficientStorageError,
    OutOfTimeError,
    PackagerError,
    StoreError,
)
from packager.limits import retry, storage
from packager.limits.reservations import Reservation
from packager.limits.storage import StorageManager
from packager.packaging import package
from packager.settings import Settings
from packager.stores import file as file_store
from packager.stores import folder as folder_store
from telemetry import Recorder, attached
from telemetry.engine.testing import recorded
from tests import archives
from tests.archive_strategies import trees, without_conflicts
from tests.packages import BLOCK_BYTES, TARGETS, Model, content, ground
from tests.properties.visits import Visits
from tests.small_disk import needs_root, on_small_disk

KIB, MIB = 1 << 10, 1 << 20
many = settings(max_examples=100, suppress_health_check=list(HealthCheck))
fewer = settings(many, max_examples=40)
"""For examples that take long; the visits that are asserted are shares of what ran."""


SCRATCH_ROWS = {"PackageRequest", "PackageTarget", "WriteComponent", "ZipComponent", "ExtractArchive", "CleanUp"}


@pytest.fixture(autouse=True, scope="module")
def _without_pauses():
    with mock.patch.multiple(retry, WAIT_INITIAL_S=0, WAIT_JITTER_S=0):
        yield


def sizes(most_bytes):
    return st.integers(0, 3 * KIB) | st.integers(0, most_bytes)


NAMES = ("model.bin", "weights", "weights/0", "weights/1", "a/b/c/d", "a/b", "模型/é", "-rf", "a b", f"{'long' * 50}/x")


def some_names(least):
    return st.lists(st.sampled_from(NAMES), min_size=least, max_size=8, unique=True).map(without_conflicts)


few_names = some_names(1)
"""For properties that are not about names: any text takes longer to draw than a package to make."""


@st.composite
def models(draw, most_bytes=200 * KIB, *, may_link=True, any_names=few_names):
    names = draw(any_names)
    linked = draw(st.lists(st.sampled_from(names), max_size=2, unique=True)) if may_link else []
    return Model(
        {name: draw(sizes(most_bytes)) for name in names},
        {f"hard link {number}": name for number, name in enumerate(linked)},
        draw(st.integers(0, 1 << 32)),
    )


unlinked = partial(models, may_link=False, any_names=trees.filter(bool))


@st.composite
def models_of(draw, least_bytes, most_bytes, *, linked):
    """A model of one to three files that take so much scratch in all; a hard link makes them be staged."""
    size_bytes = draw(st.integers(least_bytes, most_bytes))
    cuts = sorted(draw(st.lists(st.integers(0, size_bytes), max_size=2)))
    edges = [0, *cuts, size_bytes]
    sizes_bytes = {f"file {at}": end - start for at, (start, end) in enumerate(pairwise(edges))}
    return Model(sizes_bytes, {"hard link": "file 0"} if linked else {}, draw(st.integers(0, 1 << 32)))


def packed_size(uri):
    return Path(uri).stat().st_size


def assert_whole(result, model, component):
    assert component.error is None
    assert Path(component.uri).read_bytes() == model.component(result)


def assert_nothing_left(disk, here, result=None):
    assert list(disk.iterdir()) == []
    there = {each.uri for each in result.components if each.uri} if result else here.published()
    assert here.published() == there
    assert not any(Path(uri).name.startswith(TEMPORARY_PREFIX) for uri in there)
    for uri in there:
        with zipfile.ZipFile(uri) as component:
            assert component.testzip() is None


# -- 1 ----------------------------------------------------------------------------------------------------------------


@needs_root
def test_property_01_any_artifact_however_large_against_scratch_packages_to_completion():
    visit = Visits()
    disk_bytes = 16 * KIB
    large = models_of(11 * disk_bytes, 25 * disk_bytes, linked=False)

    def work(disk):
        @many
        @given(
            st.sampled_from([2, 3, 2, 3, 1]).flatmap(
                lambda count: st.lists(large | large | unlinked(), min_size=count, max_size=count)
            ),
            st.sampled_from([2, 3, 2, 3, 1]),
        )
        def packages(each_model, at_once):
            visit.begin()
            limits = Settings(scratch_dir=disk, max_concurrent_operations=at_once)
            with ground() as here:
                compiled = here.each_compiled(each_model)
                visit("over_ten_times_the_disk", when=max(map(packed_size, compiled.values())) > 10 * disk_bytes)
                visit("several_at_once", when=min(at_once, len(each_model)) > 1)
                result = package(here.trained, compiled, here.out, settings=limits)
                assert result.succeeded, result
                for model, component in zip(each_model, result.components, strict=True):
                    assert_whole(result, model, component)
                assert result.peak_scratch_bytes == 0
                assert_nothing_left(disk, here, result)

        packages()

    on_small_disk(work, disk_bytes)
    assert visit.lacking(over_ten_times_the_disk=50, several_at_once=30) == {}


# -- 2 ----------------------------------------------------------------------------------------------------------------


class Watched(StorageManager):
    """Keeps every manager that a package makes."""

    made: list[StorageManager]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made.append(self)


@contextmanager
def switching_every(seconds):
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@needs_root
def test_property_02_any_set_of_concurrent_targets_never_reserves_more_than_there_is_and_gives_all_back():
    visit = Visits()

    def work(disk):
        limits = Settings(scratch_dir=disk)
        there_bytes = StorageManager(limits).get_unreserved_space()
        small = models_of(0, there_bytes // 4, linked=True)
        over_half = models_of(there_bytes * 55 // 100, there_bytes * 85 // 100, linked=True)
        too_large = models_of(there_bytes * 101 // 100, there_bytes * 140 // 100, linked=True)
        contending = st.lists(over_half, min_size=2, max_size=3)

        @many
        @given(
            st.one_of(
                contending,
                contending,
                st.lists(over_half | too_large | small | unlinked(), min_size=2, max_size=len(TARGETS)),
                st.tuples(too_large, over_half, over_half).flatmap(st.permutations),
            ),
            st.sampled_from([1, 2, 3, 8]),
            st.booleans(),
            st.sampled_from([1e-5, 1e-4, 5e-3]),
        )
        def share(each_model, at_once, streams, interval_s):
            visit.begin()
            limits = Settings(scratch_dir=disk, max_concurrent_operations=at_once, streaming_enabled=streams)
            staged_bytes = [each.staged_bytes for each in each_model if each.links or not streams]
            fitting_bytes = [each for each in staged_bytes if each <= there_bytes]
            visit("contention", when=len(fitting_bytes) > 1 and sum(fitting_bytes) > there_bytes)
            most = []
            with (
                ground() as here,
                mock.patch.object(run, "StorageManager", Watched),
                mock.patch.object(Watched, "made", [], create=True),
                switching_every(interval_s),
            ):
                result = package(
                    here.trained,
                    here.each_compiled(each_model),
                    here.out,
                    settings=limits,
                    on_progress=lambda _: most.append(sum(Watched.made[0].reservations().values())),
                )
                for model, component in zip(each_model, result.components, strict=True):
                    staged = not streams or bool(model.links)
                    if not staged or model.staged_bytes <= there_bytes:
                        assert_whole(result, model, component)
                    else:
                        visit("too_large")
                        assert isinstance(component.error, InsufficientStorageError), component
                        assert component.status in {"failed", "left"}
                assert max(most, default=0) <= there_bytes
                visit("reserved_and_failed", when=bool(most) and max(most) > 0 and not result.succeeded)
                assert [each.reservations() for each in Watched.made] == [{}]
                assert Watched.made[0].written_bytes == 0
                assert_nothing_left(disk, here, result)

        share()

    on_small_disk(work, 512 * KIB)
    assert visit.lacking(contention=50, too_large=20, reserved_and_failed=20) == {}


# -- 3 ----------------------------------------------------------------------------------------------------------------


class Countdown:
    """Raises once, at the n-th step of all the steps there are."""

    def __init__(self, steps, error):
        self.left = steps
        self.taken = 0
        self.error = error
        self._lock = threading.Lock()

    def __call__(self):
        with self._lock:
            self.left -= 1
            self.taken += 1
            if self.left == 0:
                raise self.error

    def before(self, function):
        def stepping(*args, **kwargs):
            self()
            return function(*args, **kwargs)

        return stepping

    def around(self, function):
        def stepping(*args, **kwargs):
            self()
            done = function(*args, **kwargs)
            self()
            return done

        return stepping


@contextmanager
def raising(countdown):
    """Make every step of the work count, from the first read to the commit."""
    around = (
        (file_store.FileReader, "readinto"),
        (file_store.FileSource, "_hashed"),
        (folder_store._FolderUpload, "begin"),
        (folder_store._FolderUpload, "write"),
        (Reservation, "record_write"),
        (Reservation, "record_removal"),
        (ZipEncoder, "add"),
        (rules, "check"),
    )
    before = ((StorageManager, "reserve"), (storage, "scratch_folder"), (folder_store._FolderUpload, "commit"))
    with ExitStack() as stack:
        for wrap, places in ((countdown.around, around), (countdown.before, before)):
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, wrap(getattr(owner, name))))
        yield


failures = st.sampled_from(
    [
        lambda: OSError(errno.EIO, "the disk failed"),
        lambda: OSError(errno.ENOSPC, "the disk is full"),
        lambda: StoreError("It took too long.", code="ETIMEDOUT"),
        lambda: PackagerError("It is refused."),
        lambda: RuntimeError("a bug"),
        MemoryError,
        *[KeyboardInterrupt] * 5,
        SystemExit,
    ]
)


def ours_that_run():
    return [each.name for each in threading.enumerate() if each.name.startswith(("ahead", "target", "identity"))]


@needs_root
def test_property_03_whatever_is_created_is_removed_whichever_step_raises():
    visit = Visits()

    def work(disk):
        def fail(each_model, strategy, percent, make_error):
            visit.begin()
            limits = Settings(scratch_dir=disk)
            with ground() as here:
                compiled = here.each_compiled(each_model)
                unharmed = Countdown(0, None)
                with raising(unharmed):
                    assert package(here.trained, compiled, here.out, strategy=strategy, settings=limits).succeeded
                shutil.rmtree(here.out)
                fault = Countdown(1 + unharmed.taken * percent // 101, make_error())
                # What ends the process comes out; everything else is a result.
                with raising(fault), suppress(KeyboardInterrupt, SystemExit):
                    package(here.trained, compiled, here.out, strategy=strategy, settings=limits)
                visit("fired", when=fault.left <= 0)
                visit("later_than_the_tenth", when=fault.left <= 0 and fault.taken + fault.left > 10)
                visit("interrupt", when=fault.left <= 0 and isinstance(fault.error, KeyboardInterrupt))
                assert_nothing_left(disk, here)
                assert ours_that_run() == []

        # Late and any are drawn by themselves: of both, Hypothesis may hardly try one. The last steps are left out,
        # since not every run has as many.
        for examples, least in ((70, 40), (30, 1)):
            settings(many, max_examples=examples)(
                given(
                    st.lists(models(100 * KIB, any_names=some_names(5)), min_size=3, max_size=4),
                    st.sampled_from(["auto", "standard", "sequential", "partial"]),
                    st.integers(least, 96),
                    failures,
                )(fail)
            )()

    on_small_disk(work, 4 * MIB)
    assert visit.lacking(fired=95, later_than_the_tenth=50, interrupt=10) == {}


# -- 4 ----------------------------------------------------------------------------------------------------------------


@needs_root
def test_property_04_with_any_shortage_of_disk_the_result_is_the_same_bytes_by_streaming_within_the_shortage():
    def work(disk):
        @many
        @given(st.lists(unlinked(), min_size=1, max_size=3), st.integers(0, 64))
        def package_with(each_model, free_blocks):
            ballast = disk / "of somebody else"
            ballast.write_bytes(bytes((64 - free_blocks) * BLOCK_BYTES))
            with ground() as here, recorded() as records:
                result = package(
                    here.trained, here.each_compiled(each_model), here.out, settings=Settings(scratch_dir=disk)
                )
                for model, component in zip(each_model, result.components, strict=True):
                    assert_whole(result, model, component)
                    assert component.strategy == "streaming"
                [request] = [each.fields for each in records if each.row == "PackageRequest"]
                taken_bytes = request["storage_peak_bytes"] - request["storage_before_bytes"]
                assert max(taken_bytes, result.peak_scratch_bytes) <= free_blocks * BLOCK_BYTES
                assert list(disk.iterdir()) == [ballast]
            ballast.unlink()

        package_with()

    on_small_disk(work, 64 * BLOCK_BYTES)


# -- 5 ----------------------------------------------------------------------------------------------------------------


@needs_root
def test_property_05_critically_low_disk_is_cleaned_first_and_if_that_does_not_suffice_the_error_has_figures():
    visit = Visits()

    def work(disk):
        @many
        @given(
            st.one_of(
                *(models_of(least * BLOCK_BYTES, (least + 100) * BLOCK_BYTES, linked=True) for least in (0, 70, 100))
            ),
            st.sampled_from([0, 1, 10, 100]),
            st.sampled_from([0, 60, 80, 90]).flatmap(lambda least: st.integers(least, 100)),
            st.sampled_from([True, True, False]),
        )
        def package_with(model, leftover_blocks, foreign_blocks, before):
            visit.begin()
            foreign, leftover = disk / "of somebody else", disk / f"{TEMPORARY_PREFIX}of-a-dead-run"
            foreign.write_bytes(bytes(foreign_blocks * BLOCK_BYTES))
            limits = Settings(scratch_dir=disk)
            there_bytes = StorageManager(limits).get_unreserved_space()

            def another_run_dies(state=None):
                if before == (state is None) and (state is None or state.phase == "identifying"):
                    leftover.mkdir(exist_ok=True)
                    with suppress(OSError):
                        (leftover / "00000000").write_bytes(bytes(leftover_blocks * BLOCK_BYTES))

            another_run_dies()
            with ground() as here, recorded() as records:
                result = package(
                    here.trained,
                    here.each_compiled([model]),
                    here.out,
                    strategy="standard",
                    settings=limits,
                    on_progress=another_run_dies,
                )
                needed_bytes = model.staged_bytes
                [component] = result.components
                if needed_bytes <= there_bytes:
                    assert_whole(result, model, component)
                    reserved = next(each for each in records if each.row == "ReserveStorage")
                    if needed_bytes > there_bytes - leftover_blocks * BLOCK_BYTES:
                        swept = [each for each in records if each.row == "CleanUp" and each.fields["reason"] == "sweep"]
                        assert records.index(swept[0]) < records.index(reserved)
                else:
                    error = component.error
                    assert isinstance(error, InsufficientStorageError)
                    swept = [each for each in records if each.row == "CleanUp" and each.fields["reason"] == "sweep"]
                    visit("refused")
                    visit("refused_after_a_sweep", when=bool(swept))
                    assert (error.required_bytes, error.path) == (needed_bytes, str(disk))
                    assert 0 <= error.available_bytes < error.required_bytes
                    assert error.missing_bytes == error.required_bytes - error.available_bytes
                    assert any("streaming" in each or "SCRATCH_DIR" in each for each in error.suggestions)
                    assert str(error.required_bytes) in str(error)
            for each in leftover.glob("*"):
                each.unlink()
            if leftover.exists():
                leftover.rmdir()
            assert list(disk.iterdir()) == [foreign]
            foreign.unlink()

        package_with()

    on_small_disk(work, 128 * BLOCK_BYTES)
    assert visit.lacking(refused=30, refused_after_a_sweep=20) == {}


# -- 6 ----------------------------------------------------------------------------------------------------------------


@needs_root
def test_property_06_any_demand_above_the_limits_selects_a_strategy_that_fits_and_equals_the_standard_one():
    visit = Visits()
    bytes_per_s = 40 * KIB
    over_half = models_of(56 * BLOCK_BYTES, 60 * BLOCK_BYTES, linked=True)
    too_large = models_of(130 * BLOCK_BYTES, 160 * BLOCK_BYTES, linked=True)
    memory_bytes, time_s = st.sampled_from([0, MIB, 1 << 40]), st.none() | st.integers(1, 10)
    # Each demand: models, blocks of ballast, memory, targets at once, whether streaming is allowed, seconds left.
    one_after_another = st.tuples(
        st.lists(over_half, min_size=2, max_size=3),
        st.integers(20, 40),
        st.just(0),
        st.integers(2, 4),
        st.just(False),
        st.none(),
    )
    larger_than_the_disk = st.tuples(
        st.lists(too_large, min_size=1, max_size=2),
        st.integers(0, 64),
        memory_bytes,
        st.integers(1, 4),
        st.booleans(),
        st.none(),
    )
    any_demand = st.tuples(
        st.lists(models() | over_half | too_large, min_size=1, max_size=3),
        st.integers(0, 64),
        memory_bytes,
        st.integers(1, 4),
        st.booleans(),
        time_s,
    )

    def work(disk):
        def package_with(demand):
            each_model, ballast_blocks, memory_bytes, at_once, streams, time_s = demand
            visit.begin()
            ballast = disk / "of somebody else"
            ballast.write_bytes(bytes(ballast_blocks * BLOCK_BYTES))
            limits = Settings(
                scratch_dir=disk,
                memory_limit_bytes=memory_bytes,
                max_concurrent_operations=at_once,
                streaming_enabled=streams,
            )
            there_bytes = StorageManager(limits).get_unreserved_space()
            left_s = time_s and time_s + ABORT_RESERVE_S
            with ground() as here, mock.patch.object(run, "PLANNED_BYTES_PER_S", bytes_per_s):
                compiled = here.each_compiled(each_model)
                free = package(
                    here.trained,
                    compiled,
                    str(here.root / "standard"),
                    strategy="standard",
                    settings=Settings(scratch_dir=here.root / "scratch"),
                )
                result = package(
                    here.trained, compiled, here.out, settings=limits, time_left_s=left_s and (lambda: left_s)
                )
                assert free.succeeded
                for model, component, standard, uri in zip(
                    each_model, result.components, free.components, compiled.values(), strict=True
                ):
                    visit("sequential", when=component.strategy == "sequential")
                    if component.uri:
                        assert component.sha256 == standard.sha256
                        assert_whole(result, model, component)
                    elif isinstance(component.error, OutOfTimeError):
                        assert component.status == "left"
                        assert Path(uri).stat().st_size / bytes_per_s > time_s
                    else:
                        visit("refused")
                        assert isinstance(component.error, InsufficientStorageError), component
                        assert model.staged_bytes > there_bytes
                        assert model.links or not streams
                assert result.peak_scratch_bytes <= there_bytes
                assert list(disk.iterdir()) == [ballast]
            ballast.unlink()

        # One draw for each kind: among all of them Hypothesis may hardly try one.
        for examples, demands in ((15, one_after_another), (15, larger_than_the_disk), (10, any_demand)):
            settings(fewer, max_examples=examples)(given(demands)(package_with))()

    on_small_disk(work, 128 * BLOCK_BYTES)
    assert visit.lacking(refused=20, sequential=20) == {}


# -- 7 ----------------------------------------------------------------------------------------------------------------


@needs_root
def test_property_07_every_operation_reports_its_scratch_before_peak_and_after_and_nothing_runs_unseen():
    def work(disk):
        @many
        @given(
            st.lists(models(), min_size=1, max_size=3, unique_by=Model.archive),
            st.sampled_from(["auto", "standard", "sequential", "partial"]),
        )
        def package_by(each_model, strategy):
            held = []

            def look(_):
                held.append(sum(each.stat().st_size for each in disk.rglob("*") if each.is_file()))

            with ground() as here, recorded() as records:
                result = package(
                    here.trained,
                    here.each_compiled(each_model),
                    here.out,
                    strategy=strategy,
                    settings=Settings(scratch_dir=disk, max_concurrent_operations=1),
                    on_progress=look,
                )
                assert result.succeeded, result
            rows = [each.row for each in records]
            staged = sum(bool(each.links) or strategy in {"standard", "sequential"} for each in each_model)
            assert rows.count("PackageRequest") == rows.count("CreateManifest") == 1
            assert rows.count("PackageTarget") == len(each_model)
            assert rows.count("ExtractArchive") == rows.count("ReserveStorage") == staged
            written = [each for each in records if each.row == "WriteComponent" and each.outcome == "success"]
            assert len(written) == len(each_model)
            for each in records:
                if each.row in SCRATCH_ROWS:
                    before, peak, after = (each.fields[f"storage_{when}_bytes"] for when in ("before", "peak", "after"))
                    assert 0 <= max(before, after) <= peak <= 4 * MIB
            [request] = [each.fields for each in records if each.row == "PackageRequest"]
            assert (request["storage_before_bytes"], request["storage_after_bytes"]) == (0, 0)
            assert max(held) <= result.peak_scratch_bytes == request["peak_scratch_bytes"]
            assert result.peak_scratch_bytes <= request["storage_peak_bytes"]
            assert bool(result.peak_scratch_bytes) <= bool(staged)

        package_by()

    on_small_disk(work, 4 * MIB)


# -- 8 ----------------------------------------------------------------------------------------------------------------

HELD_BESIDES_BYTES = 3 * MIB // 2
"""How much more a large archive may hold than a small one: a tenth of the large ones is more."""


@cache
def packed_mebibyte(seed):
    return archives.gz(content(MIB, seed), levels=(0,))


def held_bytes(mebibytes, small):
    """The most memory that packaging one file of so many MiB takes, with so many small files behind it."""

    def packed():
        yield archives.gz(archives.header(b"large", mebibytes * MIB), levels=(1,))
        yield from (packed_mebibyte(seed % 4) for seed in range(mebibytes))
        yield archives.gz(b"".join(archives.member(b"small-%d" % each) for each in range(small)) + archives.END)

    with ground() as here:
        artifact = here.root / "compiled.tar.gz"
        with artifact.open("wb") as file:
            file.writelines(packed())
        gc.collect()
        tracemalloc.start(1)
        try:
            result = package(here.trained, {"arm64-cpu": str(artifact)}, here.out, settings=Settings())
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert result.succeeded
        return peak_bytes


def test_property_08_any_archive_compresses_within_a_memory_bound_that_does_not_grow_with_its_size():
    visit = Visits()
    # Every queue is full by then, and the largest of several runs is what buffers take when threads are slow.
    base_bytes = max(held_bytes(16, 0) for _ in range(4))

    def compress(mebibytes, small):
        visit.begin()
        visit("a_tenth_is_above_the_bound", when=mebibytes * MIB / 10 > HELD_BESIDES_BYTES and mebibytes > 16)
        assert held_bytes(mebibytes, small) <= base_bytes + HELD_BESIDES_BYTES + 3 * KIB * small

    # One of the large takes as long as ten of the small.
    for examples, least, most in ((74, 1, 2), (26, 17, 18)):
        settings(many, max_examples=examples)(given(st.integers(least, most), st.integers(0, 300))(compress))()
    assert visit.lacking(a_tenth_is_above_the_bound=25) == {}


# -- 9 ----------------------------------------------------------------------------------------------------------------


class Events(Recorder):
    """The lines of the log, and the failures, in the order in which they came."""

    def __init__(self):
        self.seen = []

    def event(self, level, name, _keys):
        self.seen.append((level, name))

    def end(self, step):
        if isinstance(step.error, InsufficientStorageError):
            self.seen.append(("failure", step.row.name))


@needs_root
def test_property_09_a_warning_always_precedes_a_storage_failure_that_grew_gradually():
    def work(disk):
        @many
        @given(st.integers(0, 3), st.integers(8, 60), st.integers(1, 8), st.integers(0, 60))
        @example(3, 8, 7, 6)
        def fill_up(times, files, file_blocks, ballast_blocks):
            foreign = disk / "of somebody else"
            foreign.write_bytes(bytes(ballast_blocks * BLOCK_BYTES))

            def grow(state):
                if state.phase == "staging" and state.scratch_bytes:
                    with suppress(OSError), foreign.open("ab") as file:
                        file.write(bytes(times * file_blocks * BLOCK_BYTES))

            model = Model({f"{number:02d}": file_blocks * BLOCK_BYTES for number in range(files)})
            assume(model.staged_bytes < 160 * BLOCK_BYTES)
            events = Events()
            with ground() as here, attached(events):
                result = package(
                    here.trained,
                    here.each_compiled([model]),
                    here.out,
                    strategy="standard",
                    settings=Settings(scratch_dir=disk),
                    on_progress=grow,
                )
                [component] = result.components
                if component.error:
                    assert isinstance(component.error, InsufficientStorageError), component
                    assert any(each.rule.startswith("storage-") for each in component.warnings)
                    warned = next(at for at, (level, _) in enumerate(events.seen) if level == "warning")
                    failed = next(at for at, (level, _) in enumerate(events.seen) if level == "failure")
                    assert warned < failed
                else:
                    assert_whole(result, model, component)
                assert list(disk.iterdir()) == [foreign]
            foreign.unlink()

        fill_up()

    on_small_disk(work, 256 * BLOCK_BYTES)


# -- 10 ---------------------------------------------------------------------------------------------------------------


@needs_root
def test_property_10_recoverable_faults_within_the_budget_end_in_success_and_beyond_it_in_the_original_error():
    visit = Visits()
    recoverable = st.builds(
        lambda steps, code: Countdown(steps, StoreError(f"It failed with {code}.", code=code)),
        st.integers(1, 8),
        st.sampled_from(sorted(RECOVERABLE_CODES)),
    )

    def work(disk):
        def package_through(model, strategy, faults, attempts):
            visit.begin()
            coming = iter(faults)
            attempted = []

            def attempt(making, _whole=run._ComponentRun._attempt):
                fault = next(coming, None)
                attempted.append(fault)
                assert list(disk.iterdir()) == []
                assert here.published() == set()
                with raising(fault) if fault else nullcontext():
                    return _whole(making)

            with ground() as here, mock.patch.object(run._ComponentRun, "_attempt", attempt):
                result = package(
                    here.trained,
                    here.each_compiled([model]),
                    here.out,
                    strategy=strategy,
                    settings=Settings(scratch_dir=disk, max_attempts=attempts),
                )
                [component] = result.components
                raised = [each for each in attempted if each and each.left <= 0]
                if component.error:
                    visit("budget_used_up")
                    assert component.error is raised[-1].error
                    assert len(raised) >= attempts
                else:
                    visit("recovered", when=bool(raised))
                    visit("recovered_after_two", when=len(raised) > 1)
                    assert_whole(result, model, component)
                assert_nothing_left(disk, here, result)

        # Few attempts and many are drawn by themselves: among both, Hypothesis may hardly try one.
        for examples, attempts in ((35, [1, 2]), (65, [3, 4, 6])):
            settings(many, max_examples=examples)(
                given(
                    models(100 * KIB),
                    st.sampled_from(["auto", "standard", "partial"]),
                    st.sampled_from([2, 1, 2, 3]).flatmap(
                        lambda count: st.lists(recoverable, min_size=count, max_size=count)
                    ),
                    st.sampled_from(attempts),
                )(package_through)
            )()

    on_small_disk(work, 4 * MIB)
    assert visit.lacking(recovered=40, recovered_after_two=20, budget_used_up=20) == {}
