from __future__ import annotations

import json
import zipfile
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest

from packager.core.component import (
    COMPILED,
    COMPILED_ONNX,
    IMPORTED_ONNX,
    Component,
    IdentityLookup,
    layout_of,
    make_component,
    streamed_members,
)
from packager.core.pipeline import Lookahead
from packager.errors import ArtifactNotFoundError, ComponentRefusedError, ExtractionError, RequestError
from packager.model.identity import component_key
from packager.model.targets import TARGETS, served_by
from packager.model.trained import GivenManifest
from packager.settings import Settings
from packager.stores import Stores
from tests import archives, models
from tests.packages import Model, ground

MANIFEST = {**archives.MANIFEST, "dataset": {"image_width": 8, "image_height": 8}}
ONNX = {**MANIFEST, "runtime": "onnx", "runtime_artifact": "model.onnx"}
SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})
LARGE = Model({"compiled.so": 6 << 20})


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def component(uri, manifest=MANIFEST, label="arm64-cpu", layout=COMPILED):
    return Component(label, served_by(label), Stores().source(str(uri)), layout, GivenManifest(manifest))


def make(component, out, *, look=True, strict=False, report=lambda _bytes, _files: None):
    sink = Stores().sink(out)
    with IdentityLookup(component, sink, look=look) as name:
        return make_component(
            component,
            name,
            sink,
            partial(streamed_members, component.source, Settings()),
            settings=Settings(),
            strict=strict,
            report=report,
            lookahead=Lookahead(),
            measured=lambda _: nullcontext(),
        )


def names_in(made):
    with zipfile.ZipFile(made.stored.uri) as file:
        return file.namelist()


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
    first = component(uri).identity()
    assert first == component(same).identity() == component(uri, label="x86_64-cpu").identity()
    others = [
        component(uri, manifest={**MANIFEST, "more": 1}),
        component(uri, layout=IMPORTED_ONNX),
        component(here.compiled(LARGE)),
    ]
    assert len({first, *(each.identity() for each in others)}) == 4


def test_the_name_of_a_file_is_worked_out_while_it_is_being_packaged_and_found_when_it_is_there(here):
    one = component(here.compiled(SMALL))
    made = make(one, here.out)
    sink = Stores().sink(here.out)
    with IdentityLookup(one, sink, look=True) as name:
        key, identity = name.resolve()
        assert (key, identity) == (component_key(identity), one.identity())
        there = name.found()
        assert there == made.stored
        assert name.found() is None  # looks once
    with IdentityLookup(one, sink, look=False) as name:
        name.resolve()
        assert name.found() is None


def test_a_component_of_another_identity_under_the_same_key_does_not_count(here):
    one = component(here.compiled(SMALL))
    with IdentityLookup(one, Stores().sink(here.out), look=True) as name:
        key, identity = name.resolve()
        with Stores().sink(here.out).open(lambda: (key, identity[::-1])) as upload:
            upload.write(b"other")
            upload.commit()
        assert name.found() is None


def test_an_artifact_that_is_not_there_fails_when_its_name_is_asked_for(here):
    with IdentityLookup(component(here.root / "none"), Stores().sink(here.out), look=True) as name:
        with pytest.raises(ArtifactNotFoundError):
            name.resolve()
        with pytest.raises(ArtifactNotFoundError):
            name.found()


def test_a_component_that_turns_out_to_be_there_half_way_is_left_alone(here):
    one = component(here.compiled(LARGE))
    first = make(one, here.out)
    written = Path(first.stored.uri).stat().st_ino
    again = component(one.source.uri)
    _ = again.source.identity()  # so that the first look finds it
    second = make(again, here.out)
    assert (first.new, second.new, second.files, second.stored) == (True, False, 0, first.stored)
    assert here.published() == {first.stored.uri}
    assert Path(first.stored.uri).stat().st_ino == written


def test_neo_files_lie_below_the_type_of_the_first_stage_behind_the_manifest(here):
    made = make(component(here.compiled(SMALL)), here.out)
    assert names_in(made) == ["manifest.json", *(f"mochi/{name}" for name in SMALL.files)]
    assert (made.files, made.findings) == (5, [])
    with zipfile.ZipFile(made.stored.uri) as file:
        assert file.read("manifest.json") == json.dumps(MANIFEST, indent=2).encode()


