from __future__ import annotations

import io
import itertools
import json
import stat
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.device.component_zip import read_listing
from packager.device.listing import ComponentEntry
from packager.device.rules import check
from packager.errors import AccessDeniedError, ExtractionError, LimitExceededError, PackagerError
from packager.settings import Settings
from tests.archives import elf

FILE_NAME = "0123456789ab_greengrass_model_component.zip"
NEO = ("compiled.so", "compiled.params", "compiled.json", "compiled.meta")
STAGE = {"type": "mochi", "threshold": 1, "image_width": 8, "image_height": 8, "image_range_scale": 1, "normalize": 1}
MANIFEST = json.dumps(
    {
        "model_graph": {"model_graph_type": "single_stage_model_graph", "stages": [STAGE]},
        "dataset": {"image_width": 8, "image_height": 8},
    }
).encode()


def zipped(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def component(payload=b"weights" * 100):
    heads = {"compiled.so": elf()}
    return zipped([("manifest.json", MANIFEST), *((f"mochi/{name}", heads.get(name, b"") + payload) for name in NEO)])


def names_and_sizes(listing):
    return [(each.name, each.size_bytes) for each in listing.entries]


def listing_of(data, settings=None, **options):
    def read(offset, length):
        assert 0 <= offset < offset + length <= len(data)
        return data[offset : offset + length]

    return read_listing(read, len(data), f"s3://bucket/model_artifacts/{FILE_NAME}", settings or Settings(), **options)


@given(st.dictionaries(st.text("abc/é", min_size=1).map(lambda name: f"x{name}"), st.binary(max_size=300), max_size=6))
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_listing_tells_what_was_zipped(method, members):
    data = zipped([("manifest.json", MANIFEST), *members.items()], method)
    listing = listing_of(data, verify=True)
    assert (listing.file_name, listing.size_bytes, listing.manifest) == (FILE_NAME, len(data), MANIFEST)
    assert [(each.name, each.size_bytes) for each in listing.entries[1:]] == [(n, len(d)) for n, d in members.items()]
    assert all(each.is_readable for each in listing.entries)
    assert listing.entries[0].method == method


def test_a_sound_component_has_no_findings():
    assert check(listing_of(component(), verify=True)) == []


@given(st.integers(0, len(component()) - 1))
def test_a_component_cut_anywhere_is_an_extraction_error(length):
    with pytest.raises(ExtractionError):
        listing_of(component()[:length])


@given(st.data())
def test_a_flipped_byte_is_an_error_or_a_finding_or_changes_nothing_that_is_unpacked(data):
    whole = component()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    try:
        found = listing_of(bytes(flipped), verify=True)
    except PackagerError:
        return
    sound = listing_of(whole)
    same = names_and_sizes(found) == names_and_sizes(sound) and found.manifest == sound.manifest
    assert same or check(found)


@given(
    st.binary() | st.binary().map(lambda data: data + component()) | st.binary().map(lambda data: component() + data)
)
def test_any_bytes_are_a_listing_or_a_typed_error(data):
    try:
        check(listing_of(data, verify=True))
    except PackagerError as error:
        assert str(error).isprintable()  # noqa: PT017  both outcomes are right


def test_a_wrong_checksum_is_found_by_verifying_and_in_the_manifest_always():
    data = bytearray(component())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
    for info in infos:
        spoilt = bytearray(data)
        at = spoilt.index(
            struct.pack("<L", info.CRC), spoilt.rindex(b"PK\x01\x02", 0, spoilt.rindex(info.filename.encode()))
        )
        spoilt[at] ^= 1
        with pytest.raises(ExtractionError, match=info.filename):
            listing_of(bytes(spoilt), verify=True)
        if info.filename == "manifest.json":
            with pytest.raises(ExtractionError, match=r"manifest\.json"):
                listing_of(bytes(spoilt))
        else:
            assert len(listing_of(bytes(spoilt)).entries) == len(infos)


def test_an_entry_shorter_than_it_says_is_an_error():
    data = component(b"a" * 1000)
    larger = data.replace(struct.pack("<L", 1020), struct.pack("<L", 1021))
    assert larger != data
    with pytest.raises(ExtractionError, match="1020 bytes instead of 1021"):
        listing_of(larger, verify=True)


def raw_zip(names):
    """As many local headers as names, nothing in them, and their directory."""
    local = b"".join(struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, *(0,) * 7, len(name), 0) + name for name in names)
    starts = itertools.accumulate((30 + len(name) for name in names), initial=0)
    directory = b"".join(
        struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, *(0,) * 8, len(name), *(0,) * 5, start) + name
        for name, start in zip(names, starts, strict=False)
    )
    count = min(len(names), 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(local), 0)
    return local + directory + end


