"""Every hostile tar in every container of the layout `files`: the verdict is that on the tar.gz of the same bytes."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from packager.errors import ExtractionError, LimitExceededError, UnsafeArchiveError
from packager.packaging import package
from packager.settings import Settings
from packager.stores.archive import Archive
from packager.stores.file import FileSource
from tests import archives
from tests.archives import END, gz, header, member
from tests.containers import PACKERS
from tests.hostile import zips
from tests.packages import ground

full = pytest.mark.reliability
OTHERS = [kind for kind in PACKERS if kind != "tar.gz"]


def unpacked(packed):
    """What is inside the gzip, as far as it is sound; b"" where nothing is."""
    found = []
    with suppress(EOFError, OSError), gzip.open(io.BytesIO(packed)) as file:
        while piece := file.read1(1 << 20):
            found.append(piece)
    return b"".join(found)


def is_whole(packed):
    with suppress(EOFError, OSError):
        return gzip.decompress(packed) is not None
    return False


WHOLE = [name for name, packed in archives.hostile().items() if packed and is_whole(packed)]
"""Those whose harm is in the tar, and not in the gzip around it."""

HEAVY = {name for name in WHOLE if len(unpacked(archives.hostile()[name])) > 8 << 20}

SOUND = {
    "a hard link": member(b"a") + header(b"b", kind=b"1", link=b"a") + END,
    "a prefix": member(b"name", prefix=b"a/b") + END,
    "a contiguous file": member(b"a", kind=b"7") + END,
    "files and folders": archives.tar([("a/b", b"1" * 3000), ("c", b""), ("a/d", bytes(range(256)) * 300)]),
    "names of every script": archives.tar([("模型/é", b"1"), ("a b", b"2"), ("~", b"3"), ("-rf", b"4")]),
    "nothing but folders": header(b"d/", kind=b"5") + END,
    "no member": END,
}


REFUSED = (ExtractionError, UnsafeArchiveError, LimitExceededError)


def tar_of(name):
    return SOUND[name] if name in SOUND else unpacked(archives.hostile()[name])


def verdict(here, model, **options):
    """The type of the error, or the files of the component."""
    limits = Settings(scratch_dir=here.root / "scratch", max_attempts=1)
    named = {"layout": "files", "name": "n", "version": "1.0.0", "force": True, "settings": limits, **options}
    (made,) = package(str(model), {}, here.out, **named).components
    if made.error is None:
        with zipfile.ZipFile(made.uri) as component:
            return {name: component.read(name) for name in component.namelist()}
    assert isinstance(made.error, ExtractionError), made.error
    assert str(made.error).isprintable()
    assert made.error.next_step
    assert here.published() == set()
    return type(made.error)


def verdict_on(data, name):
    with ground() as here:
        path = here.root / name
        path.write_bytes(data)
        return verdict(here, path)


@cache
def by_gzip(name):
    return verdict_on(gz(tar_of(name), levels=(1,)), "m.tar.gz")


def pairs():
    """Every case in every compression: what takes long, and names again in compressions alike, in the full run."""
    for name, kind in product([*SOUND, *WHOLE], OTHERS):
        again = name.startswith(("outside: ", "unprintable: ", "the size")) and kind in {"tar.bz2", "tar.xz"}
        yield pytest.param(name, kind, marks=full if again or name in HEAVY else ())


@pytest.mark.parametrize(("name", "kind"), [*pairs()])
def test_a_tar_has_the_same_verdict_in_every_compression(name, kind):
    assert verdict_on(PACKERS[kind](tar_of(name)), f"m.{kind}") == by_gzip(name)


# -- damage of the compression itself ----------------------------------------------------------------------------------

SMALL = archives.tar([("compiled.so", b"code" * 30), ("sub/compiled.params", bytes(range(200)))])
MARK = SMALL.rstrip(b"\0")
WITHOUT_MARK = -(-len(MARK) // archives.BLOCK) * archives.BLOCK
"""How many bytes of the tar stand before the two blocks that end it."""


@pytest.fixture
def read(tmp_path):
    """Reads the files of an archive as they would be packaged."""

    def read_(packed, kind):
        path = tmp_path / f"m.{kind}"
        path.write_bytes(packed)
        with Archive(FileSource(path), of_any_kind=True).open(Settings()) as archive:
            return {each.path: each.read() for each in archive.files_and_links()}

    return read_


@pytest.mark.parametrize("kind", OTHERS)
def test_an_archive_that_is_cut_anywhere_is_refused_in_every_compression(read, kind, record_property):
    packed = PACKERS[kind](SMALL)
    cuts = range(0, WITHOUT_MARK + 2 * archives.BLOCK, 11) if kind == "tar" else range(len(packed))
    record_property("tried", len(cuts))
    for length in cuts:
        with pytest.raises(ExtractionError):
            read(packed[:length], kind)


@pytest.mark.parametrize("bits", [pytest.param(8, marks=full), 1])
@pytest.mark.parametrize("kind", [each for each in OTHERS if each != "tar"])
def test_a_flipped_bit_is_refused_or_changes_nothing_in_every_compression(read, kind, bits, record_property):
    packed = PACKERS[kind](SMALL)
    expected = read(packed, kind)
    record_property("tried", bits * len(packed))
    for at in range(len(packed)):
        for bit in range(bits):
            flipped = packed[:at] + bytes([packed[at] ^ 1 << (at + bit) % 8]) + packed[at + 1 :]
            with suppress(ExtractionError):
                assert read(flipped, kind) == expected


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("behind", [b"rubbish", bytes(100) + b"rubbish", b"\1", bytes(1 << 20) + b"\1"])
def test_what_follows_an_archive_is_refused_in_every_compression(kind, behind):
    assert verdict_on(PACKERS[kind](SMALL) + behind, f"m.{kind}") in {ExtractionError, UnsafeArchiveError}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_second_archive_behind_the_first_is_refused_in_every_compression(kind):
    hidden = PACKERS[kind](archives.tar([("hidden", b"x")]))
    assert verdict_on(PACKERS[kind](SMALL) + hidden, f"m.{kind}") is UnsafeArchiveError


@pytest.mark.parametrize("outer", OTHERS)
def test_an_archive_is_unpacked_once_and_not_again(outer):
    twice = PACKERS[outer](gz(SMALL)) if outer != "tar" else archives.tar([("m.tar.gz", gz(SMALL))])
    expected = {"m.tar.gz": gz(SMALL)} if outer == "tar" else ExtractionError
    assert verdict_on(twice, f"m.{outer}") == expected


# -- ZIPs that lie -----------------------------------------------------------------------------------------------------

READERS_DISAGREE = {"a program before it", "something between the entries"}
"""Sound by the directory, and other files for those who read from front to back."""


def by_zipfile(data):
    with zipfile.ZipFile(io.BytesIO(data), metadata_encoding="utf-8") as archive:
        return {each.filename: archive.read(each) for each in archive.infolist() if not each.is_dir()}


@pytest.mark.parametrize("name", [*zips.lying(), *zips.sound()])
def test_a_zip_is_refused_or_is_what_another_reader_finds(name):
    data = {**zips.lying(), **zips.sound()}[name]
    found = verdict_on(data, "m.zip")
    if name in READERS_DISAGREE:
        assert found in REFUSED
    elif name in zips.sound():
        assert found == by_zipfile(data)
    else:
        assert found in REFUSED or found == by_zipfile(data)


# -- several files that are no archive ---------------------------------------------------------------------------------

OF_NAMES = (
    "outside: ",
    "unprintable: ",
    "twice: ",
    "a file",
    "a folder, then",
    "a long segment",
    "a symbolic",
    "a dev",
)
"""Harm that needs no tar: names, links and devices. What only a tar can say, like two sizes, is left out."""


def members_of(name):
    """The members by name, with their content; none where two have one name, which only a tar can say."""
    with tarfile.open(fileobj=io.BytesIO(tar_of(name))) as archive:
        members = [(each, archive.extractfile(each).read() if each.isreg() else b"") for each in archive]
    found = {each.name: (each, data) for each, data in members}
    return found if len(found) == len(members) else {}


def cases(can_be):
    """The cases that can be there without an archive, with their members."""
    names = [*SOUND, *(name for name in WHOLE if name.startswith(OF_NAMES) and name not in archives.bombs())]
    return {name: members for name in names if (members := members_of(name)) and can_be(members)}


def are_objects(members):
    # The local server knows no way to a key with a line feed in it.
    return all((each.isreg() or each.isdir()) and "\n" not in each.name for each, _ in members.values())


def are_files(members):
    """Whether a file system can hold them side by side, below a folder."""
    folders = {above for name in members for above in map(str, Path(name).parents)}
    for name, (each, _) in members.items():
        plain = os.path.normpath(name) == name and name != ".." and not name.startswith(("/", "../"))
        fits = max(len(os.fsencode(part)) for part in name.split("/")) <= 255
        kinds = each.isreg() or each.isdir() or each.islnk() or each.issym() or each.isfifo()
        if not (plain and fits and kinds) or (name in folders and not each.isdir()):
            return False
    return True


def lay(root, members):
    root.mkdir()
    for name, (each, data) in members.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if each.isdir():
            path.mkdir(exist_ok=True)
        elif each.issym():
            path.symlink_to(each.linkname)
        elif each.islnk():
            path.hardlink_to(root / each.linkname)
        elif each.isfifo():
            os.mkfifo(path)
        else:
            path.write_bytes(data)


FOLDERS, PREFIXES = cases(are_files), cases(are_objects)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_the_same_files_has_the_verdict_of_the_tar(name):
    with ground() as here:
        lay(here.root / "m", FOLDERS[name])
        assert verdict(here, here.root / "m") == by_gzip(name)


@pytest.fixture(scope="module")
def bucket(s3_server):
    return s3_server.client(), s3_server.bucket()


@pytest.mark.parametrize("name", PREFIXES)
def test_a_prefix_of_the_same_objects_has_the_verdict_of_the_tar(bucket, name):
    client, bucket_ = bucket
    prefix = f"{os.urandom(6).hex()}/"
    for key, (each, data) in PREFIXES[name].items():
        client.put_object(Bucket=bucket_, Key=f"{prefix}{key}{'/' if each.isdir() else ''}", Body=data)
    with ground() as here:
        assert verdict(here, f"s3://{bucket_}/{prefix}", client=client) == by_gzip(name)
