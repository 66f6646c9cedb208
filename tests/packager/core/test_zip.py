from __future__ import annotations

import io
import struct
import zipfile
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.core import zip as zip_format
from packager.core.pipeline import File, zip_parts
from packager.core.splice import End, Part
from packager.core.zip import DEFLATED, LARGE_BYTES, ZIP64_FROM_BYTES, Begin, Whole, ZipEncoder, ZipEntry
from packager.errors import CompressionError
from tests.archive_strategies import file_sets
from tests.archives import reference_zip

GIB4 = 1 << 32
ZIP64_FIELD = 1


def encoded(files):
    encoder = ZipEncoder()
    parts = zip_parts((File.of(name, data) for name, data in files.items()), encoder)
    whole = b"".join(bytes(part.data) for part in parts)
    assert encoder.bytes_out == len(whole)
    assert encoder.files == len(files)
    return whole


def directory_of(whole):
    """The raw records of the directory: fixed fields, name, extra."""
    count, _, start = struct.unpack_from("<HII", whole, len(whole) - 22 + 10)
    at, found = start, []
    for _ in range(count):
        fields = struct.unpack_from("<4s6H3I5H2I", whole, at)
        name_bytes, extra_bytes = fields[10:12]
        at += 46
        found.append((fields, whole[at : at + name_bytes], whole[at + name_bytes : at + name_bytes + extra_bytes]))
        at += name_bytes + extra_bytes
    return found


@given(file_sets)
def test_any_files_give_the_bytes_of_the_plain_reference(files):
    whole = encoded(files)
    assert whole == reference_zip(files)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == files


