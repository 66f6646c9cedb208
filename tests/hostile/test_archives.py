from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from packager import StreamingExtractor, package
from packager.core.members import ArchiveReader
from packager.errors import ExtractionError, PackagerError
from packager.plan import plan
from packager.settings import Settings
from tests import archives
from tests.archives import END, Chopped, gz, header, member
from tests.hostile import bombs
from tests.hostile.measured import measured

full = pytest.mark.reliability
HEAVY = {
    "refused names without end",
    "pax records without end",
    "global headers without end",
    "too many members",
    "a pax header of 64 MiB",
    "a long name of 64 MiB",
}

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")


def read(packed):
    """The files of an archive as they would be packaged; hard links as copies."""
    found = {}
    for each in ArchiveReader(Chopped(packed), Settings()).files_and_links():
        found[each.path] = found[each.same_as] if each.same_as else each.read()
    return found


# -- what a bomb takes -------------------------------------------------------------------------------------------------


def packaged(trained, compiled, out):
    (component,) = (done := package(trained, {"jetson-xavier": compiled}, out)).components
    json.dumps(done.as_dict(), allow_nan=False)
    return type(component.error).__name__, Path(out).exists()


def inspected(trained, compiled, _):
    for path in (trained, compiled):
        json.dumps(StreamingExtractor(Settings()).get_archive_info(path).as_dict(), indent=2)


def planned(trained, compiled, out):
    try:
        return plan(trained, {"jetson-xavier": compiled}, out).fits
    except PackagerError:
        return False


@needs_proc
@pytest.mark.parametrize("name", [pytest.param(each, marks=full if each in HEAVY else ()) for each in bombs.NAMES])
def test_a_bomb_is_refused_with_a_typed_error_in_little_time_and_memory(name, tmp_path):
    trained, compiled, out = (str(tmp_path / each) for each in ("trained.tar.gz", "compiled.tar.gz", "out"))
    Path(trained).write_bytes(bombs.pair(name)[0])
    Path(compiled).write_bytes(bombs.pair(name)[1])
    found = {command: measured(command, trained, compiled, out) for command in (packaged, inspected, planned)}
    error, published = found[packaged].outcome
    assert error in {"LimitExceededError", "ManifestError", "UnsafeArchiveError", "ExtractionError"}
    assert not published
    assert (found[inspected].outcome, found[planned].outcome) == (None, False)
    for each in found.values():
        each.assert_cheap()


# -- every cut, every bit ----------------------------------------------------------------------------------------------

SMALL = gz(archives.tar([("compiled.so", b"code" * 30), ("sub/compiled.params", bytes(range(200)))]))
END_OF_HEADER = 10


def test_every_truncation_of_an_archive_is_refused(record_property):
    record_property("tried", len(SMALL))
    for length in range(len(SMALL)):
        with pytest.raises(ExtractionError):
            read(SMALL[:length])


def test_every_flipped_bit_that_a_checksum_covers_is_refused(record_property):
    record_property("tried", 8 * len(SMALL))
    expected = read(SMALL)
    for at in range(len(SMALL)):
        for bit in range(8):
            flipped = SMALL[:at] + bytes([SMALL[at] ^ 1 << bit]) + SMALL[at + 1 :]
            try:
                found = read(flipped)
            except ExtractionError:
                continue
            # Date, flags and system in the header mean nothing; elsewhere deflate can say the same in two ways.
            assert found == expected
            assert at < END_OF_HEADER or gzip.decompress(flipped) == gzip.decompress(SMALL)


# -- other readers -----------------------------------------------------------------------------------------------------

TAKEN = {
    "a root": gz(header(b"/", kind=b"5") + member(b"a") + END),
    "a hard link": gz(member(b"a") + header(b"b", kind=b"1", link=b"a") + END),
    "an old file cut behind a slash": gz(
        archives.pax((b"path", b"n" * 99 + b"/x")) + member(b"n" * 99 + b"/", b"data", kind=b"\0") + END
    ),
    "a prefix": gz(member(b"name", prefix=b"a/b") + END),
    "a contiguous file": gz(member(b"a", kind=b"7") + END),
    "many members of gzip": gz(archives.tar([("a", b"1" * 3000)]), cuts=[100, 2000]),
}


def by_tarfile(packed, tmp_path):
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            archive.extractall(tmp_path, filter="data")
    except Exception:  # noqa: BLE001  whatever it raises, it does not read this
        return None
    return below(tmp_path)


def by_program(*command):
    def unpack(packed, tmp_path):
        done = subprocess.run([*command, "-C", tmp_path], input=packed, capture_output=True, check=False, timeout=60)
        return None if done.returncode else below(tmp_path)

    return unpack


def below(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


READERS = {
    "tarfile": by_tarfile,
    "GNU tar": by_program("tar", "-xzf", "-"),
    "bsdtar": by_program("bsdtar", "-xzf", "-"),
}
NOT_FOR_DISK = {*archives.bombs(), "a long path"}
"""Megabytes of headers, and 1,600 folders within each other, which nothing here could remove again."""
SUITE = {**TAKEN, **{name: data for name, data in archives.hostile().items() if name not in NOT_FOR_DISK}}


@pytest.mark.parametrize("name", SUITE)
def test_where_readers_disagree_ours_refuses_or_reads_what_most_of_them_read(name, tmp_path):
    found = {}
    for reader, unpack in READERS.items():
        folder = tmp_path / reader
        folder.mkdir()
        found[reader] = unpack(SUITE[name], folder)
    try:
        ours = read(SUITE[name])
    except ExtractionError as refused:
        assert name not in TAKEN
        assert str(refused).isprintable()  # noqa: PT017  both outcomes are right
        return
    agreeing = [reader for reader, files in found.items() if files == ours]
    assert len(agreeing) >= 2, (name, found)


# -- no name of a member is ever opened --------------------------------------------------------------------------------

AUDITED = """
import sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from packager import StreamingExtractor, package
from packager.errors import PackagerError
from packager.settings import Settings
from tests import archives
folder = Path(sys.argv[1])
(folder / "trained.tar.gz").write_bytes(archives.trained_model())
(folder / "scratch").mkdir()
small = {name: data for name, data in archives.hostile().items() if len(data) < 100_000}
for number, data in enumerate(small.values()):
    path = folder / f"{number}.tar.gz"
    path.write_bytes(data)
    for strategy in ("auto", "standard"):
        package(
            str(folder / "trained.tar.gz"), {"jetson-xavier": str(path)}, str(folder / "out"), strategy=strategy,
            settings=Settings(scratch_dir=folder / "scratch"),
        )
    StreamingExtractor(Settings()).get_archive_info(path)
    try:
        StreamingExtractor(Settings()).extract_streaming(path, folder / "extracted")
    except PackagerError:
        pass
outside = [path for path in opened if any(part in path for part in ("evil", "passwd", "hidden", "good", "..", "\\x1b"))]
print(len(small), len(opened), outside)
"""


def test_no_name_of_a_hostile_member_ever_reaches_open(tmp_path, record_property):
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    archives_read, opened, outside = done.stdout.splitlines()[-1].split(" ", 2)
    record_property("tried", int(archives_read))
    assert int(archives_read) > 100
    assert int(opened) > int(archives_read)
    assert outside == "[]"
