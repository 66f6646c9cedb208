from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.errors import RequestError
from packager.model import identity
from packager.model.identity import component_identity, component_key

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
marks = st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple)
inputs = st.tuples(st.lists(marks, max_size=3), json_values, st.text())


@given(inputs, inputs)
def test_only_equal_inputs_have_equal_identities(one, other):
    assert component_identity(*one) == component_identity(*one)
    # Compared as text: to Python 1, 1.0 and True are equal, and dicts are whatever their order.
    equal = json.dumps(one) == json.dumps(other)
    assert (component_identity(*one) == component_identity(*other)) == equal


@given(inputs)
def test_the_key_has_one_dot_and_the_ending_devices_need(one):
    key = component_key(component_identity(*one))
    folder, model, file_name = key.split("/")
    short = component_identity(*one)[:12]
    assert (folder, model) == ("model_artifacts", f"model-{short}")
    assert file_name == f"{short}_greengrass_model_component.zip"
    assert key.count(".") == 1


def test_a_new_format_version_gives_every_component_a_new_identity(monkeypatch):
    before = component_identity([], {}, "neo")
    monkeypatch.setattr(identity, "FORMAT_VERSION", identity.FORMAT_VERSION + 1)
    assert component_identity([], {}, "neo") != before


def test_another_process_gives_the_same_identity():
    code = (
        "from packager.model.identity import component_identity as i;"
        " print(i([[('etag', 'x')]], {'b': 1, 'a': 2}, 'neo'))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == component_identity([[("etag", "x")]], {"b": 1, "a": 2}, "neo")


@pytest.mark.parametrize("no_json", [float("nan"), {"a": {1, 2}}, b"bytes", object()])
def test_what_is_no_json_value_has_no_identity(no_json):
    with pytest.raises(RequestError):
        component_identity([], no_json, "neo")


@pytest.mark.parametrize("no_identity", ["", "abc", "A" * 64, "../" * 20, "é" * 64])
def test_a_key_is_made_of_hexadecimal_digits_only(no_identity):
    with pytest.raises(RequestError):
        component_key(no_identity)
