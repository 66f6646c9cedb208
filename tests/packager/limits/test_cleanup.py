from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.core.ports import TEMPORARY_PREFIX
from packager.errors import CleanupFailedError, RequestError
from packager.limits.cleanup import CleanupContext
from packager.limits.removal import remove
from packager.limits.scratch import scratch_folder, sweep
from packager.settings import Settings
from telemetry.engine.testing import recorded
from tests.small_disk import as_nobody, mount_over, needs_root, on_small_disk

ROOT = Path(__file__).parents[3]

paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)
trees = st.lists(st.tuples(paths, st.sampled_from(("file", "folder", "link"))), max_size=12)
same_folder = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def limits(tmp_path):
    (tmp_path / "scratch").mkdir()
    return Settings(scratch_dir=tmp_path / "scratch")


def grow(root, tree, *, link_to):
    for path, kind in tree:
        here = root / path
        if any(each.is_symlink() or each.is_file() for each in (here, *here.parents)):
            continue
        here.parent.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            here.mkdir(exist_ok=True)
        elif not here.exists():
            here.write_bytes(b"x" * 5000) if kind == "file" else here.symlink_to(link_to)


class FaultError(Exception):
    pass


def fail(*, when=True):
    if when:
        raise FaultError


@same_folder
@given(st.lists(trees, max_size=5), st.integers(0, 10))
def test_property_3_whatever_is_created_is_removed_whichever_step_raises(limits, created, raising_step):
    outside = limits.scratch_dir.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "precious").write_text("kept")
    order = []
    try:
        with CleanupContext(limits) as cleanup:
            for number, tree in enumerate(created):
                path = limits.scratch_dir / str(number)
                cleanup.register_cleanup(path)
                cleanup.register_cleanup(lambda number=number: order.append(number))
                fail(when=raising_step == 2 * number)
                path.mkdir()
                grow(path, tree, link_to=outside)
                fail(when=raising_step == 2 * number + 1)
    except FaultError:
        pass
    assert list(limits.scratch_dir.iterdir()) == []
    assert order == sorted(order, reverse=True)
    assert [each.name for each in outside.iterdir()] == ["precious"]


@same_folder
@given(st.lists(st.booleans(), min_size=1, max_size=6), st.booleans())
def test_property_3_a_failing_cleanup_stops_no_other_and_hides_no_error(limits, fails, work_fails):
    ran = []

    def clean(number):
        ran.append(number)
        if fails[number]:
            raise ValueError(number)

    error = None
    try:
        with CleanupContext(limits) as cleanup:
            for number in range(len(fails)):
                cleanup.register_cleanup(lambda number=number: clean(number))
            fail(when=work_fails)
    except (FaultError, CleanupFailedError) as raised:
        error = raised
    assert ran == list(reversed(range(len(fails))))
    if work_fails:
        assert isinstance(error, FaultError)
        assert len(getattr(error, "__notes__", [])) == sum(fails)
    elif any(fails):
        assert isinstance(error, CleanupFailedError)
        assert [each["cause"] for each in error.failures] == [f"ValueError: {each}" for each in ran if fails[each]]
    else:
        assert error is None


def test_a_cleanup_reports_what_it_freed_and_what_is_left_once(limits):
    (limits.scratch_dir / "file").write_bytes(b"x" * 4096)
    cleanup = CleanupContext(limits)
    cleanup.register_cleanup(limits.scratch_dir / "file")
    cleanup.register_cleanup(lambda: 1 / 0)
    with recorded() as records, pytest.raises(CleanupFailedError) as failed, cleanup:
        pass
    (record,) = records
    assert record.row == "CleanUp"
    assert record.fields == {
        "reason": "normal",
        "freed_bytes": 4096,
        "removed": 1,
        "left": 1,
        "left_paths": failed.value.failures,
        "storage_before_bytes": 4096,
        "storage_peak_bytes": 4096,
        "storage_after_bytes": 0,
    }
    assert "ZeroDivisionError: division by zero" in str(failed.value)


def test_forcing_a_cleanup_again_does_no_harm_and_what_failed_is_tried_again(limits):
    tries = []

    def clean():
        tries.append(len(tries))
        fail(when=len(tries) == 1)

    cleanup = CleanupContext(limits)
    with cleanup:
        cleanup.register_cleanup(limits.scratch_dir / "never made")
        cleanup.register_cleanup(clean)
        assert len(cleanup.force_cleanup().failures) == 1
        assert cleanup.force_cleanup().failures == ()
        assert cleanup.force_cleanup().failures == ()
    assert tries == [0, 1]


