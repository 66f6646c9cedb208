from __future__ import annotations

import json
from pathlib import Path

import pytest

from packager.errors import ExtractionError, RequestError
from packager.model.identity import component_key
from packager.model.layouts import COMPILED, COMPILED_ONNX, IMPORTED_ONNX, Component, layout_of
from packager.model.targets import TARGETS, served_by
from packager.model.trained import GivenManifest
from packager.settings import Settings
from packager.stores import Stores
from packager.stores.archive import Archive
from tests import archives
from tests.packages import Model, ground

MANIFEST = {**archives.MANIFEST, "dataset": {"image_width": 8, "image_height": 8}}
ONNX = {**MANIFEST, "runtime": "onnx", "runtime_artifact": "model.onnx"}
SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def component(uri, manifest=MANIFEST, label="arm64-cpu", layout=COMPILED, *, model_file=None, exclude=()):
    return Component(
        label,
        served_by(label),
        Archive(Stores().source(str(uri)), exclude=exclude),
        layout,
        GivenManifest(manifest),
        model_file,
    )


def entries_of(component):
    """What goes into a component: its manifest, and its files by name."""
    contents = component.contents(Settings())
    [(name, manifest)] = contents.head
    assert name == "manifest.json"
    files = {}
    with component.archive.open(Settings()) as archive:
        for file in contents.files(archive.files()):
            files[file.name] = bytearray(file.size_bytes)
            assert file.readinto(memoryview(files[file.name])) == file.size_bytes
        assert archive.packed_bytes == component.packed_bytes()
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
        component(uri, exclude=("*.txt",)),
        component(uri, model_file="model.onnx"),
    ]
    assert len({first, *(each.identify()[1] for each in others)}) == 6


def test_neo_files_lie_below_the_type_of_the_first_stage_behind_the_manifest(here):
    manifest, files = entries_of(component(here.compiled(SMALL)))
    assert manifest == json.dumps(MANIFEST, indent=2).encode()
    assert files == {f"mochi/{name}": data for name, data in SMALL.files.items()}


def test_the_model_of_an_onnx_export_lies_at_the_top_and_every_other_file_keeps_its_path(here):
    model = Model({"export/readme.txt": 5, "export/deep/first.onnx": 50, "export/first.onnx.data": 9})
    manifest, files = entries_of(component(here.compiled(model), label="onnx", layout=COMPILED_ONNX))
    assert files == {
        "mochi/export/readme.txt": model.files["export/readme.txt"],
        "mochi/first.onnx": model.files["export/deep/first.onnx"],
        "mochi/export/first.onnx.data": model.files["export/first.onnx.data"],
    }
    assert json.loads(manifest) == {
        "model_graph": MANIFEST["model_graph"],
        "dataset": MANIFEST["dataset"],
        "runtime": "onnx",
        "runtime_artifact": "first.onnx",
    }


SEVERAL = Model({"a/model.onnx": 50, "b/model.onnx": 60, "b/other.onnx": 70})


@pytest.mark.parametrize("choice", [None, "model.onnx", "none.onnx", "c/model.onnx"])
def test_several_onnx_files_are_a_request_error_that_lists_them_and_says_how_to_choose(here, choice):
    with pytest.raises(RequestError, match=r"\.onnx files \(a/model\.onnx, b/model\.onnx") as raised:
        entries_of(component(here.compiled(SEVERAL), label="onnx", layout=COMPILED_ONNX, model_file=choice))
    assert raised.value.field == "model_file"
    assert raised.value.role == "archive"
    assert raised.value.uri in str(raised.value)
    assert "--model-file" in raised.value.next_step


@pytest.mark.parametrize("taken", ["model.onnx", "model.onnx/readme.txt", "model.onnx/other.onnx"])
def test_a_chosen_model_never_goes_where_the_artifact_has_something_of_its_name(here, taken):
    """Devices would keep one of the two, and not always the one that was chosen."""
    uri = here.compiled(Model({"a/model.onnx": 50, taken: 60}))
    wanted = component(uri, label="onnx", layout=COMPILED_ONNX, model_file="a/model.onnx")
    with pytest.raises(RequestError, match=r"another 'model\.onnx'") as raised:
        entries_of(wanted)
    assert (raised.value.field, raised.value.role) == ("model_file", "archive")


@pytest.mark.parametrize(("choice", "path"), [("b/model.onnx", "b/model.onnx"), ("./other.onnx", "b/other.onnx")])
def test_a_choice_decides_which_onnx_file_is_the_model(here, choice, path):
    wanted = component(here.compiled(SEVERAL), label="onnx", layout=COMPILED_ONNX, model_file=choice)
    manifest, files = entries_of(wanted)
    name = path.split("/")[1]
    assert json.loads(manifest)["runtime_artifact"] == name
    assert files == {f"mochi/{name if each == path else each}": data for each, data in SEVERAL.files.items()}


def test_companions_of_macos_are_never_the_model(here):
    whole = archives.tar([("._model.onnx", b"\0\5\x16\7"), ("model.onnx", b"weights")])
    path = here.root / "mac.tar.gz"
    path.write_bytes(archives.gz(whole))
    manifest, files = entries_of(component(path, label="onnx", layout=COMPILED_ONNX))
    assert (json.loads(manifest)["runtime_artifact"], files) == ("model.onnx", {"mochi/model.onnx": b"weights"})


def test_a_compiled_export_without_a_model_is_refused(here):
    with pytest.raises(ExtractionError) as raised:
        entries_of(component(here.compiled(Model({"model.txt": 5})), label="onnx", layout=COMPILED_ONNX))
    assert ".onnx" in str(raised.value)


IMPORTED = Model(
    {"model.onnx": 5, "export_artifacts/a/model.onnx": 7, "export_artifacts/other.onnx": 5}
    | {"export_artifacts/b/model.onnx": 9, "config.yaml": 5}
)


def test_of_an_imported_model_only_the_file_that_the_manifest_names_goes_along(here):
    path = "export_artifacts/b/model.onnx"
    _, files = entries_of(component(here.compiled(IMPORTED), ONNX, layout=IMPORTED_ONNX, model_file=path))
    assert files == {"mochi/model.onnx": IMPORTED.files[path]}


def test_an_imported_model_with_two_files_of_that_name_is_a_request_error(here):
    with pytest.raises(RequestError, match=r"a/model\.onnx, export_artifacts/b/model\.onnx") as raised:
        entries_of(component(here.compiled(IMPORTED), ONNX, layout=IMPORTED_ONNX))
    assert raised.value.field == "model_file"


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
