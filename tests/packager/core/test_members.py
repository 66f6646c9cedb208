from __future__ import annotations

import random
from contextlib import suppress
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.core.members import APPLE_DOUBLE_MAGIC, Admission, ArchiveReader, LeftOut
from packager.core.tar import Entry
from packager.errors import LimitExceededError, StagingNeededError, UnsafeArchiveError
from packager.settings import Settings
from packager.stores.archive import Exclusions
from tests import archives
from tests.archives import END, Chopped, gz, header, member

names = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)
spelled = st.tuples(st.sampled_from(["", "./", ".//"]), names, st.sampled_from(["", "/", "/."])).map("".join)
entries = st.builds(
    Entry, spelled, st.just(0), st.sampled_from(["file", "file", "directory", "hard link"]), link_target=spelled
)


def naive(entry, files, folders):
    """Whether an entry can be admitted, told from all the paths there are, without any cleverness."""
    path = "/".join(part for part in entry.name.split("/") if part not in ("", "."))
    target = "/".join(part for part in entry.link_target.split("/") if part not in ("", "."))
    above = {path[:at] for at, letter in enumerate(path) if letter == "/"}
    if entry.kind == "directory" and not path:
        return "", set()
    if above & files or path in files:
        return None
    if entry.kind != "directory" and (path in folders or (entry.kind == "hard link" and target not in files)):
        return None
    return path, above


@given(st.lists(entries, max_size=8))
def test_paths_are_admitted_exactly_when_all_of_them_can_stand_in_one_folder(stream):
    admission = Admission(Settings())
    files, folders = set(), set()
    for entry in stream:
        expected = naive(entry, files, folders)
        if expected is None:
            with pytest.raises(UnsafeArchiveError):
                admission.admit(entry)
            return
        path, above = expected
        assert admission.admit(entry) == path
        folders |= above
        (folders if entry.kind == "directory" else files).add(path)


@pytest.mark.parametrize("name", archives.unsafe())
def test_an_unsafe_archive_is_refused_in_printable_words_that_say_what_to_do(name):
    with pytest.raises(UnsafeArchiveError) as caught:
        [*ArchiveReader(Chopped(archives.unsafe()[name]), Settings()).files_and_links()]
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert caught.value.next_step


@pytest.mark.parametrize("name", archives.bombs())
def test_a_bomb_exceeds_a_limit(name):
    with pytest.raises(LimitExceededError) as caught:
        [*ArchiveReader(Chopped(archives.bombs()[name]), Settings()).files_and_links()]
    assert caught.value.found > caught.value.limit
    assert f"{caught.value.setting} = {caught.value.limit} (found {caught.value.found})" in caught.value.message


def test_members_up_to_the_limit_pass_and_one_more_does_not():
    settings = Settings(max_members=3)

    def whole(count):
        return gz(b"".join(header(b"%d/" % number, kind=b"5") for number in range(count)) + END)

    assert [*ArchiveReader(Chopped(whole(3)), settings).files()] == []
    with pytest.raises(LimitExceededError) as caught:
        [*ArchiveReader(Chopped(whole(4)), settings).files()]
    assert (caught.value.setting, caught.value.limit, caught.value.found) == ("MAX_ARCHIVE_MEMBERS", 3, 4)


def test_announced_bytes_up_to_the_limit_pass_and_one_more_does_not():
    settings = Settings(max_unpacked_bytes=1000)
    admission = Admission(settings)
    admission.admit(Entry("a", 400, "file"))
    admission.admit(Entry("b", 600, "file"))
    with pytest.raises(LimitExceededError) as caught:
        admission.admit(Entry("c", 1, "file"))
    assert (caught.value.setting, caught.value.limit, caught.value.found) == ("MAX_UNPACKED_BYTES", 1000, 1001)


def test_names_take_a_limited_amount_of_memory():
    admission = Admission(Settings(max_names_bytes=200_000))
    for number in range(900):
        admission.admit(Entry(f"folder/file{number}", 0, "file"))
    with pytest.raises(LimitExceededError, match="MAX_NAMES_BYTES = 200000") as caught:
        admission.admit(Entry("a/" * 600 + "b", 0, "file"))
    assert (caught.value.setting, caught.value.limit) == ("MAX_NAMES_BYTES", 200_000)
    assert caught.value.found > 200_000


def judged(admission, entry):
    with suppress(UnsafeArchiveError):
        admission.admit(entry)


@pytest.mark.parametrize("entry", [Entry("../" * 900, 0, "file"), Entry("a", 0, "hard link", "../" * 900)])
def test_names_of_refused_members_count_towards_the_limit(entry):
    admission = Admission(Settings(max_names_bytes=100_000))
    with pytest.raises(LimitExceededError, match="MAX_NAMES_BYTES"):
        [judged(admission, entry) for _ in range(100)]


def test_a_hard_link_tells_whose_content_it_shares_and_needs_staging_in_a_stream():
    whole = gz(
        member(b"./a/b") + header(b"one", kind=b"1", link=b"a//b") + header(b"two", kind=b"1", link=b"one") + END
    )
    found = [(each.path, each.same_as) for each in ArchiveReader(Chopped(whole), Settings()).files_and_links()]
    assert found == [("a/b", ""), ("one", "a/b"), ("two", "a/b")]
    with pytest.raises(StagingNeededError) as caught:
        [*ArchiveReader(Chopped(whole), Settings()).files()]
    assert (caught.value.member, caught.value.link_target) == ("one", "a/b")


