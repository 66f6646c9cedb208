from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
import zlib
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native import build
from packager.core import native
from packager.errors import PackagerError
from tests import fuzz_deflate, models, same_bytes
from tests.fuzz_deflate import by_us, by_zlib

KINDS = [models.weights, models.quantized, models.sparse_weights, models.text, models.json_records]
BUILT = [Path(native.__file__).with_name(f"native-{name}.so") for name in build.TARGETS]


def test_damaged_and_made_up_streams_are_judged_as_zlib_judges_them():
    verdicts = fuzz_deflate.fuzz(random.randrange(1 << 32), 6000)
    assert min(verdicts["whole"], verdicts["damaged"], verdicts["cut"]) > 30


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(1, 400), st.integers(0, 9), st.sampled_from([0, 1, 2, 3, 4]), st.data())
def test_a_sound_stream_gives_its_bytes_however_it_is_cut(unit, times, level, strategy, data):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
    stream = packer.compress(unit * times) + packer.flush()
    cuts = data.draw(st.lists(st.integers(1, 5) | st.integers(1, 3000), min_size=1, max_size=9))
    endless = cycle(cuts)
    assert by_us(stream + b"behind", endless) == by_zlib(stream + b"behind")


@given(st.binary(max_size=400))
def test_any_bytes_are_judged_as_zlib_judges_them(data):
    expected, found = by_zlib(data), by_us(data)
    assert found == expected or (expected[0] == "cut" and found[0] != "whole")


@pytest.mark.parametrize("at", range(3))
def test_a_header_that_is_cut_off_anywhere_is_asked_for_again_from_its_front(at):
    text = random.Random(at).choices(range(40, 90), k=3000)
    stream = zlib.compress(bytes(text), 9, -15)
    room, inflate = bytearray(native.WINDOW_BYTES + 4000), native.Inflate()
    for size in range(60):
        part = bytearray(stream[:size] or b"\0")
        call = inflate.call
        call.input, call.input_bytes = native.address_of(part), size
        call.output, call.output_bytes = native.address_of(room) + native.WINDOW_BYTES, 4000
        if inflate.run() != native.InflateStop.NEED_INPUT or call.used:
            break
        assert (call.used, call.made, call.bit) == (0, 0, 0)
    assert size > 20


@given(st.binary(min_size=1, max_size=300), st.integers(0, 900), st.booleans())
def test_what_is_packed_unpacks_to_its_bytes_and_ends_on_a_byte(unit, times, last):
    data = unit * times
    packed = native.Packer().pack(data, last=last)
    inflate = zlib.decompressobj(-15)
    assert inflate.decompress(packed + (b"" if last else b"\x03\0")) == data
    assert (inflate.eof, inflate.unused_data) == (True, b"")
    assert by_us(packed + (b"" if last else b"\x03\0"))[0] == "whole" or len(data) > fuzz_deflate.MOST_BYTES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4096, 1 << 18])
def test_models_pack_no_worse_than_zlibs_first_level(kind, size):
    data = b"".join(kind(size, "native"))
    packed = native.Packer().pack(data, last=True)
    assert zlib.decompress(packed, -15) == data
    assert len(packed) <= 1.01 * len(zlib.compress(data, 1, -15))


def test_numbers_and_text_in_one_small_file_have_codes_of_their_own():
    data = b"".join(models.weights(2048, "a")) + b"".join(models.json_records(2048, "a"))
    assert len(native.Packer().pack(data, last=True)) < 0.96 * len(zlib.compress(data, 9, -15))


@given(st.lists(st.binary(max_size=2000), max_size=20), st.booleans())
def test_files_packed_together_are_packed_as_each_alone(files, last):
    packer = native.Packer()
    together = packer.pack_each(bytearray(b"".join(files)), [len(each) for each in files], last=last)
    assert together == [native.Packer().pack(each, last=last) for each in files]


@given(st.integers(0, 1 << 32), st.lists(st.integers(1, 256), min_size=1, max_size=20), st.booleans())
@settings(max_examples=30)
def test_bytes_that_do_not_pack_grow_by_a_kib_a_mib_at_most(seed, alphabets, last):
    """So that the room that is left below 4 GiB is enough. Stretches of different statistics are the worst."""
    noise = random.Random(seed)
    data = b"".join(noise.randbytes(26_000) + bytes(noise.choices(range(n), k=500)) for n in alphabets)
    assert len(native.Packer().pack(data, last=last)) <= len(data) + 16 + len(data) // 1024


def test_bytes_are_packed_the_same_in_every_thread_of_every_process_whatever_memory_held():
    """Fresh memory holds one byte or another in place of zeros: glibc's MALLOC_PERTURB_."""
    for fill in ("0", "85", "255"):
        made = subprocess.run(
            [sys.executable, "-m", "tests.same_bytes"],
            env={"MALLOC_PERTURB_": fill, "PYTHONMALLOC": "malloc", "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(made.stdout) == same_bytes.DIGESTS


def test_threads_that_pack_at_the_same_time_do_not_disturb_each_other():
    data = b"".join(models.json_records(1 << 18, "threads"))
    found = set()

    def work():
        packer = native.Packer()
        for _ in range(5):
            found.add(hashlib.sha256(packer.pack(data, last=True)).digest())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.stem)
def test_what_is_compiled_is_what_the_source_says(path):
    assert build.source_digest().encode() in path.read_bytes(), "run `make native` after a change of native/"


@pytest.mark.slow
def test_the_source_gives_the_very_files_that_are_here(tmp_path):
    uv = Path(sys.executable).with_name("uv")
    built = subprocess.run(
        [uv, "run", "--no-project", "--with", build.COMPILER, build.__file__, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ziglang" in built.stderr and built.returncode:
        pytest.skip(f"the compiler is not to be had: {built.stderr[-200:]}")
    assert built.returncode == 0, built.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in BUILT}


def test_a_machine_without_compiled_code_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(native, "_PLATFORM", "plan9-vax")
    with pytest.raises(PackagerError, match=r"plan9-vax.*native/build.py"):
        native._library.__wrapped__()
