from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.core.members import ArchiveReader
from packager.errors import ExtractionError, LimitExceededError, PackagerError, UnsafeArchiveError
from packager.settings import Settings
from tests import archives
from tests.archive_strategies import contents, formats, framed, paths, read_sizes, tars
from tests.archives import BLOCK, END, Chopped, extension, gz, header, member, pax

KINDS = {tarfile.DIRTYPE: "directory", tarfile.LNKTYPE: "hard link", tarfile.SYMTYPE: "symbolic link"}


def read(packed, sizes=(1 << 20,), settings=None, room=1000):
    """Every entry with its content."""
    reader = ArchiveReader(Chopped(packed, sizes), settings or Settings())
    found = []
    for entry in reader.entries():
        content = bytearray()
        buffer = memoryview(bytearray(room))
        while count := reader._tar.readinto(buffer):
            content += buffer[:count]
        found.append((entry, bytes(content)))
    return found


def entries(packed, **options):
    return [entry for entry, _ in read(packed, **options)]


def as_tarfile_reads(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [
            (
                each.name,
                each.size if each.isreg() else 0,
                KINDS.get(each.type, "file"),
                each.linkname,
                archive.extractfile(each).read() if each.isreg() else b"",
            )
            for each in archive
        ]


@given(st.data(), tars(), read_sizes, st.integers(1, 5000))
def test_every_sound_archive_reads_as_tarfile_reads_it(data, whole, sizes, room):
    found = read(data.draw(framed(whole)), sizes, room=room)
    assert [
        (entry.name.rstrip("/"), entry.size_bytes, entry.kind, entry.link_target, content) for entry, content in found
    ] == as_tarfile_reads(whole)


@given(st.lists(st.tuples(paths.filter(lambda name: len(name.encode()) <= 100), contents), max_size=4))
def test_archives_from_before_posix_read_as_tarfile_reads_them(files):
    whole = b"".join(member(name.encode(), data, kind=b"\0", magic=b"") for name, data in files) + END
    found = [(entry.name, entry.size_bytes, entry.kind, "", content) for entry, content in read(gz(whole))]
    assert found == as_tarfile_reads(whole)


@given(formats, st.sampled_from([tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]), paths)
def test_links_and_devices_are_told_as_what_they_are(form, kind, target):
    buffer = io.BytesIO()
    info = tarfile.TarInfo("special")
    info.type = kind
    info.linkname = target if kind == tarfile.SYMTYPE else ""
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        try:
            archive.addfile(info)
        except ValueError:  # too long for ustar
            return
    (entry,) = entries(gz(buffer.getvalue()))
    assert (entry.kind, entry.link_target) == (KINDS.get(kind, "device"), info.linkname)


def test_a_prefix_is_a_prefix_in_posix_archives_only():
    dates = b"00000000000\x00"  # GNU tar keeps dates where POSIX keeps the prefix
    whole = member(b"name", prefix=b"a/b") + member(b"name", magic=b"ustar  \0", prefix=dates) + END
    assert [entry.name for entry in entries(gz(whole))] == ["a/b/name", "name"]


def test_a_size_above_what_octal_holds_is_read_in_base_256_and_from_pax():
    size = 8 << 30
    for head in (header(size=archives.base256(size)), pax((b"size", b"%d" % size)) + header(size=0)):
        reader = ArchiveReader(Chopped(gz(head)), Settings())
        assert next(reader.entries()).size_bytes == size


def test_harmless_extensions_are_taken():
    binary = (b"LIBARCHIVE.xattr.com.apple.provenance", b"\x01\0\0\xff"), (b"SCHILY.xattr.security.selinux", b"u:r\0")
    whole = pax((b"mtime", b"1.5"), (b"comment", b"x" * 200), *binary, (b"VENDOR.key", b"\0"), (b"path", b"long"))
    git = pax((b"comment", b"a commit"), kind=b"g")
    (entry,) = entries(gz(git + pax(*binary, kind=b"g") + whole + member() + END))
    assert entry.name == "long"


def test_one_long_name_may_be_told_in_both_dialects():
    whole = pax((b"path", b"same")) + extension(b"L", b"same\0") + member() + END
    assert [entry.name for entry in entries(gz(whole))] == ["same"]


@given(tars(), st.data())
def test_a_tar_cut_anywhere_before_its_end_mark_is_complete_is_an_extraction_error(whole, data):
    end = len(whole.rstrip(b"\0"))
    end += -end % BLOCK  # a content of zeros may end later still
    cut = data.draw(st.integers(0, end + 2 * BLOCK - 1))
    with pytest.raises(ExtractionError):
        entries(gz(whole[:cut]))


@given(st.data(), st.integers(1, 255))
def test_a_flipped_byte_of_a_header_is_an_extraction_error_or_changes_nothing(data, bits):
    sound = archives.tar([("a", b"a" * 700), ("é" * 40 + "/" + "é" * 40, b"b" * 700)], data.draw(formats))
    starts = [at for at in range(0, len(sound), BLOCK) if sound[at + 257 : at + 262] == b"ustar"]
    at = data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, BLOCK - 1))
    flipped = sound[:at] + bytes([sound[at] ^ bits]) + sound[at + 1 :]
    try:
        assert read(gz(flipped)) == read(gz(sound))
    except ExtractionError as error:
        assert str(error).isprintable()  # noqa: PT017  both outcomes are right