def test_a_cleanup_that_waits_for_a_thread_which_registers_something_ends(limits):
    with CleanupContext(limits) as cleanup:
        late = limits.scratch_dir / "late"

        def register():
            late.touch()
            cleanup.register_cleanup(late)

        thread = threading.Thread(target=register)

        def wait():
            thread.start()
            thread.join()

        cleanup.register_cleanup(wait)
    assert not late.exists()


def test_the_scratch_folder_itself_is_never_registered(limits):
    for path in (limits.scratch_dir, limits.scratch_dir.parent, "/"):
        with pytest.raises(RequestError, match="the scratch folder"):
            CleanupContext(limits).register_cleanup(path)


def test_nothing_to_clean_up_is_not_observed(limits):
    with recorded() as records, CleanupContext(limits):
        pass
    assert records == []


@same_folder
@given(trees)
def test_any_tree_is_removed_and_links_are_not_followed(tmp_path, tree):
    outside = tmp_path / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "precious").write_text("kept")
    root = tmp_path / "root"
    root.mkdir()
    grow(root, tree, link_to=outside)
    everything = sum(1 for _ in root.rglob("*")) + 1
    done = remove(root)
    assert not root.exists()
    assert (done.removed, done.failures) == (everything, ())
    assert (outside / "precious").read_text() == "kept"


@needs_root
def test_what_cannot_be_removed_is_named_and_everything_else_is_removed():
    def work(disk):
        (disk / "a" / "busy").mkdir(parents=True)
        (disk / "a" / "empty").mkdir()
        (disk / "a" / "file").touch()
        mount_over(disk / "a" / "busy")
        done = remove(disk / "a")
        assert done.failures == ({"path": str(disk / "a" / "busy"), "cause": "EBUSY: Device or resource busy"},)
        assert done.removed == 2
        assert [each.name for each in (disk / "a").iterdir()] == ["busy"]

    on_small_disk(work, 1 << 20)


def test_what_is_not_there_is_no_failure(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "no", tmp_path / "no" / "such", tmp_path / "file" / "below"):
        assert remove(path).failures == ()