@pytest.mark.parametrize("size", [n * LARGE_BYTES + d for n in (1, 2) for d in (-1, 0, 1)])
@pytest.mark.parametrize("unit", [b"\0", b"weights ", bytes(range(256))])
def test_sizes_around_a_large_one_give_the_bytes_of_the_plain_reference(size, unit):
    files = {"large": (unit * (size // len(unit) + 1))[:size], "next": b"small"}
    assert encoded(files) == reference_zip(files)


def test_small_files_say_their_sizes_up_front_and_large_ones_behind():
    (small, *_), (large, *_) = directory_of(encoded({"s": b"a" * (LARGE_BYTES - 1), "l": b"a" * LARGE_BYTES}))
    assert (small[3] & zip_format.FLAG_DESCRIPTOR, large[3] & zip_format.FLAG_DESCRIPTOR) == (0, 8)


def test_bytes_that_do_not_pack_are_stored_and_never_with_a_descriptor():
    noise = bytes(range(256))
    ((fields, _, _),) = directory_of(encoded({"n": noise}))
    assert (fields[4], fields[8], fields[9], fields[3]) == (zip_format.STORED, 256, 256, 0)
    whole = encoded({"n": noise * 5000})
    assert directory_of(whole)[0][0][4] == zip_format.DEFLATED


@given(st.dictionaries(st.sampled_from(["a", "é", "\u6a21/\u578b", "\U0001f600"]), st.just(b"x"), min_size=1))
def test_names_are_utf_8_and_marked_so_when_they_are_not_ascii(files):
    for fields, name, _ in directory_of(encoded(files)):
        assert bool(fields[3] & zip_format.FLAG_UTF8) == (not name.isascii())
        assert name.decode() in files


def test_every_entry_is_a_plain_file_of_1980_made_by_unix_without_extra_fields():
    for fields, _, extra in directory_of(encoded({"empty": b"", "s": b"ss", "l": bytes(3 << 20)})):
        signature, made_by, needed, _, _, time, date = fields[:7]
        assert (signature, made_by, needed, time, date, extra) == (b"PK\1\2", 3 << 8 | 20, 20, 0, 0x21, b"")
        assert fields[15] >> 16 == 0o100644


def wide_fields(extra):
    """The zip64 field's values; no other extra field may be there."""
    if not extra:
        return None
    kind, size = struct.unpack_from("<HH", extra)
    assert (kind, size) == (ZIP64_FIELD, len(extra) - 4)
    return struct.unpack(f"<{size // 8}Q", extra[4:])


@given(*[st.sampled_from([0, 1, GIB4 - 2, GIB4 - 1, GIB4, GIB4 + 1, 1 << 40]) for _ in range(3)])
def test_the_directory_widens_what_needs_64_bits_and_nothing_else(size, packed, offset):
    raw = zip_format._directory_record(ZipEntry("n", size, packed, 0, zip_format.DEFLATED, 8, offset))
    fields = struct.unpack_from("<4s6H3I5H2I", raw)
    values = (size, packed, offset)
    narrow = (fields[9], fields[8], fields[16])
    assert narrow == tuple(min(value, GIB4 - 1) for value in values)
    assert (wide_fields(raw[47:]) or ()) == tuple(value for value in values if value >= GIB4 - 1)


@pytest.mark.parametrize(
    ("size", "is_wide"),
    [(LARGE_BYTES, False), (ZIP64_FROM_BYTES - 1, False), (ZIP64_FROM_BYTES, True), (GIB4 - 1, True), (GIB4, True)],
)
def test_a_large_files_local_header_is_wide_exactly_when_its_size_is_near_four_gib_or_above(size, is_wide):
    encoder = ZipEncoder()
    head = encoder.add(Begin("n", size)).data
    _, needed, flags, method, _, _, crc, packed, whole, name_bytes, extra_bytes = struct.unpack_from("<4s5H3I2H", head)
    assert (needed, flags, method, crc, name_bytes) == (45 if is_wide else 20, 8, 8, 0, 1)
    assert wide_fields(head[31:]) == ((0, 0) if is_wide else None)
    assert (packed, whole, extra_bytes) == ((GIB4 - 1, GIB4 - 1, 20) if is_wide else (0, 0, 0))


@pytest.mark.parametrize("size", [ZIP64_FROM_BYTES - 1, ZIP64_FROM_BYTES])
def test_a_descriptor_is_as_wide_as_the_local_header_announced(size):
    encoder = ZipEncoder()
    encoder.add(Begin("n", size))
    encoder.add(Part(bytes(77)))
    descriptor = encoder.add(End(0xABCDEF)).data
    shape = "<4sIQQ" if size >= ZIP64_FROM_BYTES else "<4sIII"
    assert struct.unpack(shape, descriptor) == (b"PK\7\x08", 0xABCDEF, 77, size)
    [entry] = encoder.entries
    assert (entry.packed_bytes, entry.crc32, entry.size_bytes) == (77, 0xABCDEF, size)


def test_a_file_that_was_packed_to_more_than_its_fields_hold_is_a_compression_error():
    encoder = ZipEncoder()
    encoder.add(Begin("n", LARGE_BYTES))
    encoder.bytes_out += GIB4
    with pytest.raises(CompressionError) as caught:
        encoder.add(End(0))
    assert caught.value.packed_bytes == GIB4


@given(
    st.lists(st.tuples(*[st.sampled_from([0, 5, GIB4 - 2, GIB4 - 1, GIB4, 1 << 40])] * 3), max_size=9),
    st.sampled_from([1, 100, 200, 1 << 18]),
)
def test_the_entries_are_told_as_they_were_written_however_the_directory_is_kept(figures, chunk_bytes):
    encoder = ZipEncoder()
    entries = [
        ZipEntry(f"n\u6a21{number}", size, packed, number, DEFLATED, 8, offset)
        for number, (size, packed, offset) in enumerate(figures)
    ]
    records = [zip_format._directory_record(entry) for entry in entries]
    with mock.patch.object(zip_format, "_DIRECTORY_CHUNK_BYTES", chunk_bytes):
        for record in records:
            encoder._list(record)
    assert [*encoder.entries] == entries
    assert b"".join(part.data for part in encoder.finish()).startswith(b"".join(records))


def test_files_behind_four_gib_are_found_through_a_wide_offset_alone():
    encoder = ZipEncoder()
    encoder.bytes_out = GIB4 + 5  # as if that much had been written before
    local = encoder.add(Whole("n", 4, 0, zip_format.STORED, b"data")).data
    assert struct.unpack_from("<4s5H3I2H", local)[10] == 0
    record = b"".join(part.data for part in encoder.finish())
    fields = struct.unpack_from("<4s6H3I5H2I", record)
    assert wide_fields(record[47 : 47 + fields[11]]) == (GIB4 + 5,)
    end64, locator = record[-98:-42], record[-42:-22]
    assert struct.unpack("<4sQHHIIQQQQ", end64)[6:] == (1, 1, 47 + 12, GIB4 + 5 + len(local))
    assert struct.unpack("<4sIQI", locator)[2] == GIB4 + 5 + len(local) + 47 + 12


@pytest.mark.parametrize(
    ("count", "size", "start", "is_wide"),
    [
        (0xFFFE, 5, 5, False),
        (0xFFFF, 5, 5, True),
        (1, GIB4 - 2, 5, False),
        (1, GIB4 - 1, 5, True),
        (1, 5, GIB4 - 2, False),
        (1, 5, GIB4 - 1, True),
    ],
)
def test_the_end_records_are_wide_exactly_when_needed(count, size, start, is_wide):
    assert len(zip_format._end_records(count, size, start)) == (98 if is_wide else 22)


def test_a_name_as_long_as_a_zip_holds_passes_and_one_byte_more_does_not():
    assert encoded({"n" * 0xFFFF: b"a"})
    with pytest.raises(CompressionError, match="65,535"):
        encoded({"n" * 0x10000: b"a"})


def test_a_large_directory_comes_in_pieces():
    encoder = ZipEncoder()
    for number in range(5000):
        encoder.add(Whole(f"{number:0200d}", 0, 0, zip_format.STORED, b""))
    parts = [*encoder.finish()]
    assert len(parts) > 2
    assert max(len(part.data) for part in parts) < 2 * zip_format._DIRECTORY_CHUNK_BYTES


def test_an_empty_zip_is_an_end_record():
    assert encoded({}) == reference_zip({}) == b"PK\5\6" + bytes(18)
