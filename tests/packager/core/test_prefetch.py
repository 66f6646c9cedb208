from __future__ import annotations

import threading
import zlib
from contextlib import closing
from queue import Queue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.core import prefetch as threads
from packager.core.pipeline import BATCH_BYTES, Batch, File, in_batches
from packager.core.splice import Part
from telemetry import catalog, observe
from telemetry.engine.testing import recorded
from tests.archives import Chopped


def prefetch(items, depth):
    return threads.prefetch(items, Queue(depth))


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def counted(items, closed, error=None):
    """A generator that remembers how far it came and that it was closed."""
    try:
        for item in items:
            closed["made"] = closed.get("made", 0) + 1
            yield item
        if error:
            raise error
    finally:
        closed["closed"] = closed.get("closed", 0) + 1
        closed["thread"] = threading.current_thread().name


@given(st.lists(st.none() | st.integers(), max_size=30), st.integers(1, 4))
def test_the_items_come_in_order_and_all_of_them(items, depth):
    closed = {}
    assert [*prefetch(counted(items, closed), depth)] == items
    assert closed == {"closed": 1, "thread": "ahead"} | ({"made": len(items)} if items else {})


@given(st.lists(st.integers(), max_size=10), st.integers(1, 4), st.sampled_from([ValueError, KeyboardInterrupt]))
def test_an_error_crosses_the_thread_unchanged_after_every_item_before_it(items, depth, kind):
    failure, closed = kind("broken"), {}
    stream = prefetch(counted(items, closed, failure), depth)
    assert [next(stream) for _ in items] == items
    with pytest.raises(kind) as caught:
        next(stream)
    assert caught.value is failure
    assert closed["closed"] == 1


@given(st.integers(0, 20), st.integers(1, 4), st.booleans())
def test_closing_early_closes_the_source_and_waits_for_its_thread(taken, depth, fails):
    closed = {}
    source = counted(range(1000), closed, ValueError("never reached") if fails else None)
    with closing(prefetch(source, depth)) as stream:
        found = [next(stream) for _ in range(taken)]
    assert found == [*range(taken)]
    assert closed.get("closed", 0) == bool(taken)
    assert closed.get("made", 0) <= taken + depth + 2
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


@given(st.integers(1, 5))
def test_no_more_is_made_ahead_than_the_depth_allows(depth):
    made = threading.Semaphore(0)

    def source():
        for number in range(100):
            made.release()
            yield number

    with closing(prefetch(source(), depth)) as stream:
        next(stream)
        # One is out, `depth` wait in the queue, one waits for its place there.
        for _ in range(depth + 2):
            assert made.acquire(timeout=10)
        assert not made.acquire(blocking=False)


def test_the_error_of_the_consumer_is_not_replaced():
    closed = {}
    with (  # noqa: PT012  the block is what is tested
        pytest.raises(ZeroDivisionError),
        closing(prefetch(counted(range(100), closed, ValueError("of the source")), 2)) as stream,
    ):
        for item in stream:
            1 / (item - 3)
    assert closed["closed"] == 1


def test_an_error_while_the_source_is_closed_is_not_lost():
    def source():
        try:
            yield 1
        finally:
            raise OSError("cannot close")

    with pytest.raises(OSError, match="cannot close"):
        [*prefetch(source(), 1)]


def test_a_stream_never_begun_starts_no_thread():
    closed = {}
    prefetch(counted(range(3), closed), 1).close()
    assert closed == {}


@settings(max_examples=15)
@given(
    st.lists(st.integers(0, 3 * BATCH_BYTES) | st.integers(0, 300_000), max_size=12),
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.integers(1, 2),
)
def test_a_buffer_is_never_overwritten_while_its_piece_is_in_use(sizes, work, depth):
    """Each piece is checked when it comes and again after some work, as late as its user may look at it."""
    files = {f"{n}": bytes([n + 1]) * size for n, size in enumerate(sizes)}
    given_files = (File(name, len(data), Chopped(data).readinto) for name, data in files.items())
    total, whole = 0, zlib.crc32(b"".join(files.values()))
    with closing(prefetch(in_batches(given_files), depth)) as batches:
        for number, batch in enumerate(batches):
            if not isinstance(batch, Batch | Part):
                continue
            before = zlib.crc32(batch.data)
            for _ in range(work[number % len(work)]):
                zlib.crc32(bytes(200_000))  # lets the other thread run
            assert zlib.crc32(batch.data) == before
            total = zlib.crc32(batch.data, total)
    assert total == whole


def test_what_is_observed_in_the_thread_belongs_to_the_step_around_it():
    def source():
        with observe(catalog.IDENTIFY_ARTIFACT, source="a"):
            yield 1

    with recorded() as records, observe(catalog.INSPECT_ARCHIVE, source="a"):
        assert [*prefetch(source(), 1)] == [1]
    assert [(each.row, each.parent) for each in records] == [
        (catalog.IDENTIFY_ARTIFACT.name, catalog.INSPECT_ARCHIVE.name),
        (catalog.INSPECT_ARCHIVE.name, ""),
    ]
