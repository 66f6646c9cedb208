from __future__ import annotations

import posixpath
import unicodedata
from pathlib import PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from packager.core import names
from packager.core.names import MAX_PATH_BYTES, MAX_SEGMENT_BYTES, MOST_NUMBER, NameTable, safe_path
from packager.errors import UnsafeArchiveError
from tests.archive_strategies import segments
from tests.archives import OUTSIDE, UNPRINTABLE

tricky = st.text("./\\:aC\0\x1b\u2025\uff0e\uff0f\uff3c\u2100\udcff é", max_size=12) | st.text("./:a", max_size=6)


@given(st.text() | tricky)
@example("a" * 300)
@example("0:x")
def test_any_name_is_a_plain_path_below_the_root_or_refused(name):
    try:
        path = safe_path(name)
    except UnsafeArchiveError as error:
        assert str(error).isprintable()  # noqa: PT017  both outcomes are right
        return
    assert path.isprintable()
    for reading in (path, unicodedata.normalize("NFKC", path), path.replace("\\", "/")):
        assert not reading.startswith("/")
        assert posixpath.normpath(posixpath.join("/root", reading)).startswith("/root")
        assert not PureWindowsPath(reading).drive
        assert ".." not in PureWindowsPath(reading).parts
    assert not {"", ".", ".."} & {*path.split("/")} or path == ""
    assert safe_path(path) == path


@given(st.lists(st.tuples(segments, st.sampled_from(["/", "//", "/./", "/.//./"])), min_size=1, max_size=5))
def test_dots_and_doubled_slashes_change_nothing(parts):
    spelled = "".join(segment + slash for segment, slash in parts)
    plain = "/".join(segment for segment, _ in parts)
    assert safe_path(spelled) == safe_path(f"./{spelled}") == safe_path(plain) == plain


plain_words = st.text("abcxyzABCXYZ0189_-äé模 ", min_size=1, max_size=40).map(lambda word: f"x{word}x")
"""Letters, digits and what people put between them; nothing here is known to `safe_path`."""


@given(st.lists(plain_words, min_size=1, max_size=6).map("/".join))
def test_a_plain_path_stays_as_it_is(path):
    assert safe_path(path) == path


@pytest.mark.parametrize("name", [*OUTSIDE, *UNPRINTABLE, "a\0b", "a\udcffb"])
def test_a_spelling_of_outside_or_an_unprintable_name_is_refused_in_printable_words(name):
    with pytest.raises(UnsafeArchiveError) as caught:
        safe_path(name)
    assert str(caught.value).isprintable()
    assert caught.value.as_dict()["member"].isprintable()


@pytest.mark.parametrize(
    "name", ["a..b", "...", "..a", "a../b", ".a", "a.", "a\u2026b", "-", "~", "$HOME", "%2e%2e", "aa:b"]
)
def test_a_name_that_only_looks_like_outside_is_taken(name):
    assert safe_path(name) == name


@pytest.mark.parametrize("name", ["", ".", "./", "./.", ".//."])
def test_a_name_without_segments_is_the_root(name):
    assert safe_path(name) == ""


@pytest.mark.parametrize("letter", ["a", "é", "\u6a21", "\U0001d4d0"])
def test_a_segment_as_long_as_a_file_system_takes_passes_and_one_byte_more_does_not(letter):
    width = len(letter.encode())
    assert safe_path("b" * (MAX_SEGMENT_BYTES % width) + letter * (MAX_SEGMENT_BYTES // width))
    with pytest.raises(UnsafeArchiveError, match=f"{MAX_SEGMENT_BYTES + 1} bytes"):
        safe_path("b" * ((MAX_SEGMENT_BYTES + 1) % width) + letter * ((MAX_SEGMENT_BYTES + 1) // width))


def test_a_path_as_long_as_a_device_takes_passes_and_one_byte_more_does_not():
    longest = "/".join(["a" * 255] * 12)
    assert len(longest) + 1 == MAX_PATH_BYTES
    assert safe_path(f"{longest}")
    shorter = "é" + longest[3:]
    assert safe_path(shorter + "b/"[::-1])
    with pytest.raises(UnsafeArchiveError, match=str(MAX_PATH_BYTES + 1)):
        safe_path(shorter + "/bc")


def test_a_name_that_is_much_too_long_is_never_normalized(monkeypatch):
    monkeypatch.setattr(names, "unicodedata", None)
    with pytest.raises(UnsafeArchiveError, match="200001 characters"):
        safe_path("a" + "\u0300\u0316" * 100_000)


def test_what_is_not_utf_8_is_told_as_that():
    with pytest.raises(UnsafeArchiveError, match="not UTF-8"):
        safe_path("weights\udcff")


@given(st.text("ab./-_1", max_size=12) | st.text("a./\\:\n é", max_size=6))
def test_the_short_way_for_plain_names_says_what_the_long_way_says(name):
    if names._as_it_stands(name) and len(name) <= MAX_SEGMENT_BYTES:
        assert not names._outside(name)
        assert "/".join(names._plain_segments(name)) == name


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, MOST_NUMBER))), st.integers(0, 2000))
def test_a_table_of_names_keeps_the_first_number_of_each(named, more):
    table, plain = NameTable(), {}
    for name, number in [*named, *((str(each), each) for each in range(more))]:
        assert table.get(name) == plain.get(name)
        assert table.add(name, number) == (name not in plain)
        plain.setdefault(name, number)
    assert all(table.get(name) == number for name, number in plain.items())
    assert table.get("not there") is None
