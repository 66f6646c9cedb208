"""Other people's programs open what is written here, and find in it what went in."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from dataclasses import dataclass

import pytest

from packager.core.pipeline import File, zip_parts
from packager.core.zip import LARGE_BYTES, ZIP64_FROM_BYTES, ZipEncoder
from tests.archives import Chopped
from tests.hostile.java import read_all

NOISE = bytes(range(256)) * 20
FILES = {
    "manifest.json": b"{}",
    "mochi/empty": b"",
    "mochi/stored": NOISE[:300],
    "mochi/deflated": b"weights " * 999,
    "mochi/modèle/模型": b"utf-8",
    "mochi/\U0001f600": b"beyond the basic plane",
    "mochi/just below a large one": b"a" * (LARGE_BYTES - 1),
    "mochi/a large one": b"b" * LARGE_BYTES,
    "mochi/just above a large one": b"c" * (LARGE_BYTES + 1),
    "mochi/large": NOISE * 1000,
    "mochi/last": b"",
}
ABOVE_4_GIB = (1 << 32) + 5_000_000


@dataclass
class Zeros:
    """A file of zeros of any size, made without copying any: the buffers it is asked to fill are zeros already."""

    left: int

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self.left)
        self.left -= count
        return count


def write(path, files):
    with path.open("wb") as file:
        for part in zip_parts(files, ZipEncoder()):
            file.write(part.data)
    return path


def expected(files):
    return {name: (len(data), zlib.crc32(data)) for name, data in files.items()}


def crc_of_zeros(size):
    crc, block = 0, bytes(1 << 20)
    for _ in range(size >> 20):
        crc = zlib.crc32(block, crc)
    return zlib.crc32(block[: size & 0xFFFFF], crc)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    files = [File(name, len(data), Chopped(data).readinto) for name, data in FILES.items()]
    return write(tmp_path_factory.mktemp("zip") / "usual.zip", files)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """70,000 entries: more than 16 bits count."""
    empty = Chopped(b"")
    files = (File(f"folder/{number}", 0, empty.readinto) for number in range(70_000))
    return write(tmp_path_factory.mktemp("zip") / "crowded.zip", files)


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """A member above 4 GiB with a small one behind it."""
    files = [File("huge", ABOVE_4_GIB, Zeros(ABOVE_4_GIB).readinto), File.of("small", b"small")]
    path = write(tmp_path_factory.mktemp("zip") / "huge.zip", files)
    yield path
    path.unlink()


def tool(name):
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def output(*command, **options):
    done = subprocess.run(command, capture_output=True, check=False, timeout=300, **options)
    assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


@pytest.fixture(scope="session")
def java(tmp_path_factory):
    """Gives size and CRC of each entry as Java reads it, by the directory (file) or front to back (stream)."""
    classes = tmp_path_factory.mktemp("java")
    return lambda how, path: dict(read_all(classes, how, [path])[0])


def test_python_reads_a_component(usual):
    with zipfile.ZipFile(usual) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


@pytest.mark.parametrize("how", ["file", "stream"])
def test_java_reads_a_component(usual, java, how):
    assert java(how, usual) == expected(FILES)


def test_unzip_reads_a_component(usual):
    output(tool("unzip"), "-tqq", usual)
    for name in ("manifest.json", "mochi/large", "mochi/empty"):
        assert output("unzip", "-p", usual, name) == FILES[name]


def test_bsdtar_reads_it_from_a_file_and_from_a_pipe(usual):
    tool("bsdtar")
    english = {"LC_ALL": "C.UTF-8"}
    assert output("bsdtar", "-tf", usual, env=english).decode().splitlines() == list(FILES)
    contents = b"".join(FILES.values())
    assert output("bsdtar", "-xOf", usual) == contents
    assert output("bsdtar", "-xOf", "-", input=usual.read_bytes()) == contents


def test_7z_reads_a_component(usual):
    output(tool("7z"), "t", usual)
    assert output("7z", "x", "-so", usual, "mochi/large") == FILES["mochi/large"]


def test_busybox_reads_a_component(usual):
    output(tool("busybox"), "unzip", "-t", usual)


def test_70_000_entries_are_read_by_everybody(crowded, java):
    names = [f"folder/{number}" for number in range(70_000)]
    with zipfile.ZipFile(crowded) as archive:
        assert archive.namelist() == names
    for how in ("file", "stream"):
        assert java(how, crowded) == dict.fromkeys(names, (0, 0))
    for command in (["unzip", "-Z1", crowded], ["bsdtar", "-tf", crowded], ["bsdtar", "-tf", "-"]):
        if shutil.which(command[0]):
            listed = output(*command, input=crowded.read_bytes())
            assert listed.decode().splitlines() == names


def test_a_member_above_4_gib_is_wide_and_the_small_one_behind_it_is_not(huge):
    with zipfile.ZipFile(huge) as archive, huge.open("rb") as file:
        large, small = archive.infolist()
        assert (large.file_size, large.compress_size < 1 << 32, small.file_size) == (ABOVE_4_GIB, True, 5)
        assert archive.read("small") == b"small"
        head = file.read(30 + 4 + 20)
        assert struct.unpack("<HHQQ", head[34:]) == (1, 16, 0, 0)
        file.seek(small.header_offset - 24)
        descriptor = struct.unpack("<4sIQQ", file.read(24))
        assert descriptor == (b"PK\7\x08", large.CRC, large.compress_size, ABOVE_4_GIB)
        assert struct.unpack("<4sH", file.read(6)) == (b"PK\3\4", 20)
        # Only the size needs 64 bits, so only the size has them.
        assert large.extra == struct.pack("<HHQ", 1, 8, ABOVE_4_GIB)
        assert small.extra == b""
        file.seek(-22, io.SEEK_END)
        assert file.read(22)[4:12] == struct.pack("<HHHH", 0, 0, 2, 2)


def test_java_reads_a_member_above_4_gib_front_to_back(huge, java):
    assert java("stream", huge) == {
        "huge": (ABOVE_4_GIB, crc_of_zeros(ABOVE_4_GIB)),
        "small": (5, zlib.crc32(b"small")),
    }


@pytest.mark.slow
def test_everybody_reads_a_member_above_4_gib(huge, java):
    assert java("file", huge)["huge"] == (ABOVE_4_GIB, crc_of_zeros(ABOVE_4_GIB))
    for command in (["unzip", "-tqq", huge], ["7z", "t", huge], ["bsdtar", "-tf", huge], ["bsdtar", "-tf", "-"]):
        if shutil.which(command[0]):
            output(*command, input=huge.read_bytes())
    with zipfile.ZipFile(huge) as archive:
        assert archive.testzip() is None


@pytest.mark.slow
@pytest.mark.parametrize("size", [ZIP64_FROM_BYTES - 1, ZIP64_FROM_BYTES, 1 << 32])
def test_members_around_4_gib_are_read_by_the_directory_and_below_the_room_for_growth_as_a_stream(tmp_path, java, size):
    path = write(tmp_path / "z.zip", [File("n", size, Zeros(size).readinto), File.of("small", b"small")])
    told = {"n": (size, crc_of_zeros(size)), "small": (5, zlib.crc32(b"small"))}
    assert java("file", path) == told
    if (
        not ZIP64_FROM_BYTES <= size < 1 << 32
    ):  # there Java 17 cannot follow a stream; nothing that is written could help
        assert java("stream", path) == told
    if shutil.which("bsdtar"):
        assert output("bsdtar", "-tf", "-", input=path.read_bytes()).split() == [b"n", b"small"]
