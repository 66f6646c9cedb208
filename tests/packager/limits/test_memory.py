from __future__ import annotations

import gc
import mmap
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.limits.memory import RELIEVE_AT, MemoryMonitor, memory_limit_bytes, resident_bytes
from packager.settings import MIB, Settings
from telemetry.engine.testing import recorded

ROOT = Path(__file__).parents[3]
LIMIT = 100 * MIB


class Pool:
    def __init__(self, count):
        self.buffers = count

    def count(self):
        return self.buffers

    def shrink(self):
        self.buffers = 1


def asked(monitor, times=16):
    """Whether one of so many questions led to a relief."""
    return any([monitor.relieve_if_needed() for _ in range(times)])  # noqa: C419  every question has to be asked


class Held:
    """How much memory the process seems to hold, and at which of many amounts a monitor relieved it."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def reliefs(self, monitor, amounts):
        for self.now in amounts:
            if asked(monitor):
                yield self.now


def group(root, lines, limits):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))
    for path, text in limits.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("lines", "limits", "expected"),
    [
        ([], {}, None),
        (["0::/"], {}, None),
        (["0::/"], {"memory.max": "max"}, None),
        (["0::/"], {"memory.max": 512 * MIB}, 512 * MIB),
        (["0::/a/b"], {"a/b/memory.max": "max", "a/memory.max": 64 * MIB, "memory.max": 512 * MIB}, 64 * MIB),
        (["4:memory:/x"], {"memory/memory.limit_in_bytes": 9223372036854771712}, None),
        (["4:memory:/x"], {"memory/x/memory.limit_in_bytes": 128 * MIB}, 128 * MIB),
        (["4:cpu,memory:/from/outside"], {"memory/memory.limit_in_bytes": 256 * MIB}, 256 * MIB),
        (["9:name=systemd:/", "3:cpu:/", "0::/"], {"cpu/memory.limit_in_bytes": 1}, None),
    ],
)
def test_the_limit_is_the_lowest_of_the_control_groups_around_the_process(tmp_path, lines, limits, expected):
    group(tmp_path, lines, limits)
    assert memory_limit_bytes(Settings(), {}, tmp_path) == expected


def test_the_setting_comes_before_lambdas_size_and_that_before_the_control_group(tmp_path):
    group(tmp_path, ["0::/"], {"memory.max": 512 * MIB})
    size = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008"}
    assert memory_limit_bytes(Settings(memory_limit_bytes=7), size, tmp_path) == 7
    assert memory_limit_bytes(Settings(), size, tmp_path) == 3008 * MIB
    assert memory_limit_bytes(Settings(), {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "big"}, tmp_path) == 512 * MIB


def test_resident_memory_grows_with_what_is_touched():
    with mmap.mmap(-1, 32 * MIB) as block:  # new pages: a bytearray may get some that the process has still
        before = resident_bytes()
        block.write(b"x" * MIB * 32)
        assert 30 * MIB < resident_bytes() - before < 40 * MIB


@settings(max_examples=25)  # each relief collects the garbage of the whole test process
@given(st.lists(st.integers(0, 2 * LIMIT), min_size=1, max_size=12))
def test_memory_is_relieved_before_the_limit_and_not_for_every_block(held):
    memory = Held()
    monitor = MemoryMonitor(LIMIT, memory)
    reliefs = list(memory.reliefs(monitor, held))
    assert all(each >= LIMIT * RELIEVE_AT for each in reliefs)
    first = next((each for each in held if each >= LIMIT * RELIEVE_AT), None)
    assert reliefs[:1] == ([first] if first is not None else [])
    assert monitor.reliefs == len(reliefs)


def test_growth_towards_the_limit_is_relieved_ever_more_often_and_staying_there_is_not():
    memory = Held()
    monitor = MemoryMonitor(LIMIT, memory)
    reliefs = [each // MIB for each in memory.reliefs(monitor, range(0, LIMIT, MIB))]
    assert reliefs == [80, 90, 95, 98, 99]
    assert list(memory.reliefs(monitor, [99 * MIB] * 100)) == []
    assert list(memory.reliefs(monitor, [0, 80 * MIB])) == [80 * MIB]


def test_a_relief_shrinks_what_is_watched_collects_cycles_and_is_observed():
    class Cycle:
        pass

    cycle = Cycle()
    cycle.itself = cycle
    alive = weakref.ref(cycle)
    gc.disable()
    try:
        del cycle
        monitor, pool, other = MemoryMonitor(LIMIT, lambda: LIMIT - 1), Pool(4), Pool(9)
        with monitor.watching(other):
            pass
        with recorded() as records, monitor.watching(pool):
            assert asked(monitor)
    finally:
        gc.enable()
    assert alive() is None
    assert (pool.buffers, other.buffers) == (1, 9)
    (record,) = records
    assert record.fields.pop("collected") >= 1
    assert record.fields == {"rss_bytes": LIMIT - 1, "limit_bytes": LIMIT, "buffers_before": 4, "buffers_after": 1}


def test_without_a_limit_nobody_looks():
    monitor = MemoryMonitor(None, lambda: pytest.fail("it looked"))
    assert not asked(monitor, 100)


def test_fifteen_of_sixteen_questions_look_at_nothing():
    looks = []
    monitor = MemoryMonitor(LIMIT, lambda: looks.append(1) or 0)
    asked(monitor, 160)
    assert len(looks) == 10


def test_one_thread_relieves_and_the_others_go_on():
    inside, leave = threading.Event(), threading.Event()

    class Slow(Pool):
        def shrink(self):
            inside.set()
            leave.wait()

    monitor = MemoryMonitor(LIMIT, lambda: LIMIT)
    with monitor.watching(Slow(1)):
        thread = threading.Thread(target=asked, args=(monitor,))
        thread.start()
        inside.wait()
        assert not asked(monitor)
        leave.set()
        thread.join()
    assert monitor.reliefs == 1


def test_a_process_whose_buffers_shrink_stays_below_its_limit():
    program = """
import os
from packager.limits.memory import MemoryMonitor, resident_bytes
limit = resident_bytes() + (64 << 20)
kept = []
class Buffers:
    def count(self): return len(kept)
    def shrink(self): del kept[2:]
monitor = MemoryMonitor(limit)
most = 0
with monitor.watching(Buffers()):
    for _ in range(600):
        kept.append(bytearray(b"x") * (1 << 20))
        monitor.relieve_if_needed()
        most = max(most, resident_bytes())
print(most < limit, monitor.reliefs)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    below, reliefs = done.stdout.split()
    assert below == "True"
    assert int(reliefs) > 3
