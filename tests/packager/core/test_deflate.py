from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from itertools import cycle, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.core.deflate import BLOCK_BYTES, BlockPacker
from packager.core.zip import ZIP64_FROM_BYTES
from tests import models


def blocks(data):
    view = memoryview(data)
    return [view[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]


def packed(data):
    packer, cut = BlockPacker(), blocks(data)
    return [b"".join(packer.pack(block, last=block is cut[-1])) for block in cut]


def content(kind, count):
    return b"".join(kind(count * BLOCK_BYTES, "deflate"))


@pytest.mark.parametrize("kind", [models.weights, models.quantized, models.sparse_weights, models.text])
@pytest.mark.parametrize("more", [-1, 0, 1, (128 << 10) - 1, 128 << 10])
def test_the_blocks_of_a_file_join_up_to_one_stream_of_its_bytes(kind, more):
    data = content(kind, 5)[: 4 * BLOCK_BYTES + more]
    assert zlib.decompress(b"".join(packed(data)), -15) == data


@given(st.binary(min_size=1, max_size=300), st.integers(1, 900))
def test_a_file_of_one_block_unpacks_to_its_bytes(unit, times):
    assert zlib.decompress(b"".join(packed(unit * times)), -15) == unit * times


def test_numbers_pack_better_from_their_second_block_on_and_text_no_worse():
    numbers = [len(each) for each in packed(content(models.quantized, 8))]
    assert max(numbers[1:]) < 0.96 * numbers[0]
    lines = [len(each) for each in packed(content(models.text, 8))]
    assert max(lines[2:]) < 1.01 * lines[0] < 0.95 * lines[1]


def test_a_file_that_changes_half_way_is_packed_as_its_second_half_wants():
    mixed = content(models.quantized, 40) + content(models.text, 40)
    alone = len(packed(content(models.text, 1))[0])
    assert [len(each) for each in packed(mixed)][66:] == [pytest.approx(alone, rel=0.02)] * 14


@settings(max_examples=30)
@given(st.integers(0, 1 << 32), st.lists(st.integers(1, 256), min_size=1, max_size=20), st.booleans())
def test_a_block_grows_by_a_kib_at_most_so_that_the_room_below_four_gib_is_enough(seed, alphabets, last):
    """Bytes that hardly pack, in stretches of different statistics, are the worst that deflate meets."""
    noise = random.Random(seed)
    stretches = [noise.randbytes(26_000) + bytes(noise.choices(range(n), k=500)) for n in alphabets]
    data = b"".join(islice(cycle(stretches), 40))[:BLOCK_BYTES]
    packer = BlockPacker()
    for ends in (False, last):  # one with each window
        grown_bytes = sum(map(len, packer.pack(data, last=ends))) - len(data)
        assert grown_bytes <= 1024
    assert ZIP64_FROM_BYTES + 1024 * (1 << 32) // BLOCK_BYTES < 1 << 32


SAME_EVERYWHERE = """
import hashlib, random, threading
from packager.core import deflate
noise = random.Random(1)
pieces = []
for size in [17, 20, 30, 40, 64, 100, 400, 1000, 5000, 20000] * 60 + [1 << 20] * 2:
    times = noise.choice([2, 3, 5])
    letters = bytes(noise.choices(range(noise.choice([2, 4, 12, 40])), k=size // times + 1)) * times
    pieces.append(letters[:size])
digests = set()
def pack():
    digest = hashlib.sha256()
    for piece in pieces:
        packer = deflate.BlockPacker()
        digest.update(b"".join(packer.pack(piece, last=False) + packer.pack(piece, last=True)))
    digests.add(digest.hexdigest())
pack()
threads = [threading.Thread(target=pack) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*sorted(digests))
"""


def test_bytes_are_packed_the_same_in_every_thread_of_every_process_whatever_memory_held():
    """Fresh memory holds one byte or another in place of zeros: glibc's MALLOC_PERTURB_."""
    digests = {
        digest
        for fill in ("0", "1", "85", "170", "238", "255")
        for digest in subprocess.run(
            [sys.executable, "-c", SAME_EVERYWHERE],
            env={**os.environ, "MALLOC_PERTURB_": fill, "PYTHONMALLOC": "malloc"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    }
    assert len(digests) == 1
