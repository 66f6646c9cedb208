from __future__ import annotations

import shutil
import socket
import sys
import time
from pathlib import Path

import pytest

from tests import models
from tests.bench import function, inputs, marks, readme
from tests.bench.peers import BSDTAR, LIMIT, OURS, PEERS, PORTAL
from tests.bench.runs import CommandFailedError, Run, measure

MIB = 1 << 20
FIRST, SECOND = 40 * MIB, 3 * MIB


def test_a_process_is_measured_without_the_one_that_measures(tmp_path):
    held = bytearray(b"x") * (120 * MIB)
    code = f"a = b'x' * {FIRST}; import os, time; p = os.environ['TMPDIR'] + '/f'; f = open(p, 'wb'); "
    code += f"f.write(bytes({SECOND})); f.flush(); time.sleep(0.3); os.unlink(p); open('out', 'wb').write(b'12')"
    run = measure([sys.executable, "-S", "-c", code], tmp_path)
    del held
    assert FIRST < run.peak_bytes < FIRST + 30 * MIB
    assert (run.scratch_bytes, run.out_bytes) == (SECOND, 2)
    assert run.wall_s >= 0.3


def test_scratch_is_seen_however_short_it_lasts(tmp_path):
    code = "import os; p = os.environ['TMPDIR'] + '/f'; open(p, 'w').close(); os.unlink(p)"
    assert measure([sys.executable, "-c", code], tmp_path).scratch_bytes > 0
    assert measure([sys.executable, "-c", "pass"], tmp_path).scratch_bytes == 0


def test_a_command_that_fails_is_no_figure(tmp_path):
    with pytest.raises(CommandFailedError, match="exit status 3"):
        measure([sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_makes_of_a_small_artifact_what_it_is_there_for(peer, tmp_path):
    if peer.missing:
        pytest.skip(f"{peer.missing} is not installed")
    compiled, trained = models.neo(tmp_path / "compiled.tar.gz"), models.trained(tmp_path / "trained.tar.gz")
    run = measure(peer.command(compiled, trained), tmp_path)
    assert (run.out_bytes > 0) == (peer.name != LIMIT)


def test_the_input_of_any_size_is_a_sound_archive(tmp_path):
    size = 2 * inputs.REPEATED_BYTES
    path = inputs.of_size(size).at(tmp_path)
    shutil.unpack_archive(path, tmp_path / "out", "gztar")
    assert (tmp_path / "out" / "compiled.params").stat().st_size == size


def taking(wall_s: float, out_bytes: int = 100) -> Run:
    return Run(wall_s, wall_s, 50 * MIB, 0, out_bytes)


def test_marks_are_judged_by_medians_and_a_missing_peer_is_named_not_judged():
    runs = {OURS: [taking(1), taking(2), taking(9)], PORTAL: [taking(22, 99)], BSDTAR: [taking(13)]}
    rows = {row.what: row for row in marks.rows("a-1024", runs, 100, full_size=True)}
    assert rows["faster than the portal's way"].found == 11
    assert rows["faster than the portal's way"].passed
    assert rows["faster than bsdtar"].passed is False
    assert rows["wall over igzip alone"].found is rows["CPU over igzip alone"].passed is None
    assert rows["peak memory"].found == 50
    assert rows["scratch"].passed
    assert rows["size over the source's packing"].passed


def test_the_table_replaces_what_stands_in_its_place_and_nothing_else(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGINS}old\n{readme.ENDS}after\n")
    rows = [
        marks.Row("a-1024", "faster than bsdtar", 8.5, 9, at_least=True),
        marks.Row("d", "faster than bsdtar", 4.25, 4, at_least=True),
        marks.Row("d", "peak memory", None, 64, unit="MiB"),
        marks.Row("start-up", "local", 150.4, 180, unit="ms"),
    ]
    for _ in range(2):
        readme.write(page, rows, {"cpus": 2, "python": "3.11.7", "system": "Linux-6-x86_64"})
    text = page.read_text()
    assert text.startswith(f"before\n{readme.BEGINS}")
    assert text.endswith(f"{readme.ENDS}after\n")
    assert "old" not in text
    assert "| faster than bsdtar | **missed:** 8.5 x (at least 9) |  | 4.25 x (at least 4) |" in text
    assert "| peak memory |  |  | not measured |" in text
    assert "| start-up: local | 150 ms (at most 180) |" in text


def test_the_readme_has_a_place_for_the_table():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    assert text.count(readme.BEGINS) == text.count(readme.ENDS) == 1


def test_a_process_in_the_control_group_has_no_more_memory_than_a_function(tmp_path):
    code = f"b'x' * {function.MEMORY_BYTES + 200 * MIB}"
    try:
        with function.control_group() as inside:
            assert measure([*inside, sys.executable, "-c", "pass"], tmp_path).peak_bytes > 0
            with pytest.raises(CommandFailedError, match=r"exit status (-9|137)"):
                measure([*inside, sys.executable, "-c", code], tmp_path)
    except function.NotAllowedError as error:
        pytest.skip(f"no control group: {error}")


def test_a_narrow_line_takes_its_time_and_counts_both_ways(monkeypatch):
    monkeypatch.setattr(function, "NETWORK_BYTES_PER_S", 2 * MIB)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with function.narrow_line(f"http://127.0.0.1:{server.getsockname()[1]}") as line:
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", int(line.endpoint_url.rpartition(":")[2]))) as client:
                client.sendall(bytes(MIB))
                client.shutdown(socket.SHUT_WR)
                with server.accept()[0] as upstream:
                    while upstream.recv(MIB):
                        pass
                    upstream.sendall(b"answer")
                assert client.makefile("rb").read() == b"answer"
        assert time.monotonic() - began >= 0.5
        assert (line.sent_bytes, line.received_bytes) == (MIB, 6)