@given(st.binary(max_size=2000) | tars().map(lambda whole: whole[:2000]), st.integers(0, 3))
def test_any_bytes_are_entries_or_an_extraction_error(data, blocks):
    try:
        read(gz(data + bytes(blocks * BLOCK)))
    except ExtractionError:
        return


@given(st.data(), st.binary(min_size=512, max_size=512).map(archives.summed))
def test_any_header_with_a_right_checksum_is_an_entry_or_an_extraction_error(data, block):
    kind = data.draw(st.sampled_from([b"0", b"1", b"5", b"L", b"K", b"x", b"g", b"S"]))
    size = data.draw(st.sampled_from([b"0" * 11 + b"\0", b"00000000100\0", archives.base256(5)]))
    block = archives.summed(block[:124] + size + block[136:156] + kind + block[157:])
    try:
        read(gz(block + data.draw(st.binary(max_size=100)).ljust(BLOCK, b"\0") + member() + END))
    except PackagerError as error:
        assert str(error).isprintable()  # noqa: PT017  both outcomes are right


@pytest.mark.parametrize("name", archives.damaged())
def test_a_damaged_archive_is_an_extraction_error(name):
    with pytest.raises(ExtractionError) as caught:
        read(archives.damaged()[name])
    assert str(caught.value).isprintable()
    assert caught.value.next_step


@given(st.lists(st.sampled_from([b"L", b"K", b"x", b"X", b"g"]), min_size=2, max_size=6))
def test_each_extension_but_global_ones_stands_before_a_member_once_at_most(kinds):
    one = {b"L": extension(b"L", b"a\0"), b"K": extension(b"K", b"a\0")}
    whole = b"".join(one.get(kind) or pax((b"comment", b"a"), kind=kind) for kind in kinds) + member() + END
    seen = [kind.lower() if kind in b"xX" else kind for kind in kinds if kind != b"g"]
    if len(set(seen)) == len(seen):
        assert len(entries(gz(whole))) == 1
    else:
        with pytest.raises(UnsafeArchiveError, match="Two extension headers"):
            entries(gz(whole))


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_an_extension_up_to_the_limit_passes_and_one_byte_more_does_not(kind):
    def archive(size):
        data = archives.record(b"comment", b"a" * (size - 14)) if kind in b"xg" else b"a" * size
        assert len(data) == size
        return gz(extension(kind, data) + member() + END)

    limit = Settings(max_extension_header_bytes=5000)
    assert len(entries(archive(5000), settings=limit)) == 1
    with pytest.raises(LimitExceededError) as caught:
        entries(archive(5001), settings=limit)
    assert (caught.value.setting, caught.value.limit, caught.value.found) == ("MAX_EXTENSION_HEADER_BYTES", 5000, 5001)


