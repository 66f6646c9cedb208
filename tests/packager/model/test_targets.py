from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.errors import RequestError
from packager.model.targets import SERVED_BY_COMPILED_ONNX, SERVED_BY_IMPORTED_ONNX, TARGETS, Target, served_by, target

SERVER = "aws.edgeml.dda.LocalServer."

anything = (
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
)


@pytest.mark.parametrize(
    ("name", "architecture", "variant"),
    [
        ("jetson-xavier", "aarch64", "arm64JP4"),
        ("arm64-cpu", "aarch64", "arm64JP4"),
        ("jetson-xavier-jp5", "aarch64", "arm64JP5"),
        ("jetson-xavier-jp6", "aarch64", "arm64JP6"),
        ("jetson-xavier-jp7", "aarch64", "arm64JP7"),
        ("onnx-jetson-xavier-jp5", "aarch64", "arm64JP5"),
        ("onnx-jetson-xavier-jp6", "aarch64", "arm64JP6"),
        ("onnx-jetson-xavier-jp7", "aarch64", "arm64JP7"),
        ("x86_64-cpu", "amd64", "amd64"),
        ("x86_64-cuda", "amd64", "amd64"),
    ],
)
def test_each_target_has_its_own_architecture_and_server(name, architecture, variant):
    assert target(name) == Target(name, architecture, SERVER + variant)
    assert served_by(name) == (target(name),)


def test_there_are_ten_targets_which_nobody_can_change():
    assert len(TARGETS) == 10
    with pytest.raises(TypeError):
        TARGETS["jetson-xavier-jp8"] = TARGETS["jetson-xavier"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        TARGETS["jetson-xavier"].architecture = "amd64"  # type: ignore[misc]


@given(anything.filter(lambda value: not isinstance(value, str) or value not in TARGETS))
def test_anything_else_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(RequestError) as caught:
        target(name)
    assert caught.value.known == sorted(TARGETS)
    assert "x86_64-cpu" in caught.value.next_step
    if name != "onnx":
        with pytest.raises(RequestError) as caught:
            served_by(name)
        assert "onnx" in caught.value.known


def test_the_error_shows_no_control_characters():
    with pytest.raises(RequestError) as caught:
        target("\x1b[31mred")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("compile_target", "export_format"), [("onnx", None), ("jetson-xavier-jp6", "onnx"), (None, "onnx")]
)
def test_one_onnx_export_serves_three_targets(compile_target, export_format):
    assert served_by(compile_target, export_format) == SERVED_BY_COMPILED_ONNX
    assert [each.name for each in SERVED_BY_COMPILED_ONNX] == [f"onnx-jetson-xavier-jp{n}" for n in (5, 6, 7)]


def test_an_imported_onnx_model_serves_four_targets():
    names = [each.name for each in SERVED_BY_IMPORTED_ONNX]
    assert names == ["jetson-xavier-jp5", "jetson-xavier-jp6", "jetson-xavier-jp7", "x86_64-cpu"]


def test_the_documentation_has_every_target_with_its_architecture_and_server():
    text = (Path(__file__).parents[3] / "docs" / "components.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and SERVER in line]
    for each in TARGETS.values():
        [row] = [row for row in rows if f"`{each.name}`" in row]
        assert f"| {each.architecture} | `{each.dependency}` |" in row
