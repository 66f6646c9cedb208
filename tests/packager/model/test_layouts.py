from __future__ import annotations

import json
from pathlib import Path

import pytest

from packager.core.component import streamed_members
from packager.errors import ExtractionError, RequestError
from packager.model.identity import component_key
from packager.model.layouts import COMPILED, COMPILED_ONNX, IMPORTED_ONNX, Component, layout_of
from packager.model.targets import TARGETS, served_by
from packager.model.trained import GivenManifest
from packager.settings import Settings
from packager.stores import Stores
from tests import archives
from tests.packages import Model, ground

MANIFEST = {**archives.MANIFEST, "dataset": {"image_width": 8, "image_height": 8}}
ONNX = {**MANIFEST, "runtime": "onnx", "runtime_artifact": "model.onnx"}
SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def component(uri, manifest=MANIFEST, label="arm64-cpu", layout=COMPILED):
    return Component(label, served_by(label), Stores().source(str(uri)), layout, GivenManifest(manifest))


def entries_of(component):
    """What goes into a component: its manifest, and its files by name."""
    contents = component.contents(Settings())
    [(name, manifest)] = contents.head
    assert name == "manifest.json"
    files = {}
    with streamed_members(component.source, Settings()) as (members, packed_bytes):
        for path, size_bytes, readinto in contents.files(members):
            files[path] = bytearray(size_bytes)
            assert readinto(memoryview(files[path])) == size_bytes
        assert packed_bytes() == component.packed_bytes()
    return manifest, files


@pytest.mark.parametrize(
    ("target", "imported", "layout"),
    [
        *((name, False, COMPILED_ONNX if name.startswith("onnx") else COMPILED) for name in TARGETS),
        ("onnx", False, COMPILED_ONNX),
        ("x86_64-cpu", True, IMPORTED_ONNX),
        ("onnx-jetson-xavier-jp5", True, COMPILED_ONNX),
    ],
)
def test_the_layout_follows_from_the_target_and_from_where_the_model_comes(target, imported, layout):
    assert layout_of(target, imported=imported) == layout


def test_manifest_layout_and_bytes_are_what_the_identity_is_made_of(here):
    uri = here.compiled(SMALL)
    same = Path(uri).with_name("same.tar.gz")
    same.write_bytes(Path(uri).read_bytes())
    key, first = component(uri).identify()
    assert key == component_key(first)
    assert (key, first) == component(same).identify() == component(uri, label="x86_64-cpu").identify()
    others = [
        component(uri, manifest={**MANIFEST, "more": 1}),
        component(uri, layout=IMPORTED_ONNX),
        component(here.compiled(Model({"compiled.so": 5}))),
    ]
    assert len({first, *(each.identify()[1] for each in others)}) == 4


def test_neo_files_lie_below_the_type_of_the_first_stage_behind_the_manifest(here):
    manifest, files = entries_of(component(here.compiled(SMALL)))
    assert manifest == json.dumps(MANIFEST, indent=2).encode()
    assert files == {f"mochi/{name}": data for name, data in SMALL.files.items()}


def test_a_compiled_onnx_export_names_its_first_model_in_the_manifest_and_keeps_every_file(here):
    model = Model({"export/readme.txt": 5, "export/first.onnx": 50, "second.onnx": 50})
    manifest, files = entries_of(component(here.compiled(model), label="onnx", layout=COMPILED_ONNX))
    assert files == {f"mochi/{name}": data for name, data in model.files.items()}
    assert json.loads(manifest) == {
        "model_graph": MANIFEST["model_graph"],
        "dataset": MANIFEST["dataset"],
        "runtime": "onnx",
        "runtime_artifact": "first.onnx",
    }


def test_a_compiled_export_without_a_model_is_refused(here):
    with pytest.raises(ExtractionError) as raised:
        entries_of(component(here.compiled(Model({"model.txt": 5})), label="onnx", layout=COMPILED_ONNX))
    assert ".onnx" in str(raised.value)


def test_of_an_imported_model_only_the_file_that_the_manifest_names_goes_along_once(here):
    model = Model(
        {"model.onnx": 5, "export_artifacts/a/model.onnx": 7, "export_artifacts/other.onnx": 5}
        | {"export_artifacts/b/model.onnx": 9, "config.yaml": 5}
    )
    _, files = entries_of(component(here.compiled(model), ONNX, layout=IMPORTED_ONNX))
    assert files == {"mochi/model.onnx": model.files["export_artifacts/a/model.onnx"]}


def test_an_imported_model_without_the_file_that_the_manifest_names_is_refused(here):
    with pytest.raises(ExtractionError) as raised:
        entries_of(component(here.compiled(Model({"model.onnx": 5})), ONNX, layout=IMPORTED_ONNX))
    assert "no file for the component" in str(raised.value)


@pytest.mark.parametrize(("manifest", "layout"), [(ONNX, COMPILED), (MANIFEST, IMPORTED_ONNX)])
def test_a_manifest_of_another_kind_than_the_layout_is_a_request_error(here, manifest, layout):
    with pytest.raises(RequestError) as raised:
        component(here.compiled(SMALL), manifest, layout=layout).contents(Settings())
    assert raised.value.field == "compiled"


def test_a_member_named_like_the_manifest_lies_in_the_folder_and_not_over_it(here):
    _, files = entries_of(component(here.compiled(Model({"manifest.json": 5, "compiled.so": 5}))))
    assert list(files) == ["mochi/manifest.json", "mochi/compiled.so"]
