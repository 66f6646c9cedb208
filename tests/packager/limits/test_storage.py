from __future__ import annotations

import contextlib
import errno
import gzip
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from packager.core.ports import TEMPORARY_PREFIX
from packager.errors import InsufficientStorageError, RequestError
from packager.limits.reservations import UNPACKED_PER_PACKED, SizedFile, space_needed
from packager.limits.scratch import scratch_folder
from packager.limits.storage import StorageManager
from packager.limits.usage import FILLING_S, DiskUsage, Trend, disk_usage, thresholds
from packager.settings import GIB, MIB, Settings
from telemetry import Recorder, attached, observe
from telemetry.catalog import CLEAN_UP
from telemetry.engine.testing import recorded
from tests.small_disk import needs_root, on_small_disk

KIB = 1024
many = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def quota(folder, critical_bytes, warning_bytes=None):
    """Settings under which no more than so many bytes of a folder may be used."""
    return Settings(
        scratch_dir=folder,
        storage_critical_bytes=critical_bytes,
        storage_warning_bytes=critical_bytes if warning_bytes is None else warning_bytes,
    )


def write(path, size_bytes):
    path.write_bytes(b"x" * size_bytes)


# --- reservations ---------------------------------------------------------------------------------------------------


@needs_root
def test_property_2_no_interleaving_of_targets_reserves_or_writes_more_than_there_is():
    def work(disk):
        @settings(max_examples=100)
        @given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=4), min_size=2, max_size=6))
        def targets_at_once(targets):
            limits = Settings(scratch_dir=disk)
            storage = StorageManager(limits)
            refused, done = [], []

            def package(number, members_kib):
                wanted = sum(-(-each // 4) * 4 * KIB for each in members_kib)
                try:
                    reservation = storage.reserve(wanted, f"target {number}")
                except InsufficientStorageError as error:
                    refused.append((wanted, error.available_bytes))
                    return
                with reservation, scratch_folder(limits, str(number)) as folder:
                    for name, each in enumerate(members_kib):
                        write(folder / str(name), each * KIB)  # raises ENOSPC if more was promised than there is
                        reservation.record_write(-(-each // 4) * 4 * KIB)
                    done.append(number)

            with ThreadPoolExecutor(len(targets)) as pool:
                for future in [pool.submit(package, *each) for each in enumerate(targets)]:
                    future.result()
            assert len(done) + len(refused) == len(targets)
            assert all(available < wanted for wanted, available in refused)
            assert storage.reservations() == {}
            assert disk_usage(disk).used_bytes == 0

        targets_at_once()

    on_small_disk(work, MIB)


def test_a_thousand_interleavings_of_reserve_and_release_end_at_zero(tmp_path):
    limit_bytes = 100_000
    storage = StorageManager(quota(tmp_path, limit_bytes))
    most = []

    def script(seed):
        random = Random(seed)
        for _ in range(3):
            with contextlib.suppress(InsufficientStorageError), storage.reserve(random.randrange(60_000), str(seed)):
                most.append(sum(storage.reservations().values()))

    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(script, range(1000)):
            pass
    assert max(most) <= limit_bytes
    assert storage.reservations() == {}
    assert storage.get_unreserved_space() == limit_bytes


class Reserving(RuleBasedStateMachine):
    """Reservations against a model that only adds and subtracts."""

    LIMIT_BYTES = 40 * 4096

    @initialize()
    def begin(self):
        self.root = TemporaryDirectory()
        self.folder = Path(self.root.name)
        self.storage = StorageManager(quota(self.folder, self.LIMIT_BYTES))
        self.held = {}
        self.granted = self.files = 0

    @rule(blocks=st.integers(0, 45))
    def reserve(self, blocks):
        size_bytes = blocks * 4096
        room_bytes = self.LIMIT_BYTES - sum(max(each.size_bytes, written) for each, written in self.held.values())
        if size_bytes <= room_bytes:
            reservation = self.storage.reserve(size_bytes, "somebody")
            self.granted += 1
            self.held[self.granted] = (reservation, 0)
        else:
            with pytest.raises(InsufficientStorageError) as error:
                self.storage.reserve(size_bytes)
            assert error.value.missing_bytes == size_bytes - room_bytes

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def write(self, data):
        key = data.draw(st.sampled_from(sorted(self.held)))
        reservation, written = self.held[key]
        blocks = data.draw(st.integers(0, (reservation.size_bytes - written) // 4096))
        write(self.folder / str(self.files), blocks * 4096)
        self.files += 1
        reservation.record_write(blocks * 4096)
        self.held[key] = (reservation, written + blocks * 4096)

    @precondition(lambda self: any(not written for _, written in self.held.values()))
    @rule(data=st.data(), twice=st.booleans())
    def release(self, data, twice):
        key = data.draw(st.sampled_from(sorted(key for key, (_, written) in self.held.items() if not written)))
        reservation, _ = self.held.pop(key)
        for _ in range(1 + twice):
            reservation.release()

    @precondition(lambda self: self.files)
    @rule()
    def empty(self):
        for reservation, written in self.held.values():
            reservation.record_removal(written)
        self.held = {key: (reservation, 0) for key, (reservation, _) in self.held.items()}
        for file in self.folder.iterdir():
            file.unlink()
        self.files = 0

    @invariant()
    def never_more_than_there_is(self):
        if hasattr(self, "storage"):
            held_bytes = sum(reservation.size_bytes for reservation, _ in self.held.values())
            assert sum(self.storage.reservations().values()) == held_bytes <= self.LIMIT_BYTES
            assert self.storage.get_unreserved_space() == self.LIMIT_BYTES - held_bytes

    def teardown(self):
        if hasattr(self, "storage"):
            for reservation, _ in self.held.values():
                reservation.release()
            assert self.storage.reservations() == {}
            self.root.cleanup()


TestReserving = Reserving.TestCase
TestReserving.settings = settings(max_examples=100, stateful_step_count=30)


def test_a_reservation_is_all_or_nothing_and_says_who_holds_the_rest(tmp_path):
    storage = StorageManager(quota(tmp_path, 1000))
    with recorded() as records, storage.reserve(700, "jetson-xavier"):
        with pytest.raises(InsufficientStorageError) as raised:
            storage.reserve(400, "x86_64-cpu")
        assert storage.reservations() == {"jetson-xavier": 700}
    error = raised.value
    assert (error.required_bytes, error.available_bytes, error.missing_bytes) == (400, 300, 100)
    assert error.path == str(tmp_path)
    assert "jetson-xavier holds 700 bytes" in str(error)
    assert error.suggestions[0] == "use the strategy streaming, which needs no scratch"
    reserved = [each for each in records if each.row == "ReserveStorage"]
    assert [(each.outcome, each.fields["granted"], each.fields["reserved_bytes"]) for each in reserved] == [
        ("success", 1, 700),
        ("failure", 0, 700),
    ]


def test_less_than_nothing_cannot_be_reserved(tmp_path):
    with pytest.raises(RequestError, match="-1 bytes"):
        StorageManager(quota(tmp_path, 1000)).reserve(-1)


# --- critically low -------------------------------------------------------------------------------------------------


@needs_root
def test_property_5_critically_low_disk_is_cleaned_first_and_an_error_has_figures_and_a_way_out():
    def work(disk):
        @settings(max_examples=100)
        @given(left=st.integers(0, 120), kept=st.integers(0, 120), wanted=st.integers(0, 300))
        def short(left, kept, wanted):
            for name, blocks in (
                (f"{TEMPORARY_PREFIX}dead", left),
                ("kept", kept),
            ):
                (disk / name).mkdir()
                write(disk / name / "file", min(blocks * 4096, disk_usage(disk).available_bytes))
            storage = StorageManager(Settings(scratch_dir=disk))
            size_bytes = wanted * 4096
            fits_at_once = size_bytes <= storage.get_unreserved_space()
            try:
                storage.reserve(size_bytes).release()
                error = None
            except InsufficientStorageError as raised:
                error = raised
            cleaned = not (disk / f"{TEMPORARY_PREFIX}dead").exists()
            assert cleaned or fits_at_once
            room_bytes = MIB - MIB // 8 - disk_usage(disk / "kept").used_bytes if cleaned else None
            if error is not None:
                assert size_bytes > storage.get_unreserved_space() == max(0, room_bytes)
                assert error.required_bytes == size_bytes
                assert error.available_bytes == storage.get_unreserved_space()
                assert error.missing_bytes == size_bytes - error.available_bytes > 0
                assert error.path == str(disk)
                assert "streaming" in error.suggestions[0]
            storage.cleanup_directory(disk / "kept")
            for each in disk.iterdir():
                storage.cleanup_directory(each)

        short()

    on_small_disk(work, MIB)


# --- warnings -------------------------------------------------------------------------------------------------------


class Events(Recorder):
    def __init__(self):
        self.seen = []

    def event(self, level, name, keys):
        self.seen.append((level, name, keys["next_step"]))


def warned(storage, events):
    """Whether a warning stands in the findings for the result and in the log."""
    assert [each.rule for each in storage.findings()] == [name for _, name, _ in events.seen if name.startswith("stor")]
    return bool(storage.findings())


growth = st.lists(st.integers(1, 31), min_size=60, max_size=60)


@needs_root
def test_property_9_a_warning_precedes_every_failure_that_grew_gradually():
    def work(disk):
        def by_reservations(storage, stack, size_bytes):
            stack.enter_context(storage.reserve(size_bytes))

        def by_others(storage, stack, size_bytes):
            del stack
            write(disk / str(len(list(disk.iterdir()))), size_bytes)
            storage.monitor_usage()

        def beyond_a_reservation(storage, stack, size_bytes):
            reservation = stack.enter_context(storage.reserve(0))
            with storage.explained("The member", reservation):
                write(disk / str(len(list(disk.iterdir()))), size_bytes)
            reservation.record_write(size_bytes)

        @settings(max_examples=100)
        @given(growth, st.sampled_from((by_reservations, by_others, beyond_a_reservation)))
        def grows(steps, grow):
            events = Events()
            storage = StorageManager(Settings(scratch_dir=disk))
            with contextlib.ExitStack() as stack, attached(events), recorded() as records:
                for blocks in steps:
                    before = warned(storage, events)
                    try:
                        grow(storage, stack, blocks * 4096)
                    except OSError:
                        break
                else:
                    before = sum(steps) * 4096 < MIB * 3 // 4  # it did not fail, and needed no warning
                assert before
                levels = [each.fields["level"] for each in records if each.row == "MonitorStorage"]
                assert sum(steps) * 4096 < MIB * 3 // 4 or "warning" in levels
            for each in disk.iterdir():
                each.unlink()

        grows()

    on_small_disk(work, MIB)


@needs_root
def test_growth_that_nobody_reserved_is_a_warning_while_there_is_still_room():
    def work(disk):
        clock = Clock()
        storage = StorageManager(Settings(scratch_dir=disk), clock=clock)
        assert storage.monitor_usage().seconds_to_full is None
        with storage.reserve(64 * KIB) as held:
            write(disk / "reserved", 64 * KIB)
            held.record_write(64 * KIB)
            clock.now_s = 1.0
            metrics = storage.monitor_usage()
            assert (metrics.level, metrics.slope_bytes_per_s, metrics.seconds_to_full) == ("ok", 64 * KIB, None)
            write(disk / "log", 16 * KIB)
            clock.now_s = 2.0
            metrics = storage.monitor_usage()
        assert (metrics.level, metrics.slope_bytes_per_s) == ("warning", 40 * KIB)
        assert metrics.seconds_to_full == (MIB - 80 * KIB) / (8 * KIB) < FILLING_S
        assert [each.rule for each in storage.findings()] == ["storage-filling"]
        assert "full in 118 s" in storage.findings()[0].message

    on_small_disk(work, MIB)


@given(st.lists(st.tuples(st.floats(1, 30), st.integers(-1000, 1000)), min_size=1, max_size=30), st.booleans())
def test_the_trend_is_that_of_the_last_minute_and_reserved_growth_is_no_threat(steps, reserved):
    trend, now_s, used, looks = Trend(), 0.0, 50_000, []
    for elapsed_s, change in steps:
        now_s, used = now_s + elapsed_s, used + change
        trend.add(now_s, used, used - 10_000 if reserved else 10_000)
        looks = [each for each in looks if now_s - each[0] <= 60] + [(now_s, used)]
    (first_s, first), (last_s, last) = looks[0], looks[-1]
    slope = (last - first) / (last_s - first_s) if last_s - first_s >= 1 else 0
    assert trend.slope_bytes_per_s() == pytest.approx(slope)
    assert trend.unreserved_bytes_per_s() == pytest.approx(0 if reserved else slope)


@given(
    total=st.integers(1, 1 << 45),
    free=st.floats(0, 1),
    warning=st.integers(1, 1 << 43),
    more=st.integers(0, 1 << 43),
)
def test_thresholds_are_those_of_the_settings_or_leave_a_part_of_the_disk_free(total, free, warning, more):
    available = int(total * free)
    limits = Settings(storage_warning_bytes=warning, storage_critical_bytes=warning + more)
    usage = DiskUsage(total, available, total - available, 4096, out_of_inodes=False)
    found = thresholds(limits, usage)
    assert 0 <= found.warning_bytes <= found.critical_bytes
    assert found.critical_bytes in (warning + more, max(0, total - min(GIB, total // 8)))
    assert found.warning_bytes in (warning, max(0, total - min(2 * GIB, total // 4)))


def test_the_default_disk_has_the_default_thresholds():
    limits, disk_bytes = Settings(), 8192 * MIB
    found = thresholds(limits, DiskUsage(disk_bytes, disk_bytes, 0, 4096, out_of_inodes=False))
    assert (found.warning_bytes, found.critical_bytes) == (limits.storage_warning_bytes, limits.storage_critical_bytes)


# --- looking --------------------------------------------------------------------------------------------------------


@needs_root
def test_a_disk_of_its_own_is_looked_at_as_a_whole():
    def work(disk):
        write(disk / "anything", 8192)
        metrics = StorageManager(Settings(scratch_dir=disk)).monitor_usage()
        assert (metrics.total_bytes, metrics.used_bytes, metrics.available_bytes) == (MIB, 8192, MIB - 8192)
        assert (metrics.warning_bytes, metrics.critical_bytes, metrics.level) == (MIB * 3 // 4, MIB * 7 // 8, "ok")

    on_small_disk(work, MIB)


def test_in_a_folder_of_a_larger_disk_only_that_folder_counts(tmp_path):
    write(tmp_path / "anything", 8192)
    assert disk_usage(tmp_path).used_bytes == 8192


def test_in_everyones_temporary_folder_only_what_is_ours_counts(tmp_path):
    tmp_path.chmod(0o1777)
    write(tmp_path / "somebodys", 8192)
    with scratch_folder(Settings(scratch_dir=tmp_path)) as folder:
        empty_bytes = disk_usage(tmp_path).used_bytes
        write(folder / "ours", 4096)
        assert disk_usage(tmp_path).used_bytes == empty_bytes + 4096


def test_a_scratch_folder_that_is_not_there_yet_is_empty(tmp_path):
    storage = StorageManager(Settings(scratch_dir=tmp_path / "not" / "yet"))
    assert storage.monitor_usage().used_bytes == 0
    assert storage.get_available_space() > 0


def test_the_figures_say_who_holds_how_much_and_have_a_json_form(tmp_path):
    write(tmp_path / "left", 4096)
    storage = StorageManager(quota(tmp_path, MIB))
    with storage.reserve(10_000, "a"), storage.reserve(500, "b") as b, storage.reserve(1, "a"):
        write(tmp_path / "more", 8192)
        b.record_write(8192)
        metrics = storage.monitor_usage()
    assert metrics.used_by == {"a": 10_001, "b": 8192, "others": 4096}
    assert json.loads(json.dumps(metrics.as_dict()))["timestamp"] == metrics.timestamp.isoformat()


def test_a_threshold_of_ones_own_is_bytes_or_a_share_of_the_disk(tmp_path):
    write(tmp_path / "file", 4096)
    storage = StorageManager(Settings(scratch_dir=tmp_path))
    assert storage.monitor_usage(4097).level == "ok"
    assert storage.monitor_usage(4096).level == "warning"
    assert storage.monitor_usage(0.5).level == "ok"
    assert storage.monitor_usage(0.0).level == "warning"


def test_the_critical_level_sweeps_first_and_measures_again(tmp_path):
    storage = StorageManager(quota(tmp_path, 8192))
    dead = tmp_path / f"{TEMPORARY_PREFIX}dead"
    dead.mkdir()
    write(dead / "file", 8192)
    with recorded() as records:
        assert storage.monitor_usage().level == "ok"
    assert not dead.exists()
    assert [each.row for each in records] == ["MonitorStorage", "CleanUp", "MonitorStorage"]
    assert [each.rule for each in storage.findings()] == ["storage-critical"]


def test_a_step_learns_what_scratch_held_before_at_most_and_after(tmp_path):
    storage = StorageManager(quota(tmp_path, MIB))
    write(tmp_path / "before", 4096)
    with recorded() as records, observe(CLEAN_UP) as step, storage.measured(step), storage.reserve(MIB // 2) as held:
        write(tmp_path / "most", 8192)
        held.record_write(8192)
        held.record_removal(8192)
        (tmp_path / "most").unlink()
        (tmp_path / "before").unlink()
    (record,) = (each for each in records if each.row == "CleanUp")
    assert record.fields == {"storage_before_bytes": 4096, "storage_peak_bytes": 12_288, "storage_after_bytes": 0}


# --- cleaning and estimating ----------------------------------------------------------------------------------------


def test_a_folder_below_scratch_is_removed_and_observed(tmp_path):
    storage = StorageManager(Settings(scratch_dir=tmp_path))
    (tmp_path / "work" / "inner").mkdir(parents=True)
    write(tmp_path / "work" / "inner" / "file", 4096)
    with recorded() as records:
        done = storage.cleanup_directory(str(tmp_path / "work"))
    assert done.removed == 3
    assert not (tmp_path / "work").exists()
    assert [(each.row, each.fields["removed"], each.fields["left"]) for each in records] == [("CleanUp", 3, 0)]
    assert storage.cleanup_directory(tmp_path / "work").removed == 0


def test_nothing_outside_scratch_is_ever_removed(tmp_path):
    scratch, outside = tmp_path / "scratch", tmp_path / "outside"
    scratch.mkdir()
    outside.mkdir()
    (outside / "inner").mkdir()
    (scratch / "link").symlink_to(outside)
    storage = StorageManager(Settings(scratch_dir=scratch))
    for path in (outside, scratch, "/", scratch / "..", scratch / ".." / "outside", scratch / "link" / "inner", "x"):
        with pytest.raises(RequestError, match="not below the scratch folder"):
            storage.cleanup_directory(path)
    storage.cleanup_directory(scratch / "link")
    assert (outside / "inner").exists()
    assert not (scratch / "link").exists()


sizes = st.lists(st.integers(0, 200_000), max_size=6)


@needs_root
def test_the_estimate_holds_what_is_extracted_and_is_near_it():
    def work(disk):
        @settings(max_examples=100)
        @given(sizes)
        def extracted(members):
            with scratch_folder(Settings(scratch_dir=disk)) as folder:
                before = disk_usage(disk).used_bytes
                for number, size in enumerate(members):
                    write(folder / str(number), size)
                used = disk_usage(disk).used_bytes - before
                for what in (folder, listing(members)):
                    assert used <= space_needed(what, "extract", 4096) <= used + 8192 * len(members)

        extracted()

    on_small_disk(work, 4 * MIB)


def test_the_estimate_of_staging_counts_the_files_that_small_members_share():
    tiny = space_needed(listing([10] * 100_000), "standard", 4096)
    assert 1_000_000 < tiny < 1_100_000
    assert space_needed(listing([10] * 100_000), "extract", 4096) == 100_000 * 8192
    assert space_needed([], "standard", 4096) == 0
    large = [SizedFile("a", 10, is_large=True)] * 3
    assert space_needed(large, "sequential", 4096) == 3 * 8192
    assert space_needed([*listing([10]), *large, *listing([10, 20])], "standard", 4096) == 5 * 8192


@many
@given(sizes, st.sampled_from((0, 1, 9)), st.integers(0, 2**32))
def test_the_estimate_of_a_zip_holds_what_zipfile_writes(tmp_path, members, level, seed):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as file:
        for number, size in enumerate(members):
            file.writestr(f"folder/{number}", Random(seed).randbytes(size))
    listed = [SizedFile(f"folder/{number}", size) for number, size in enumerate(members)]
    assert path.stat().st_size <= space_needed(listed, "zip", 4096) <= path.stat().st_size + 4096 + 1000 * len(members)


def listing(members):
    return [SizedFile(str(number), size) for number, size in enumerate(members)]


def test_the_estimate_of_an_archive_is_a_multiple_of_its_size_and_streaming_takes_nothing(tmp_path):
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(gzip.compress(b"weights" * 1000))
    packed = archive.stat().st_size
    storage = StorageManager(Settings(scratch_dir=tmp_path))
    for operation in ("extract", "standard", "sequential"):
        assert 0 <= storage.estimate_space_needed(archive, operation) - UNPACKED_PER_PACKED * packed < 2 * 4096
    assert storage.estimate_space_needed(str(archive)) == storage.estimate_space_needed(archive, "standard")
    assert storage.estimate_space_needed(archive, "streaming") == storage.estimate_space_needed(archive, "partial") == 0


def test_what_cannot_be_estimated_is_an_error(tmp_path):
    storage = StorageManager(Settings(scratch_dir=tmp_path))
    with pytest.raises(RequestError, match="no operation 'juggle'"):
        storage.estimate_space_needed(tmp_path, "juggle")
    with pytest.raises(FileNotFoundError, match="nothing lies there"):
        storage.estimate_space_needed(tmp_path / "no.tar.gz")


def test_other_errors_than_a_full_disk_pass_unchanged(tmp_path):
    storage = StorageManager(Settings(scratch_dir=tmp_path))
    error = PermissionError(errno.EACCES, "no")
    with pytest.raises(PermissionError) as raised, storage.explained("It", storage.reserve(0)):
        raise error
    assert raised.value is error


@needs_root
def test_a_disk_that_others_filled_meanwhile_is_explained_with_what_was_written_already():
    def work(disk):
        storage = StorageManager(Settings(scratch_dir=disk))
        with storage.reserve(64 * KIB, "target") as held:
            write(disk / "part", 16 * KIB)
            held.record_write(16 * KIB)
            with contextlib.suppress(OSError):
                write(disk / "others", 2 * MIB)
            with pytest.raises(InsufficientStorageError) as raised, storage.explained("The members of x", held):
                write(disk / "rest", 48 * KIB)
        assert (raised.value.required_bytes, raised.value.available_bytes) == (64 * KIB, 16 * KIB)
        assert not any("fewer targets" in each for each in raised.value.suggestions)

    on_small_disk(work, MIB)


def touch(folder, count):
    for number in range(count):
        (folder / str(number)).touch()


@needs_root
def test_a_disk_without_inodes_is_told_apart_from_one_without_bytes():
    def work(disk):
        storage = StorageManager(Settings(scratch_dir=disk))
        with pytest.raises(InsufficientStorageError) as raised, storage.explained("It", storage.reserve(4096)):
            touch(disk, 100)
        assert raised.value.suggestions[0] == "remove files there: its inodes are used up"

    on_small_disk(work, MIB, inodes=20)