def test_entries_that_share_their_bytes_are_an_error():
    data = bytearray(zipped([("a", b"x" * 100), ("b", b"x" * 100)]))
    struct.pack_into("<L", data, data.rindex(b"PK\x01\x02") + 42, 0)  # the second entry starts where the first does
    with pytest.raises(ExtractionError, match="run into what follows"):
        listing_of(bytes(data))


def test_links_encryption_methods_and_zero_bytes_are_told_not_followed():
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    link.create_system = 3
    listing = listing_of(zipped([("manifest.json", MANIFEST), (link, b"/etc/passwd")]))
    assert [each.is_link for each in listing.entries] == [False, True]
    encrypted = bytearray(zipped([("manifest.json", MANIFEST)]))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    listing = listing_of(bytes(encrypted), verify=True)
    assert (listing.manifest, [each.rule for each in check(listing)]) == (None, ["entry-storage"])
    lzma = listing_of(zipped([("manifest.json", MANIFEST)], zipfile.ZIP_LZMA), verify=True)
    assert lzma.entries[0].method == 14
    assert listing_of(raw_zip([b"a\0b"])).entries == (ComponentEntry("a\0b", 0, 0, method=0),)


def test_more_entries_than_an_archive_may_have_members_is_an_error_told_in_numbers():
    names = [b"%030d" % number for number in range(20_001)]
    settings = Settings(max_members=20_000)
    assert len(listing_of(raw_zip(names), settings=settings).entries) == 20_001
    with pytest.raises(LimitExceededError, match=r"MAX_ARCHIVE_MEMBERS = 20000 \(found 20001\)") as caught:
        listing_of(raw_zip([*names, b"one more"]), settings=settings)
    assert caught.value.setting == "MAX_ARCHIVE_MEMBERS"


def test_a_directory_above_its_limit_is_never_read():
    with pytest.raises(LimitExceededError, match="MAX_ZIP_DIRECTORY_BYTES = 100000"):
        listing_of(raw_zip([b"x" * 1000] * 100), settings=Settings(max_zip_directory_bytes=100_000))


def test_an_unpacked_size_above_the_limit_is_never_unpacked():
    settings = Settings(max_unpacked_bytes=1000)
    listing_of(component(), settings=settings)
    with pytest.raises(LimitExceededError) as caught:
        listing_of(component(), verify=True, settings=settings)
    assert (caught.value.setting, caught.value.limit) == ("MAX_UNPACKED_BYTES", 1000)


def test_a_manifest_that_unpacks_to_too_much_is_an_error():
    settings = Settings(max_manifest_bytes=10_000)
    assert listing_of(zipped([("manifest.json", b" " * 10_000)]), settings).manifest == b" " * 10_000
    with pytest.raises(LimitExceededError, match=r"manifest\.json exceeds MAX_MANIFEST_BYTES = 10000 \(found 10001\)"):
        listing_of(zipped([("manifest.json", b" " * 10_001)]), settings)


def test_a_ratio_above_the_limit_is_never_unpacked():
    data = zipped([("manifest.json", MANIFEST), ("zeros", bytes(65 << 20))])
    with pytest.raises(LimitExceededError, match="MAX_COMPRESSION_RATIO = 200"):
        listing_of(data, verify=True)
    assert len(listing_of(data, Settings(max_ratio=2000), verify=True).entries) == 2


def test_the_beginnings_of_libraries_are_read_when_everything_is():
    data = zipped([("manifest.json", MANIFEST), ("a.so", elf() + b"code"), ("b.so", b"x"), ("c.params", b"x" * 30)])
    assert [each.head for each in listing_of(data, verify=True).entries] == [None, elf(), b"x", None]
    assert [each.head for each in listing_of(data).entries] == [None] * 4


def test_verifying_a_large_entry_takes_little_memory():
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("big", "w") as big,
    ):
        for _ in range(200):
            big.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        listing_of(buffer.getbuffer(), Settings(max_ratio=2000), verify=True)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20


def test_the_directory_of_a_large_component_takes_a_few_ranged_reads():
    data = zipped([("big", zlib.compress(b"x") + bytes(8 << 20)), ("manifest.json", MANIFEST)], zipfile.ZIP_STORED)
    reads = []

    def read_range(offset, length):
        reads.append((offset, length))
        return data[offset : offset + length]

    listing = read_listing(read_range, len(data), FILE_NAME, Settings())
    assert listing.manifest == MANIFEST
    assert len(reads) <= 2


def test_a_short_range_is_an_error():
    data = component()
    with pytest.raises(ExtractionError, match="came back as"):
        read_listing(lambda offset, length: data[offset : offset + length - 1], len(data), FILE_NAME, Settings())


def test_a_store_that_fails_is_not_taken_for_a_damaged_component():
    denied = AccessDeniedError("No.", operation="read", uri="s3://b/k", code="AccessDenied")

    def read_range(offset, length):
        raise denied

    with pytest.raises(AccessDeniedError) as caught:
        read_listing(read_range, 1000, FILE_NAME, Settings())
    assert caught.value is denied
