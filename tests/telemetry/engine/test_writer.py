"""Lines leave whole, one at a time, whoever writes and whatever the pipe does."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import threading

import pytest

import telemetry
from telemetry import catalog
from telemetry.engine.configure import _recording
from telemetry.engine.health import HEALTH
from telemetry.engine.lines import LineWriter
from telemetry.engine.settings import Settings

THREADS, LINES_EACH = 8, 500
LONGEST = 100_000


def line_of(thread, number):
    """A line whose length, from 1 byte to 100 KB, and content follow from its name, so that a reader can tell."""
    name = f"{thread}-{number}-"
    length = LONGEST if number % 100 == 0 else int(hashlib.md5(name.encode()).hexdigest(), 16) % 12_000  # noqa: S324
    return (name + "x" * length)[: max(length, len(name))]


def read_all(descriptor, into):
    while piece := os.read(descriptor, 65_536):
        into.append(piece)


@pytest.fixture
def conforming_lines():
    """Let these lines be what they like: nothing but the way out is tested here."""


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    pieces = []
    reader = threading.Thread(target=read_all, args=(reading, pieces))
    reader.start()

    def close():
        if reader.is_alive():
            os.close(writing)
            reader.join()
        return b"".join(pieces)

    yield writing, close
    close()
    os.close(reading)


def test_lines_of_eight_threads_are_all_there_and_whole(pipe):
    descriptor, close = pipe
    writer = LineWriter(descriptor)

    def work(thread):
        for number in range(LINES_EACH):
            writer.write(line_of(thread, number))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    received = close().decode().splitlines()
    assert sorted(received) == sorted(line_of(t, n) for t in range(THREADS) for n in range(LINES_EACH))
    assert HEALTH.take()["lines_written"] == THREADS * LINES_EACH


def test_lines_written_together_are_lines_of_their_own(pipe):
    descriptor, close = pipe
    LineWriter(descriptor).write("one", "two")
    LineWriter(descriptor).write()
    assert close() == b"one\ntwo\n"
    assert HEALTH.take()["lines_written"] == 2


def test_a_full_pipe_that_does_not_block_is_waited_for(pipe):
    descriptor, close = pipe
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK)
    writer = LineWriter(descriptor)
    for _ in range(20):
        writer.write("x" * LONGEST)
    assert close() == (b"x" * LONGEST + b"\n") * 20


def test_a_pipe_that_nobody_reads_costs_the_line_and_not_the_work(monkeypatch):
    monkeypatch.setattr("telemetry.engine.lines.STUCK_S", 0.01)
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETFL, os.O_NONBLOCK)
    writer = LineWriter(writing)
    writer.write("x" * 1_000_000)
    assert HEALTH.take()["lines_lost"] == 1
    torn = os.read(reading, 10_000_000)
    writer.write("whole")
    assert os.read(reading, 100) == b"\nwhole\n"
    assert set(torn) == set(b"x")
    os.close(reading)
    os.close(writing)


def test_what_a_stuck_pipe_cost_stands_in_the_next_line_that_gets_out(monkeypatch):
    monkeypatch.setattr("telemetry.engine.lines.STUCK_S", 0.01)
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETFL, os.O_NONBLOCK)
    with _recording(catalog.VOCABULARY, Settings(), LineWriter(writing), None) as pipeline:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        for _ in range(3):
            with telemetry.observe(catalog.PLAN_PACKAGE):
                pass
        pipeline.report_health()
        pipeline.report_health()
        os.read(reading, 10_000_000)
        pipeline.report_health()
        (told,) = [line for line in os.read(reading, 10_000_000).splitlines() if b'"_aws"' in line]
    assert json.loads(told)["LinesLost"] == 2 * (3 + 2)
    assert "a line could not be written: BlockingIOError" in json.loads(told)["first_fault"]
    os.close(reading)
    os.close(writing)


def test_a_closed_output_is_counted():
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing)
    writer.write("one", "two")
    taken = HEALTH.take()
    assert (taken["lines_lost"], taken["faults"]) == (2, 1)
    assert os.strerror(errno.EPIPE) in taken["first_fault"]
    writer.close()


def test_a_text_that_is_no_unicode_is_written_all_the_same(pipe):
    descriptor, close = pipe
    LineWriter(descriptor).write("a\ud800b")
    assert close() == b"a\\ud800b\n"


def test_a_file_is_appended_to(tmp_path):
    for text in ("one", "two"):
        writer = LineWriter.to_file(tmp_path / "lines")
        writer.write(text)
        writer.close()
    assert (tmp_path / "lines").read_text() == "one\ntwo\n"


def test_a_line_after_the_end_is_counted_and_reaches_no_other_file(tmp_path):
    writer = LineWriter.to_file(tmp_path / "lines")
    writer.close()
    with (tmp_path / "other").open("wb"):
        writer.write("late")
    assert (tmp_path / "other").read_bytes() == b""
    assert HEALTH.take()["lines_lost"] == 1