def test_a_tree_that_others_remove_at_the_same_time_is_no_failure(tmp_path):
    for number in range(400):
        (tmp_path / "tree" / str(number % 7) / str(number)).mkdir(parents=True)
    removals = []
    threads = [threading.Thread(target=lambda: removals.append(remove(tmp_path / "tree"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not (tmp_path / "tree").exists()


def test_a_file_with_another_hard_link_gives_no_space_back(tmp_path):
    (tmp_path / "one").write_bytes(b"x" * 4096)
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    assert remove(tmp_path / "one").freed_bytes == 0
    assert remove(tmp_path / "two").freed_bytes == 4096


def fill(folder):
    for number in range(10_000):
        (folder / str(number % 10)).mkdir(exist_ok=True)
        (folder / str(number % 10) / str(number)).write_bytes(b"x" * 9000)


@needs_root
def test_a_disk_full_to_the_last_byte_and_inode_is_emptied_again():
    def work(disk):
        with pytest.raises(OSError, match="No space left"), scratch_folder(Settings(scratch_dir=disk)) as folder:
            fill(folder)
        assert list(disk.iterdir()) == []

    on_small_disk(work, 1 << 20)
    on_small_disk(work, 64 << 20, inodes=100)


@needs_root
def test_a_scratch_folder_on_a_full_disk_is_an_error_with_figures():
    def work(disk):
        for number in range(100):
            try:
                (disk / str(number)).touch()
            except OSError:
                break
        with pytest.raises(OSError, match="one more inode") as raised, scratch_folder(Settings(scratch_dir=disk)):
            pass
        assert (raised.value.missing_bytes, raised.value.path) == (1, str(disk))

    on_small_disk(work, 1 << 20, inodes=20)


@needs_root
def test_a_scratch_folder_without_the_right_to_make_one_is_an_error():
    def work(disk):
        (disk / "closed").mkdir(mode=0o700)
        limits = Settings(scratch_dir=disk / "closed")

        def enter():
            with pytest.raises(PermissionError, match="make a folder in"), scratch_folder(limits):
                pass

        as_nobody(enter)

    on_small_disk(work, 1 << 20)


def test_only_its_user_can_enter_a_scratch_folder_and_people_see_whose_it_is(limits):
    with scratch_folder(limits, "jetson-xavier/../x") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == limits.scratch_dir
        assert folder.name.startswith(f"{TEMPORARY_PREFIX}jetson-xavier____x-{os.getpid()}-")
    assert not folder.exists()


def test_a_sweep_removes_the_dead_and_leaves_the_living_and_the_foreign(limits):
    scratch = limits.scratch_dir
    dead = scratch / f"{TEMPORARY_PREFIX}dead"
    dead.mkdir()
    (dead / "member").write_bytes(b"x" * 10_000)
    foreign = [scratch / "somebody", scratch / f"{TEMPORARY_PREFIX}upload.zip", scratch / f"{TEMPORARY_PREFIX}link"]
    foreign[0].mkdir()
    foreign[1].touch()
    foreign[2].symlink_to(foreign[0])
    with scratch_folder(limits) as living, recorded() as records:
        swept = sweep(scratch)
        assert living.exists()
    assert not dead.exists()
    assert all(each.exists() for each in foreign)
    assert (swept.removed, swept.failures) == (2, ())
    assert [(each.row, each.fields["reason"], each.fields["removed"]) for each in records] == [("CleanUp", "sweep", 2)]


@needs_root
def test_a_sweep_leaves_the_folders_of_another_user():
    def work(disk):
        (disk / f"{TEMPORARY_PREFIX}root").mkdir(mode=0o755)
        as_nobody((disk / f"{TEMPORARY_PREFIX}nobody").mkdir)
        assert sweep(disk).removed == 1
        assert [each.name for each in disk.iterdir()] == [f"{TEMPORARY_PREFIX}nobody"]

    on_small_disk(work, 1 << 20)


def test_a_sweep_of_a_folder_that_is_not_there_finds_nothing(tmp_path):
    assert sweep(tmp_path / "no").failures == ()


def test_sweeps_and_new_folders_at_the_same_time_never_take_each_others(limits):
    over = threading.Event()
    wrong = []

    def sweeping():
        while not over.is_set():
            wrong.extend(sweep(limits.scratch_dir).failures)

    sweepers = [threading.Thread(target=sweeping) for _ in range(2)]
    for each in sweepers:
        each.start()
    try:
        for _ in range(200):
            with scratch_folder(limits) as folder:
                (folder / "member").write_bytes(b"x")
    finally:
        over.set()
        for each in sweepers:
            each.join()
    assert wrong == []
    assert list(limits.scratch_dir.iterdir()) == []


STRUCK = """
import json, os, random, signal, sys
from pathlib import Path
from packager.limits.cleanup import CleanupContext
from packager.limits.scratch import scratch_folder, sweep
from packager.settings import Settings

limits = Settings(scratch_dir=Path(sys.argv[1]))
moments = int(sys.argv[2])

def work():
    with scratch_folder(limits, "one") as folder, CleanupContext(limits) as cleanup:
        for name in "abc":
            cleanup.register_cleanup(limits.scratch_dir / f"loose-{name}")
            (limits.scratch_dir / f"loose-{name}").write_bytes(b"x" * 100)
            (folder / name).mkdir()
            (folder / name / "member").write_bytes(b"x" * 100)
    with scratch_folder(limits, "two") as folder:
        (folder / "member").touch()

def struck_at(moment):
    '''Fork; the child is struck when it begins its so-manieth line or call.'''
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = 0
    def trace(frame, event, _):
        nonlocal lines
        lines += 1
        if lines == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    code = 0
    try:
        sys.settrace(trace)
        work()
    finally:
        sys.settrace(None)
    Path(sys.argv[3]).write_text(str(lines))
    os._exit(code)

struck_at(0)
lines = int(Path(sys.argv[3]).read_text())
for moment in sorted(random.randrange(1, lines - 50) for _ in range(moments)):  # not every run has as many
    code = struck_at(moment)
    left = sorted(each.name for each in limits.scratch_dir.iterdir())
    sweep(limits.scratch_dir)
    swept = sorted(each.name for each in limits.scratch_dir.glob(".*"))
    for each in limits.scratch_dir.glob("loose-*"):
        each.unlink()
    print(json.dumps({"moment": f"{moment} of {lines}", "code": code, "left": left, "swept": swept}))
"""


def struck(tmp_path, moments):
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-c", STRUCK, tmp_path / "scratch", str(moments), tmp_path / "lines"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == moments
    return outcomes


def test_sigkill_at_any_moment_leaves_nothing_in_scratch_after_the_sweep(tmp_path):
    outcomes = struck(tmp_path, 50)
    assert any(outcome["left"] for outcome in outcomes)
    for outcome in outcomes:
        assert (outcome["code"], outcome["swept"]) == (-signal.SIGKILL, []), outcome


def test_a_sweep_leaves_the_folder_of_a_living_process_until_it_is_killed(limits):
    program = (
        "import sys; from pathlib import Path; from packager.limits.scratch import scratch_folder; "
        "from packager.settings import Settings\n"
        "with scratch_folder(Settings(scratch_dir=Path(sys.argv[1])), 'other'): print('there', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, limits.scratch_dir],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "there\n"
        assert sweep(limits.scratch_dir).removed == 0
        assert len(list(limits.scratch_dir.iterdir())) == 1
        process.kill()
    assert sweep(limits.scratch_dir).removed == 1
    assert list(limits.scratch_dir.iterdir()) == []