def test_a_compiled_onnx_export_names_its_first_model_in_the_manifest_and_keeps_every_file(here):
    files = Model({"export/readme.txt": 5, "export/first.onnx": 50, "second.onnx": 50})
    made = make(component(here.compiled(files), label="onnx", layout=COMPILED_ONNX), here.out)
    assert names_in(made) == ["manifest.json", *(f"mochi/{name}" for name in files.files)]
    with zipfile.ZipFile(made.stored.uri) as file:
        assert json.loads(file.read("manifest.json")) == {
            "model_graph": MANIFEST["model_graph"],
            "dataset": MANIFEST["dataset"],
            "runtime": "onnx",
            "runtime_artifact": "first.onnx",
        }


def test_a_compiled_export_without_a_model_is_refused(here):
    with pytest.raises(ExtractionError) as raised:
        make(component(here.compiled(Model({"model.txt": 5})), label="onnx", layout=COMPILED_ONNX), here.out)
    assert ".onnx" in str(raised.value)
    assert here.published() == set()


def test_of_an_imported_model_only_the_file_that_the_manifest_names_goes_along_once(here):
    files = Model(
        {"model.onnx": 5, "export_artifacts/a/model.onnx": 7, "export_artifacts/other.onnx": 5}
        | {"export_artifacts/b/model.onnx": 9, "config.yaml": 5}
    )
    made = make(component(here.compiled(files), ONNX, layout=IMPORTED_ONNX), here.out)
    assert names_in(made) == ["manifest.json", "mochi/model.onnx"]
    with zipfile.ZipFile(made.stored.uri) as file:
        assert file.read("mochi/model.onnx") == files.files["export_artifacts/a/model.onnx"]
    assert made.read_bytes == Path(component(here.compiled(files)).source.uri).stat().st_size


def test_an_imported_model_without_the_file_that_the_manifest_names_is_refused(here):
    with pytest.raises(ExtractionError) as raised:
        make(component(here.compiled(Model({"model.onnx": 5})), ONNX, layout=IMPORTED_ONNX), here.out)
    assert "no file for the component" in str(raised.value)
    assert here.published() == set()


@pytest.mark.parametrize(("manifest", "layout"), [(ONNX, COMPILED), (MANIFEST, IMPORTED_ONNX)])
def test_a_manifest_of_another_kind_than_the_layout_is_a_request_error(here, manifest, layout):
    with pytest.raises(RequestError) as raised:
        make(component(here.compiled(SMALL), manifest, layout=layout), here.out)
    assert raised.value.field == "compiled"


def test_a_finding_is_reported_and_refuses_only_when_strict(here):
    one = component(here.compiled(Model({"compiled.so": 5})))
    assert [each.rule for each in make(one, here.out).findings] == ["compiled-files"]
    with pytest.raises(ComponentRefusedError):
        make(one, str(here.root / "strict"), look=False, strict=True)
    assert not (here.root / "strict").exists()


def test_a_member_that_would_be_the_manifest_twice_cannot_be_since_members_lie_in_a_folder(here):
    made = make(component(here.compiled(Model({"manifest.json": 5, "compiled.so": 5}))), here.out)
    assert names_in(made) == ["manifest.json", "mochi/manifest.json", "mochi/compiled.so"]


def test_a_report_that_raises_ends_the_work_without_a_trace(here):
    def report(packed_bytes, _files):
        if packed_bytes:
            raise LookupError

    with pytest.raises(LookupError):
        make(component(here.compiled(LARGE)), here.out, report=report)
    assert here.published() == set()


def test_reports_grow_up_to_the_whole_artifact(here):
    uri = here.compiled(LARGE)
    reports = []
    made = make(component(uri), here.out, report=lambda *each: reports.append(each))
    assert reports == sorted(reports)
    assert made.read_bytes == reports[-1][0] == Path(uri).stat().st_size
    assert reports[-1][1] == made.files == 2


def test_members_that_are_left_half_way_free_their_file(here):
    source = Stores().source(str(models.neo(here.root / "neo.tar.gz", 3 << 20)))
    with streamed_members(source, Settings()) as (members, packed_bytes):
        with closing(members), suppress(StopIteration):
            assert next(members).path == "compiled.meta"
        assert packed_bytes() < source.size_bytes()
