from __future__ import annotations

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from packager.errors import ManifestError
from packager.model.strict import MAX_DEPTH, read_json, read_yaml

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
plain_values = st.recursive(
    st.integers(-(10**17), 10**17) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=10,
)
snippets = st.lists(st.sampled_from([*"[]{}:,-?!&*|>'\"%@#\n \t\x00éa01", "a: ", "- ", "---\n", "<<: "]), max_size=30)


@pytest.fixture(params=["C", "Python"])
def parser(request, monkeypatch):
    if request.param == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader")


@given(json_values)
def test_json_reads_as_the_standard_library_reads_it(value):
    assert read_json(json.dumps(value).encode(), "m.json") == value


@given(st.binary())
def test_json_of_any_bytes_is_a_value_or_a_manifest_error(data):
    with suppress(ManifestError):
        read_json(data, "m.json")


@given(plain_values)
def test_yaml_reads_back_what_was_dumped(value):
    assert read_yaml(yaml.safe_dump(value).encode(), "c.yaml") == value


@given(st.binary() | snippets.map("".join).map(str.encode))
def test_yaml_of_any_bytes_is_a_value_or_a_manifest_error(data):
    with suppress(ManifestError):
        read_yaml(data, "c.yaml")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b"9" * 5000, "5000 digits"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands 2 times"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'"\xff"', "utf-8"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} levels"),
        (b"[" * 1_000_000, f"more than {MAX_DEPTH} levels"),
        (b'{"a":' * 100_000, f"more than {MAX_DEPTH} levels"),
        (b"", "Expecting value"),
    ],
)
def test_json_that_readers_disagree_on_is_refused(data, reason):
    with pytest.raises(ManifestError, match=reason):
        read_json(data, "m.json")


def test_both_formats_go_down_to_the_deepest_level_allowed():
    data = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert read_json(data, "m.json") == read_yaml(data, "c.yaml")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a: &x [1]\nb: *x", "anchor or an alias"),
        (b"a: &x 1", "anchor or an alias"),
        (b"a: !!python/object/apply:os.system [true]", "the tag"),
        (b"a: ! 1", "the tag"),
        (b"a: 1\na: 2", "the key 'a' stands 2 times"),
        (b"? [1]\n: 2", "a key is a list or a mapping"),
        (b"--- 1\n--- 2\n", "2 documents"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} levels"),
        (b"[" * 100_000, f"more than {MAX_DEPTH} levels"),
        (b"- " * 100_000, f"more than {MAX_DEPTH} levels"),
        (b"a: [1", "expected"),
        (b"a: \x00", "control characters|not allowed"),
        (b"a: \xff", "utf-8"),
    ],
)
def test_yaml_that_expands_or_misleads_is_refused(data, reason):
    with pytest.raises(ManifestError, match=reason):
        read_yaml(data, "c.yaml")


@pytest.mark.usefixtures("parser")
def test_only_plain_decimal_integers_are_numbers():
    data = b"{a: 640, b: -1, c: +5, d: 0, e: 012, f: 0x10, g: '7', h: yes, i: 1:30, j: 2001-99-99, k: 1.5, l: 1_000}"
    texts = {"e": "012", "f": "0x10", "g": "7", "h": "yes", "i": "1:30", "j": "2001-99-99", "k": "1.5", "l": "1_000"}
    assert read_yaml(data, "c.yaml") == {"a": 640, "b": -1, "c": 5, "d": 0} | texts


@pytest.mark.usefixtures("parser")
def test_an_empty_yaml_document_is_none():
    assert read_yaml(b"# only a comment\n", "c.yaml") is None


@pytest.mark.usefixtures("parser")
def test_yaml_may_begin_with_a_byte_order_mark():
    assert read_yaml(b"\xef\xbb\xbfa: 1", "c.yaml") == {"a": 1}
