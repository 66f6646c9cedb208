from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.core import members as module
from packager.core.members import Admission, ArchiveReader
from packager.core.tar import Entry
from packager.errors import LimitExceededError, StagingNeededError, UnsafeArchiveError
from packager.settings import Settings
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
    assert caught.value.setting in str(caught.value) or "names" in str(caught.value)


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


def test_names_take_a_limited_amount_of_memory(monkeypatch):
    monkeypatch.setattr(module, "MAX_NAMES_BYTES", 100_000)
    admission = Admission(Settings())
    for number in range(900):
        admission.admit(Entry(f"folder/file{number}", 0, "file"))
    with pytest.raises(LimitExceededError, match=r"97\.7 KiB"):
        admission.admit(Entry("a/" * 600 + "b", 0, "file"))


def test_a_hard_link_tells_whose_content_it_shares_and_needs_staging_in_a_stream():
    whole = gz(
        member(b"./a/b") + header(b"one", kind=b"1", link=b"a//b") + header(b"two", kind=b"1", link=b"one") + END
    )
    found = [(each.path, each.same_as) for each in ArchiveReader(Chopped(whole), Settings()).files_and_links()]
    assert found == [("a/b", ""), ("one", "a/b"), ("two", "one")]
    with pytest.raises(StagingNeededError) as caught:
        [*ArchiveReader(Chopped(whole), Settings()).files()]
    assert (caught.value.member, caught.value.link_target) == ("one", "a/b")


def test_an_archive_of_folders_only_has_no_files():
    whole = gz(header(b"./", kind=b"5") + header(b"a/", kind=b"5") + header(b"a/", kind=b"5") + END)
    reader = ArchiveReader(Chopped(whole), Settings())
    assert [*reader.files()] == []
    assert (reader.members, reader.packed_bytes, reader.unpacked_bytes) == (3, len(whole), 5 * 512)
