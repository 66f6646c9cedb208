"""Models in every container that people have, against hostile ones, by other people's writers."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path
from struct import pack

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.core.names import safe_path
from packager.core.splice import Part
from packager.core.zip import LARGE_BYTES
from packager.device.check import check_component
from packager.errors import (
    AccessDeniedError,
    ArtifactChangedError,
    ExtractionError,
    LimitExceededError,
    PackagerError,
    RequestError,
    UnsafeArchiveError,
)
from packager.extractor import StreamingExtractor
from packager.limits.storage import StorageManager
from packager.packaging import package
from packager.settings import Settings
from packager.stores import Stores, collection, s3_prefix
from packager.stores.archive import Archive
from packager.stores.file import FileSource
from packager.stores.unpacked import ZSTD_MODULE, _window_bytes
from telemetry.engine.testing import recorded
from tests import archives
from tests.archive_strategies import file_sets, tars
from tests.containers import PACKERS, zstd
from tests.packages import content, ground, tar

MIB = 1 << 20
FILES = {"model.onnx": content(5 * MIB // 4), "labels.txt": b"cat\ndog\n", "deep/er/empty": b""}
few = settings(max_examples=15, suppress_health_check=list(HealthCheck))


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


TINY = {"tar.bz2": bz2.compress(b""), "tar.xz": lzma.compress(b""), "tar.zst": b"\x50\x2a\x4d\x18" + bytes(4)}
"""Streams of nothing; of zstd, a frame to be skipped."""


@pytest.mark.parametrize("kind", TINY)
def test_streams_of_nothing_count_as_members(here, kind):
    whole = PACKERS[kind](archives.tar(FILES.items()))
    limits = Settings(scratch_dir=here.root / "scratch", max_attempts=1, max_members=50)
    path = here.root / f"m.{kind}"
    path.write_bytes(whole + TINY[kind] * 49)
    assert make(here, path, settings=limits).error is None
    path.write_bytes(whole + bytes(64) + TINY[kind] * 3000 + whole[:40])
    error = make(here, path, settings=limits).error
    assert isinstance(error, LimitExceededError)
    assert (error.setting, error.limit) == ("MAX_ARCHIVE_MEMBERS", 50)


@pytest.mark.parametrize("kind", TINY)
def test_a_tar_in_many_streams_is_read_like_one_in_one_stream(here, kind):
    tar = archives.tar([("model.onnx", b"model")])
    path = here.root / f"m.{kind}"
    path.write_bytes(b"".join(PACKERS[kind](tar[at : at + 300]) + TINY[kind] for at in range(0, len(tar), 300)))
    assert make(here, path).error is None


def zipped(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return buffer.getvalue()


def make(here, model, name="n", **options):
    limits = Settings(scratch_dir=here.root / "scratch", max_attempts=1)
    options = {"settings": limits, "force": True, **options}
    [made] = package(str(model), {}, here.out, layout="files", name=name, version="1.0.0", **options).components
    return made


def written(here, data, name):
    path = here.root / name
    path.write_bytes(data)
    return path


def files_of(made):
    assert made.error is None, made.error
    with zipfile.ZipFile(made.uri) as component:
        assert component.testzip() is None
        return {name: component.read(name) for name in component.namelist()}


def refused(here, model, kind=ExtractionError, **options):
    made = make(here, model, **options)
    assert isinstance(made.error, kind), made.error
    assert made.error.next_step
    assert here.published() == set()
    return made.error


# -- the same files from every container -------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
def test_every_container_of_the_same_files_gives_the_same_bytes(here, strategy):
    ordered = dict(sorted(FILES.items()))
    packed = archives.tar(ordered.items())
    models = {
        name: written(here, pack_(packed), f"model.{name}") for name, pack_ in PACKERS.items() if name != "tar.zst"
    }
    models["zip"] = written(here, zipped(ordered), "model.zip")
    models["stored zip"] = written(here, zipped(ordered, zipfile.ZIP_STORED), "stored.zip")
    models["nameless tar"] = written(here, lzma.compress(packed), "download")
    models["folder"] = here.root / "folder"
    for name, data in ordered.items():
        path = models["folder"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    made = {kind: make(here, model, strategy=strategy) for kind, model in models.items()}
    assert files_of(made["tar.gz"]) == ordered
    hashes = {kind: each.sha256 for kind, each in made.items()}
    spliced = {hashes.pop("tar.gz"), hashes.pop("zip")}  # deflate blocks of its large file are copied
    assert len(spliced.union(hashes.values())) == 3, hashes
    assert len(set(hashes.values())) == 1, hashes
    assert files_of(made["zip"]) == ordered


def raw_entry(data, name):
    """The packed bytes of an entry, as they stand in a ZIP."""
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        entry = read.getinfo(name)
        name_bytes, extra_bytes = struct.unpack_from("<HH", data, entry.header_offset + 26)
    start = entry.header_offset + 30 + name_bytes + extra_bytes
    return data[start : start + entry.compress_size]


@few
@given(sizes=st.lists(st.integers(1, 3 * LARGE_BYTES), min_size=1, max_size=3), level=st.integers(1, 9), data=st.data())
def test_large_entries_of_a_zip_are_copied_as_they_stand_and_small_ones_are_packed(sizes, level, data):
    files = {f"{number}.bin": content(size) for number, size in enumerate(sizes)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as made:
        for name, each in files.items():
            made.writestr(name, each)
    packed = buffer.getvalue()
    with ground() as here:
        model = written(here, packed, "model.zip")
        whole = make(here, model, strategy=data.draw(st.sampled_from(["streaming", "standard"])))
        assert files_of(whole) == files
        component = Path(whole.uri).read_bytes()
        for name, each in files.items():
            copied = raw_entry(component, name) == raw_entry(packed, name)
            assert copied or len(each) < LARGE_BYTES
        with Archive(FileSource(model), of_any_kind=True).open(Settings()) as archive:
            for member in archive.files():
                parts = [part for part in member.splice() if isinstance(part, Part)]
                assert b"".join(part.data for part in parts) == raw_entry(packed, member.path)
                assert all(packed[part.origin : part.origin + len(part.data)] == part.data for part in parts)


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
def test_a_large_entry_of_a_zip_that_is_damaged_anywhere_leaves_nothing(here, strategy):
    whole = zipped({"model.bin": content(2 * LARGE_BYTES)})
    raw = raw_entry(whole, "model.bin")
    start = whole.index(raw)
    directory = whole.rindex(b"PK\1\2")
    for at in (start + 3, start + len(raw) // 2, start + len(raw) - 1, directory + 16, directory + 20, directory + 24):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        refused(here, written(here, bytes(damaged), "model.zip"), strategy=strategy)


def test_zstd_is_read_where_its_extra_is_there(here, monkeypatch):
    data = zstd(archives.tar(FILES.items()))
    model = written(here, data + zstd(b"") + bytes(7), "model.tar.zst")
    assert files_of(make(here, model)) == FILES
    refused_ = [data[:-5], data + b"x", data[:5000] + b"\0\0\0" + data[5003:]]
    for wrong in refused_:
        make_error = make(here, written(here, wrong, "model.tar.zst")).error
        assert isinstance(make_error, ExtractionError)

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("packager.stores.unpacked.import_module", missing)
    error = make(here, model).error
    assert isinstance(error, RequestError)
    assert error.next_step == "Install the package with its extra `zstd`, or pack the archive with gzip."


def test_a_tar_that_pzstd_packed_is_read(here):
    packed = zstd(archives.tar(FILES.items()))
    frame = b"\x50\x2a\x4d\x18" + pack("<LL", 4, len(packed))  # as it writes before each of its frames
    assert files_of(make(here, written(here, frame + packed, "model.tar.zst"))) == FILES


def limited(here, model, **limits):
    """What a setting is exceeded by, or None."""
    error = make(here, model, settings=Settings(scratch_dir=here.root / "scratch", max_attempts=1, **limits)).error
    return error and (error.setting, error.limit, error.found)


@pytest.mark.parametrize("log", [16, 20, 23])
def test_the_memory_of_xz_is_bounded_by_a_setting(here, log):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << log}]
    data = lzma.compress(archives.tar(FILES.items()), filters=filters)
    model = written(here, lzma.compress(b"", preset=0) + data, "model.tar.xz")
    limit = 1 << log
    assert limited(here, model, max_xz_memory_bytes=2 * limit + MIB) is None
    for lower in (limit, limit // 2):
        assert limited(here, written(here, data, "model.tar.xz"), max_xz_memory_bytes=lower) == (
            "MAX_XZ_MEMORY_BYTES",
            lower,
            max(limit, lower + 1),
        )


@pytest.mark.parametrize("log", [16, 20, 23])
def test_the_window_of_zstd_is_bounded_by_a_setting(here, log):
    library = pytest.importorskip(ZSTD_MODULE)
    options = {library.CompressionParameter.window_log: log, library.CompressionParameter.content_size_flag: 0}
    compressor = library.ZstdCompressor(options=options)
    data = compressor.compress(archives.tar(FILES.items())) + compressor.flush()
    model = written(here, zstd(b"") + data, "model.tar.zst")
    assert limited(here, model, max_zstd_window_bytes=1 << log) is None
    for lower in ((1 << log) - 1, 1 << log - 1, 2000):
        assert limited(here, model, max_zstd_window_bytes=lower) == ("MAX_ZSTD_WINDOW_BYTES", lower, 1 << log)


@pytest.mark.parametrize("size", [255, 256, 65791, 65792])
def test_a_frame_of_zstd_in_one_segment_has_its_content_as_window(size):
    frame = zstd(bytes(size))
    assert frame[4] & 0x20
    assert _window_bytes(frame) == size


def test_zstd_with_a_window_of_gigabytes_is_refused(here):
    library = pytest.importorskip(ZSTD_MODULE)
    wide = {library.CompressionParameter.window_log: 30, library.CompressionParameter.content_size_flag: 0}
    compressor = library.ZstdCompressor(options=wide)
    data = compressor.compress(archives.tar(FILES.items())) + compressor.flush()
    error = refused(here, written(here, data, "model.tar.zst"), LimitExceededError)
    assert f"MAX_ZSTD_WINDOW_BYTES = {128 * MIB} (found {1 << 30})" in error.message


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.tflite", "model.pt", "weights.keras", "vectors.npz", "model.bin.gz.onnx"]
)
def test_a_file_that_is_no_archive_is_one_file_also_when_it_is_a_zip_inside(here, name):
    data = zipped({"model/data.pkl": b"x"}) if name.endswith((".pt", ".keras", ".npz")) else b"\x08\x07\x12" + bytes(99)
    first = make(here, written(here, data, name), prefix="m")
    assert files_of(first) == {f"m/{name}": data}
    again = make(here, written(here, data, f"other-{name}"), prefix="m")
    assert again.uri != first.uri  # the name is part of the bytes


@few
@given(file_sets, st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED]))
def test_zips_of_pythons_writer_come_out_as_they_went_in(files, method):
    with ground() as here:
        made = make(here, written(here, zipped(files, method), "model.zip"))
        if not files:
            assert isinstance(made.error, ExtractionError)
        else:
            assert files_of(made) == files


def test_a_zip_that_was_streamed_with_descriptors_and_zip64_is_read(here):
    buffer = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return buffer.write(bytes(data))

    with (
        zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as made,
        made.open("big.bin", "w", force_zip64=True) as file,
    ):
        file.write(FILES["model.onnx"])
    assert files_of(make(here, written(here, buffer.getvalue(), "m.zip"))) == {"big.bin": FILES["model.onnx"]}


@pytest.mark.parametrize("writer", ["bsdtar -c --format zip -f ../m.zip *", "zip -q - * | cat > ../m.zip"])
def test_a_zip_whose_sizes_stand_in_part_before_the_data_and_in_part_behind_it_is_read(here, writer):
    if shutil.which(writer.split()[0]) is None:
        pytest.skip(f"{writer.split()[0]} is not there")
    files = {"model.onnx": FILES["model.onnx"], "labels.txt": FILES["labels.txt"], "empty": b""}
    (here.root / "model").mkdir()
    for name, data in files.items():
        written(here, data, f"model/{name}")
    subprocess.run(writer, shell=True, cwd=here.root / "model", check=True)  # noqa: S602  for the pipe
    path = here.root / "m.zip"
    assert files_of(make(here, path)) == files
    assert StreamingExtractor(layout="files").get_archive_info(path).findings == ()


# -- hostile ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packer", ["tar", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("kind", ["cut", "flipped", "followed", "hostile name", "link"])
def test_damage_and_hostility_are_refused_in_every_compression(here, packer, kind):
    name = "../evil" if kind == "hostile name" else "fine"
    packed = archives.tar([(name, content(5000)), ("last", b"x" * 700)])
    if kind == "link":
        packed = archives.header(b"link", kind=b"2", link=b"/etc/passwd") + archives.END
    data = PACKERS[packer](packed)
    if kind == "cut":
        data = data[: len(data) // 2]
    elif kind == "flipped":
        at = 257 if packer == "tar" else len(data) // 2  # a plain tar knows the sums of its headers only
        data = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
    elif kind == "followed":
        data += b"garbage"
    refused(here, written(here, data, f"model.{packer}"))


def test_bombs_are_stopped_by_the_limits_whatever_packs_them(here):
    bomb = archives.tar([("zeros", bytes(70 * MIB))])
    for name, data in {"m.tar.xz": lzma.compress(bomb, preset=0), "m.zip": zipped({"zeros": bytes(70 * MIB)})}.items():
        refused(here, written(here, data, name), LimitExceededError)
    with ground() as other:
        model = written(other, archives.tar([(str(n), b"") for n in range(30)]), "m.tar")
        refused(other, model, LimitExceededError, settings=Settings(max_members=20, scratch_dir=other.root))


def local(data, at, offset, value):
    """The ZIP with a field of its local header at `at` replaced."""
    return data[: at + offset] + value + data[at + offset + len(value) :]


def central(data, offset, value):
    return local(data, data.index(b"PK\x01\x02"), offset, value)


ZIP = zipped({"a.bin": b"hello hello hello hello" * 9, "b.bin": content(3000)})
LYING_ZIPS = {
    "a smaller size": central(ZIP, 24, pack("<L", 10)),
    "a larger size": central(ZIP, 24, pack("<L", 10_000)),
    "another checksum": central(ZIP, 16, pack("<L", 1)),
    "another local name": ZIP.replace(b"a.bin", b"x.bin", 1),
    "another local size": local(ZIP, 0, 22, pack("<L", 10)),
    "another local checksum": local(ZIP, 0, 14, pack("<L", 7)),
    "another local method": local(ZIP, 0, 8, pack("<H", 0)),
    "an encrypted entry": central(local(ZIP, 0, 6, b"\1\0"), 8, b"\1\0"),
    "an unknown method": central(local(ZIP, 0, 8, pack("<H", 12)), 10, pack("<H", 12)),
    "a local header elsewhere": central(ZIP, 42, pack("<L", 3)),
    "a flipped byte": local(ZIP, ZIP.index(b"b.bin") + 100, 0, b"\xff\x00\xff"),
    "a cut end": ZIP[:-30],
    "bytes behind it": ZIP + b"more",
    "nothing in it": zipped({}),
    "a link": None,
}


@pytest.mark.parametrize("kind", LYING_ZIPS)
def test_zips_that_lie_are_refused(here, kind):
    data = LYING_ZIPS[kind]
    if data is None:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        data = zipped({info: b"/etc/passwd"})
    refused(here, written(here, data, "model.zip"))


@pytest.mark.parametrize("before", [ZIP, b"#!/bin/sh\nexec unzip $0\n", b"\x7fELF" + bytes(500), b"P", bytes(70_000)])
def test_what_stands_before_a_zip_is_counted_and_refused_and_found_in_a_component(here, before):
    for whole in (before + ZIP, before + moved(ZIP, len(before))):
        path = written(here, whole, "my model.zip")
        error = refused(here, path)
        assert (error.leading_bytes, f"{len(before)} bytes stand before" in str(error)) == (len(before), True)
        assert "'my model.zip'" in error.next_step
        info = StreamingExtractor(layout="files").get_archive_info(path)
        assert [each.message for each in info.findings] == [error.message]
        assert [each.rule for each in check_component(path, layout="files")] == ["leading-bytes"]


def moved(data, by):
    """The ZIP with offsets for a place so many bytes further on, as `zip -A` writes them."""
    data = bytearray(data)
    at = data.rindex(b"PK\5\6")
    count, (start,) = struct.unpack_from("<H", data, at + 10)[0], struct.unpack_from("<L", data, at + 16)
    struct.pack_into("<L", data, at + 16, start + by)
    for _ in range(count):
        names, extra, comment = struct.unpack_from("<3H", data, start + 28)
        struct.pack_into("<L", data, start + 42, struct.unpack_from("<L", data, start + 42)[0] + by)
        start += 46 + names + extra + comment
    return bytes(data)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
@pytest.mark.parametrize("content", [b"{}", b"some text\n" * 5000, content(3000)], ids=["tiny", "text", "weights"])
def test_one_file_that_is_compressed_is_named_with_the_command_that_unpacks_it(here, kind, content):
    name = kind.removeprefix("tar.")
    data = PACKERS[kind](content)
    error = refused(here, written(here, data, f"my weights.bin.{name}"))
    program = {"gz": "gzip", "bz2": "bzip2", "zst": "zstd"}.get(name, name)
    assert f"one file that is compressed with {program}" in str(error)
    command = error.next_step.partition(": ")[2]
    if shutil.which(program):
        subprocess.run(["sh", "-c", command], cwd=here.root, check=True)
        assert (here.root / "my weights.bin").read_bytes() == content


def test_every_container_is_inspected_in_the_layout_files(here, bucket, s3_server):
    files = {"a/b.bin": content(3000), "c.txt": b"c"}
    stores = Stores(endpoint_url=s3_server.endpoint_url)
    models = [str(folder(here, files)), f"{put(bucket, {f'm/{name}': data for name, data in files.items()})}/m/"]
    models += [str(written(here, PACKERS[kind](tar(files)), f"m.{kind}")) for kind in PACKERS]
    models += [str(written(here, zipped(files), "m.zip"))]
    for model in models:
        info = StreamingExtractor(stores=stores, layout="files").get_archive_info(model)
        assert {each.name: each.size_bytes for each in info.members if each.kind == "file"} == {
            name: len(data) for name, data in files.items()
        }, model
        assert info.findings == ()
    one = StreamingExtractor(layout="files").get_archive_info(written(here, b"weights", "w.bin"))
    assert [(each.name, each.size_bytes) for each in one.members] == [("w.bin", 7)]
    pointer = written(here, b"version https://git-lfs.github.com/spec/v1\n", "w.onnx")
    (finding,) = StreamingExtractor(layout="files").get_archive_info(pointer).findings
    assert "Git LFS pointer" in finding.message


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a\\..\\evil", "C:evil", "a\x1bb"])
def test_hostile_names_in_zips_are_refused(here, name):
    with pytest.raises(UnsafeArchiveError):
        safe_path(name)
    refused(here, written(here, zipped({"fine": b"x", name: b"evil"}), "model.zip"), UnsafeArchiveError)


@few
@given(st.integers(0, len(ZIP) - 1), st.integers(1, 255))
def test_a_changed_byte_of_a_zip_is_refused_or_changes_nothing(at, flip):
    with ground() as here:
        made = make(here, written(here, ZIP[:at] + bytes([ZIP[at] ^ flip]) + ZIP[at + 1 :], "model.zip"))
        if made.error:
            assert isinstance(made.error, ExtractionError), made.error
        else:  # dates, versions, attributes
            assert [*files_of(made).values()] == [b"hello hello hello hello" * 9, content(3000)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.tar.gz", b"<html>sign in</html>"),
        ("model.zip", b"<Error><Code>NoSuchKey</Code></Error>"),
        ("model.tar", b"anything else"),
        ("model.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ("model.onnx", b""),
        ("model.tar.gz", archives.gz(b"no tar " * 200)),
    ],
)
def test_what_is_not_what_its_name_says_is_refused(here, name, data):
    refused(here, written(here, data, name))


@few
@given(tars(), st.sampled_from(["tar", "tar.bz2", "tar.xz"]))
def test_tars_read_the_same_in_every_compression(packed, packer):
    with ground() as here:
        made = [make(here, written(here, PACKERS[each](packed), f"m.{each}")) for each in (packer, "tar.gz")]
        assert len({type(each.error) for each in made}) == 1
        if not made[0].error:
            assert files_of(made[0]) == files_of(made[1])


# -- folders -----------------------------------------------------------------------------------------------------------


def folder(here, files):
    root = here.root / "model"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize(("free_bytes", "reads"), [(100 * MIB, 2), (MIB, 3)], ids=["room", "a tight disk"])
def test_a_folder_is_read_once_more_to_be_staged_only_where_the_disk_is_tight(here, monkeypatch, free_bytes, reads):
    monkeypatch.setattr(StorageManager, "get_unreserved_space", lambda _: free_bytes)
    model = folder(here, {"a": content(MIB // 2), "b": b"x"})
    with recorded() as records:
        made = make(here, model, strategy="standard")
    assert made.error is None
    assert [each.row for each in records].count("ReadArtifact") == reads - 1


def test_links_within_a_folder_are_files_and_others_are_refused(here):
    root = folder(here, {"blobs/a": b"weights", "x": b"y"})
    (root / "model.bin").symlink_to("blobs/a")
    assert files_of(make(here, root)) == {"blobs/a": b"weights", "model.bin": b"weights", "x": b"y"}
    for target in ("/etc/passwd", "../out", "nowhere", "."):
        with ground() as other:
            hostile = folder(other, {"x": b"y"})
            (other.root / "out").mkdir(exist_ok=True)
            (hostile / "evil").symlink_to(target)
            refused(other, hostile, UnsafeArchiveError)
    with ground() as other:
        pipe = folder(other, {"x": b"y"})
        os.mkfifo(pipe / "pipe")
        refused(other, pipe, UnsafeArchiveError)
        (pipe / "pipe").unlink()
        (pipe / "x").unlink()
        refused(other, pipe)  # empty


def test_a_file_that_changes_while_its_folder_is_read_is_named(here, monkeypatch):
    root = folder(here, {"a": b"first" * 1000, "b": b"second"})
    walk = collection._walk

    def changed(path):
        yield from walk(path)
        (path / "b").write_bytes(b"something else")

    monkeypatch.setattr(collection, "_walk", changed)
    error = make(here, root).error
    assert isinstance(error, ArtifactChangedError)
    assert str(root / "b") in error.message


# -- prefixes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(s3_server):
    client = s3_server.client()
    name = f"bucket-{os.urandom(6).hex()}"
    client.create_bucket(Bucket=name)
    return name, client


def put(bucket, files):
    name, client = bucket
    for key, data in files.items():
        client.put_object(Bucket=name, Key=key, Body=data)
    return f"s3://{name}"


def test_objects_below_a_prefix_are_one_model_and_give_the_bytes_of_the_folder(here, bucket, s3_server, monkeypatch):
    ordered = dict(sorted(FILES.items()))
    put(bucket, {f"models/x/{name}": data for name, data in ordered.items()})
    uri = put(bucket, {"models/x/deep/": b"", "models/xy": b"another", "models/x/skip.txt": b"s"})
    pages = []
    page = s3_prefix._page

    def small_pages(bucket, prefix, calls, token):
        found = calls.client.list_objects_v2(
            Bucket=bucket, Prefix=prefix, MaxKeys=2, **({"ContinuationToken": token} if token else {})
        )
        pages.append(found)
        return found

    monkeypatch.setattr(s3_prefix, "_page", small_pages)
    client = bucket[1]
    made = make(here, f"{uri}/models/x/", exclude=["skip.txt"], client=client)
    assert files_of(made) == ordered
    assert len(pages) == 3
    monkeypatch.setattr(s3_prefix, "_page", page)
    again = make(here, f"{uri}/models/x/", exclude=["skip.txt"], client=client, force=False)
    assert (again.status, again.uri) == ("already_there", made.uri)
    assert make(here, folder(here, ordered)).sha256 == made.sha256
    staged = make(here, f"{uri}/models/x/", exclude=["skip.txt"], client=client, strategy="standard")
    assert staged.sha256 == made.sha256


@pytest.mark.parametrize("key", ["../evil", "a//..//b", "C:evil", "a\x7fb", "a"])
def test_keys_that_are_hostile_names_are_refused(here, bucket, key):
    uri = put(bucket, {"m/a": b"x", "m/a/b": b"below a file", f"m/{key}": b"evil"})
    refused(here, f"{uri}/m/", UnsafeArchiveError, client=bucket[1])


def test_nothing_below_a_prefix_and_too_much_is_refused(here, bucket):
    uri = put(bucket, {f"m/{n}": b"x" for n in range(5)})
    refused(here, f"{uri}/n/", client=bucket[1])
    few_ = Settings(max_members=4, scratch_dir=here.root)
    refused(here, f"{uri}/m/", LimitExceededError, client=bucket[1], settings=few_)


def test_an_object_that_is_replaced_after_the_listing_is_named(here, bucket, monkeypatch):
    uri = put(bucket, {"m/a": b"x" * 1000, "m/b": b"y"})
    objects = s3_prefix._objects

    def replaced(*arguments):
        yield from objects(*arguments)
        put(bucket, {"m/b": b"z"})

    monkeypatch.setattr(s3_prefix, "_objects", replaced)
    error = make(here, f"{uri}/m/", client=bucket[1]).error
    assert isinstance(error, ArtifactChangedError)
    assert "/m/b" in error.message


def test_one_object_of_any_kind_is_read_by_ranges(here, bucket):
    uri = put(bucket, {"m.zip": zipped(FILES), "model.onnx": b"\x08\x07\x12" + bytes(50)})
    assert files_of(make(here, f"{uri}/m.zip", client=bucket[1])) == FILES
    assert [*files_of(make(here, f"{uri}/model.onnx", client=bucket[1]))] == ["model.onnx"]


def test_errors_stay_typed_for_what_is_not_there(here):
    for model in ("no/such.zip", here.root / "no-such-folder", Path("/dev/null")):
        assert isinstance(make(here, model).error, PackagerError)


def test_a_prefix_that_may_not_be_listed_names_the_right(here, bucket, monkeypatch):
    def denied(*_):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "ListObjectsV2")

    monkeypatch.setattr(s3_prefix, "_page", denied)
    error = make(here, f"s3://{bucket[0]}/m/", client=bucket[1]).error
    assert isinstance(error, AccessDeniedError)
    assert "s3:ListBucket" in error.next_step