def test_an_archive_of_folders_only_has_no_files():
    whole = gz(header(b"./", kind=b"5") + header(b"a/", kind=b"5") + header(b"a/", kind=b"5") + END)
    reader = ArchiveReader(Chopped(whole), Settings())
    assert [*reader.files()] == []
    assert (reader.members, reader.packed_bytes, reader.unpacked_bytes) == (3, len(whole), 5 * 512)


def read(whole, exclude=(), **limits):
    reader = ArchiveReader(Chopped(gz(whole)), Settings(**limits), Exclusions(exclude).cover)
    return {each.path: each.read() for each in reader.files()}, reader.left_out


@pytest.mark.parametrize("name", [b"/", b".", b"./", b"", b"//", b"./."])
def test_a_member_for_the_root_itself_is_taken_when_it_is_a_folder(name):
    assert read(header(name, kind=b"5") + member(b"a") + END) == ({"a": b"data"}, LeftOut())


DOUBLE = APPLE_DOUBLE_MAGIC + b"\0\2\0\0Mac OS X"


def test_what_macos_puts_beside_files_is_left_out_and_counted():
    kept = {"model.onnx": b"weights", "._": b"x", "sub/._short": b"\0\5\x16", "._plain": b"text", "a.DS_Store": b"x"}
    junk = {"._model.onnx": DOUBLE, "sub/._deep.so": DOUBLE, ".DS_Store": b"x", "s/.DS_Store": b"", "__MACOSX/a": b"x"}
    files = [pair for pairs in zip(junk.items(), kept.items(), strict=True) for pair in pairs]
    found, left_out = read(archives.tar(files))
    assert found == kept
    assert left_out == LeftOut(5, [*junk])


def test_a_companion_is_left_out_whole_however_large_it_is():
    found, left_out = read(archives.tar([("._big", DOUBLE + bytes(300_000)), ("big", b"b" * 300_000)]))
    assert (found, left_out.count) == ({"big": b"b" * 300_000}, 1)


def test_only_the_first_few_that_are_left_out_are_named():
    _, left_out = read(archives.tar([(f"{number}/.DS_Store", b"") for number in range(50)]))
    assert (left_out.count, len(left_out.names)) == (50, 20)


@pytest.mark.parametrize("kind", [b"2", b"3", b"6"])
def test_a_link_or_device_is_refused_whatever_its_name(kind):
    with pytest.raises(UnsafeArchiveError):
        read(header(b".DS_Store", kind=kind, link=b"/etc/passwd") + END)


def test_links_between_companions_go_with_them_and_others_are_refused():
    both = member(b"._a", DOUBLE) + member(b"a")
    assert read(both + header(b"._b", kind=b"1", link=b"./._a") + END)[1].count == 2
    with pytest.raises(UnsafeArchiveError, match="which is left out") as caught:
        read(both + header(b"b", kind=b"1", link=b"._a") + END)
    assert caught.value.next_step == "Leave out both, or neither."


@given(
    st.lists(names, min_size=1, max_size=5, unique=True),
    st.lists(st.sampled_from(["a", "b", "a*", "*", "b/a", "a/*", "./a/b", "*/b", "b/"]), max_size=3),
)
def test_a_pattern_covers_paths_and_what_lies_below_a_folder_that_matches(paths, globs):
    exclusions = Exclusions(globs)
    for path in paths:
        parts = path.split("/")
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        plain = [glob.removeprefix("./").rstrip("/") for glob in globs]
        expected = any(fnmatchcase(name, glob) for glob in plain for name in (above if "/" in glob else parts))
        assert exclusions.cover(path) == expected


def test_excluded_members_are_left_out_whatever_they_are_and_their_names_are_free():
    whole = member(b"model") + header(b"libdlr.so", kind=b"2", link=b"libdlr.so.1") + member(b"notes/a") + member(b"a")
    found, left_out = read(whole + END, exclude=["*.so", "notes"])
    assert (found, left_out.names) == ({"model": b"data", "a": b"data"}, ["libdlr.so", "notes/a"])
    with pytest.raises(UnsafeArchiveError):
        read(whole + member(b"../evil") + END, exclude=["*"])


def test_a_hard_link_counts_with_the_size_of_its_target():
    def whole(links):
        return member(b"a", b"x" * 1000) + b"".join(header(b"%d" % n, kind=b"1", link=b"a") for n in range(links)) + END

    settings = Settings(max_unpacked_bytes=40_000)
    reader = ArchiveReader(Chopped(gz(whole(3))), settings)
    assert [(each.path, each.size_bytes) for each in reader.files_and_links()] == [
        ("a", 1000),
        ("0", 1000),
        ("1", 1000),
        ("2", 1000),
    ]
    with pytest.raises(LimitExceededError) as caught:
        [*ArchiveReader(Chopped(gz(whole(40))), settings).files_and_links()]
    assert (caught.value.setting, caught.value.found) == ("MAX_UNPACKED_BYTES", 41_000)


def test_hard_links_to_one_large_file_exceed_the_ratio():
    noise = random.Random(1).randbytes(1 << 20)
    links = b"".join(header(b"%d" % n, kind=b"1", link=b"a") for n in range(300))
    with pytest.raises(LimitExceededError) as caught:
        [*ArchiveReader(Chopped(gz(member(b"a", noise) + links + END)), Settings()).files_and_links()]
    assert (caught.value.setting, caught.value.limit, caught.value.found) == ("MAX_COMPRESSION_RATIO", 200, 201)
