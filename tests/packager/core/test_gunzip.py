from __future__ import annotations

import contextlib
import gzip
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.core.gunzip import Gunzip, PackedCount
from packager.errors import ExtractionError, LimitExceededError, StoreError
from packager.settings import Settings
from tests.archive_strategies import contents, framed, read_sizes
from tests.archives import Chopped, gz, tar


def inflated(packed, sizes=(1 << 20,), wanted=(1 << 16,), settings=None):
    stream = Gunzip(PackedCount(Chopped(packed, sizes)), settings or Settings())
    found = bytearray()
    while True:
        for number, size in enumerate(wanted):
            if number % 2:
                piece = stream.read_exactly(size)
            else:
                room = memoryview(bytearray(size))
                piece = room[: stream.readinto_exactly(room)]
            found += piece
            assert stream.bytes_read == len(found)
            if len(piece) < size:
                return bytes(found)


@given(st.data(), contents, read_sizes, st.lists(st.integers(1, 70_000), min_size=1, max_size=4))
def test_any_framing_read_in_any_pieces_gives_the_bytes_that_went_in(data, content, sizes, wanted):
    assert inflated(data.draw(framed(content)), sizes, wanted) == content


@given(st.binary(max_size=50).map(lambda text: text.replace(b"\0", b"")), st.binary(max_size=300), st.booleans())
def test_optional_header_fields_are_passed_over(name, extra, checksum):
    flags = 4 | 8 | 16 | (2 if checksum else 0)
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + struct.pack("<H", len(extra)) + extra + (name + b"\0") * 2
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF) if checksum else b""
    assert inflated(head + gz(b"weights")[10:]) == b"weights"


@given(st.data(), contents, read_sizes)
def test_any_cut_is_an_extraction_error(data, content, sizes):
    packed = gz(content, data.draw(st.lists(st.integers(0, len(content)), max_size=2)))
    whole = [*_ends(packed)]
    cut = data.draw(st.integers(1, len(packed) - 1).filter(lambda at: at not in whole))
    with pytest.raises(ExtractionError, match="ends too early"):
        inflated(packed[:cut], sizes)


def _ends(packed):
    at = 0
    while at < len(packed):
        member = zlib.decompressobj(31)
        member.decompress(packed[at:])
        at = len(packed) - len(member.unused_data)
        yield at


@given(st.data(), contents)
def test_a_flipped_byte_is_an_extraction_error_or_changes_nothing(data, content):
    packed = bytearray(data.draw(framed(content)))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ExtractionError):
        assert inflated(bytes(packed)) == content


@given(contents, st.integers(1, 8), st.integers(1, 255))
def test_a_flipped_byte_of_checksum_or_length_is_an_extraction_error(content, back, bits):
    packed = bytearray(gz(content))
    packed[-back] ^= bits
    with pytest.raises(ExtractionError):
        inflated(bytes(packed))


@given(st.binary(min_size=1).filter(lambda tail: tail.strip(b"\0")), st.integers(0, 600))
def test_anything_but_zeros_behind_the_end_is_an_extraction_error(tail, zeros):
    with pytest.raises(ExtractionError):
        inflated(gz(b"weights") + bytes(zeros) + tail)


@given(st.binary(min_size=1))
def test_any_bytes_are_gzip_or_an_extraction_error(data):
    try:
        found = inflated(data)
    except ExtractionError:
        return
    assert found == gzip.decompress(data)


def test_a_header_without_end_is_an_extraction_error_and_not_kept_in_memory():
    with pytest.raises(ExtractionError) as caught:
        inflated(b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * (4 << 20))
    assert caught.value.packed_bytes <= 2 << 20


def test_an_error_of_the_store_passes_unchanged():
    failure = StoreError("The line is dead.", operation="read")

    class Broken(Chopped):
        def readinto(self, buffer):
            if self._at:
                raise failure
            return super().readinto(buffer)

    stream = Gunzip(PackedCount(Broken(gz(bytes(range(256)) * 100), [20])), Settings())
    with pytest.raises(StoreError) as caught:
        stream.read_exactly(20_000)
    assert caught.value is failure


def test_bytes_up_to_the_limit_pass_and_one_more_does_not():
    assert len(inflated(gz(bytes(5000)), settings=Settings(max_unpacked_bytes=5000))) == 5000
    with pytest.raises(LimitExceededError) as caught:
        inflated(gz(bytes(5001)), settings=Settings(max_unpacked_bytes=5000))
    assert (caught.value.setting, caught.value.limit, caught.value.found) == ("MAX_UNPACKED_BYTES", 5000, 5001)


def test_a_ratio_up_to_the_limit_passes_and_one_above_does_not():
    packed = gz(bytes(100_000))
    ratio = 100_000 / len(packed)
    assert len(inflated(packed, settings=Settings(max_ratio=int(ratio) + 1, ratio_grace_bytes=1000))) == 100_000
    with pytest.raises(LimitExceededError) as caught:
        inflated(packed, settings=Settings(max_ratio=int(ratio), ratio_grace_bytes=1000))
    assert caught.value.setting == "MAX_COMPRESSION_RATIO"


@pytest.mark.parametrize("garbage", [b"x", b"\n", b"\x1fx", b"\0\0x", b"rubbish", b"x" * 9, b"x" * 10, b"x" * 5000])
def test_bytes_behind_an_archive_are_called_that_however_few(garbage):
    with pytest.raises(ExtractionError, match="trailing garbage"):
        inflated(gz(tar([("a", b"a" * 600)])) + garbage)


def test_an_archive_that_is_cut_is_called_that():
    packed = gz(random.Random(1).randbytes(5120))
    for length in (20, 1000, len(packed) - 1):
        with pytest.raises(ExtractionError, match="ends too early"):
            inflated(packed[:length])


def test_a_short_archive_may_have_any_ratio():
    assert len(inflated(gz(bytes(1 << 20)), settings=Settings(max_ratio=1))) == 1 << 20


def test_packed_bytes_are_counted_as_they_are_read():
    packed = gz(b"weights" * 1000, padding=77)
    count = PackedCount(Chopped(packed))
    Gunzip(count, Settings()).read_exactly(10_000)
    assert count.bytes_read == len(packed)
    again = PackedCount(Chopped(packed))
    assert again.read(10) + again.read() == packed
    assert again.bytes_read == len(packed)