@given(st.dictionaries(st.binary(min_size=1, max_size=9).filter(lambda key: b"=" not in key), st.binary(max_size=2000)))
def test_pax_records_of_any_length_are_told_apart(records):
    harmless = dict(records)
    for key in (b"path", b"linkpath", b"size"):
        harmless.pop(key, None)
    (entry,) = entries(gz(pax(*harmless.items(), (b"path", b"the name")) + member() + END))
    assert entry.name == "the name"


def test_content_that_is_not_asked_for_is_skipped_and_still_checked():
    whole = gz(archives.tar([(f"f{number}", bytes([number]) * 70_000) for number in range(9)]))
    assert len([*ArchiveReader(Chopped(whole), Settings()).entries()]) == 9
    with pytest.raises(ExtractionError):
        [*ArchiveReader(Chopped(whole[:-4] + b"\0\0\0\1"), Settings()).entries()]


def test_an_old_file_whose_name_is_cut_behind_a_slash_is_a_file_as_gnu_tar_and_bsdtar_read_it(tmp_path):
    name = "n" * 99 + "/" + "x" * 10
    info = tarfile.TarInfo(name)
    info.type, info.size = tarfile.AREGTYPE, 4
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(info, io.BytesIO(b"data"))
    whole = buffer.getvalue()
    assert [(entry.name, entry.kind) for entry in entries(gz(whole))] == [(name, "file")]
    for program in filter(shutil.which, ("tar", "bsdtar")):
        done = subprocess.run([program, "-xOf", "-", name], input=whole, capture_output=True, check=True)
        assert done.stdout == b"data", program


def test_as_many_pax_records_as_the_limit_says_pass_and_one_more_does_not():
    def archive(count):
        records = [(b"k", b"%d" % number) for number in range(count)]
        return gz(pax(*records[:2]) + member() + pax(*records[2:4], kind=b"g") + pax(*records[4:]) + member(b"b") + END)

    limit = Settings(max_pax_records=6)
    assert len(entries(archive(6), settings=limit)) == 2
    with pytest.raises(LimitExceededError) as caught:
        entries(archive(7), settings=limit)
    assert (caught.value.setting, caught.value.limit, caught.value.found) == ("MAX_PAX_RECORDS", 6, 7)
    assert "MAX_PAX_RECORDS = 6" in caught.value.message


def test_global_headers_count_as_members_do():
    whole = gz(pax((b"comment", b"a"), kind=b"g") * 4 + member() + END)
    assert len(entries(whole, settings=Settings(max_members=4))) == 1
    with pytest.raises(LimitExceededError, match="MAX_ARCHIVE_MEMBERS = 3"):
        entries(whole, settings=Settings(max_members=3))


SPARSE = (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"a/weights.bin")


@pytest.mark.parametrize(
    ("whole", "name", "advice"),
    [
        (pax((b"path", b"a/GNUSparseFile.4711/weights.bin"), *SPARSE) + member(), "a/weights.bin", "without --sparse"),
        (pax((b"path", b"a/GNUSparseFile.0/weights.bin"), *SPARSE) + member(), "a/weights.bin", "--no-read-sparse"),
        (header(b"a/weights.bin", kind=b"S"), "a/weights.bin", "without --sparse"),
        (pax((b"SUN.holesdata", b" 0 1 2")) + member(b"a/weights.bin"), "a/weights.bin", "sparse"),
    ],
)
def test_a_sparse_file_is_refused_by_its_real_name_with_advice_for_its_maker(whole, name, advice):
    with pytest.raises(UnsafeArchiveError, match="sparse") as caught:
        entries(gz(whole + END))
    assert caught.value.member == name
    assert advice in caught.value.next_step
