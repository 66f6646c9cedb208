from __future__ import annotations

import copy
import dataclasses
import json
import tracemalloc
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from packager.errors import ManifestError
from packager.model.manifest import (
    LARGEST_SIDE,
    TrainedFacts,
    TrainedFactsCollector,
    build_manifest,
    for_compiled_onnx,
    is_folder_name,
    onnx_member,
    render,
    stage_types,
)
from packager.settings import Settings
from tests import archives

GRAPH = {
    "model_graph_type": "single_stage_model_graph",
    "stages": [{"type": "mochi", "threshold": 0.5, "input_shape": [1, 3, 1000, 1000], "normalize": True}],
    "image_level_classes": {"names": ["anomaly", "normal"], "normal_ids": [1]},
}
TRAINED = {"model_graph": GRAPH, "input_shape": [1, 3, 640, 480], "something_else": None}
IMPORTED = {"runtime": "onnx", "runtime_artifact": "model.onnx", **TRAINED}
CONFIG = {"dataset": {"image_width": 640, "image_height": 480, "name": "line 3"}, "seed": 1}
DATASET = {"image_width": 640, "image_height": 480}
MANIFEST = "export_artifacts/manifest.json"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
yaml_values = st.sampled_from(
    [
        "",
        "~",
        "true",
        "yes",
        "0",
        "-1",
        "1.5",
        "[]",
        "{}",
        "'640'",
        "0x280",
        "1e3",
        ".inf",
        "9" * 30,
        "9" * 5000,
        "&a 1",
    ]
) | st.text().map(yaml.safe_dump)


def facts(trained=TRAINED, config=CONFIG, pt_name="mochi.pt", onnx_members=()):
    return TrainedFacts(
        config_yaml=None if config is None else yaml.safe_dump(config).encode(),
        manifest_json=None if trained is None else json.dumps(trained).encode(),
        pt_name=pt_name,
        onnx_members=onnx_members,
    )


def places(value, path=()):
    """Every place in a JSON value, from the whole to the leaves."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value, path, other):
    if not path:
        return other
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if other is REMOVED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = other
    return changed


REMOVED = object()


def test_a_neo_manifest_holds_graph_model_and_dataset_only():
    assert build_manifest(facts()) == (
        {
            "model_graph": GRAPH,
            "compilable_models": [
                {"filename": "mochi.pt", "data_input_config": {"input": [1, 3, 640, 480]}, "framework": "PYTORCH"}
            ],
            "dataset": DATASET,
        },
        "mochi.pt",
    )


def test_without_a_shape_at_the_top_the_first_stage_gives_it():
    for top in (REMOVED, None, []):
        manifest, _ = build_manifest(facts(replaced(TRAINED, ("input_shape",), top)))
        assert manifest["compilable_models"][0]["data_input_config"] == {"input": [1, 3, 1000, 1000]}


@given(st.recursive(st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5))
def test_the_graph_is_passed_on_unchanged_whatever_else_it_holds(extra):
    graph = {"zeta": extra, **GRAPH, "alpha": extra}
    manifest, _ = build_manifest(facts({**TRAINED, "model_graph": graph}))
    assert json.dumps(manifest["model_graph"]) == json.dumps(graph)


def test_a_compiled_onnx_manifest_names_the_file_and_the_runtime():
    neo, _ = build_manifest(facts())
    assert for_compiled_onnx(neo, "best.onnx") == {
        "model_graph": GRAPH,
        "dataset": DATASET,
        "runtime": "onnx",
        "runtime_artifact": "best.onnx",
    }


@pytest.mark.parametrize("path", ["export_artifacts/model.onnx", "./export_artifacts/deep/er/model.onnx"])
@pytest.mark.parametrize("runtime", ["onnx", "ONNX"])
def test_an_imported_onnx_manifest_is_kept_and_gains_the_dataset(path, runtime):
    trained = {**IMPORTED, "runtime": runtime}
    given_facts = facts(trained, pt_name=None, onnx_members=("export_artifacts/other.onnx", path))
    manifest, name = build_manifest(given_facts)
    assert list(manifest.items()) == [*trained.items(), ("dataset", DATASET)]
    assert (name, onnx_member(given_facts, name)) == ("model.onnx", path)


def test_an_imported_onnx_manifest_may_bring_its_own_dataset():
    own = {"image_height": 7, "image_width": 8, "more": [1]}
    trained = {**IMPORTED, "dataset": own}
    manifest, _ = build_manifest(facts(trained, config=None, onnx_members=("export_artifacts/model.onnx",)))
    assert manifest == trained


def test_an_imported_model_that_is_not_there_is_an_error():
    for name in ("model.onnx", "export_artifacts/a.onnx", "a.ONNX", None, 5, ["a.onnx"]):
        with pytest.raises(ManifestError, match=r"runtime_artifact in export_artifacts/manifest.json is .*a\.onnx"):
            build_manifest(facts({**IMPORTED, "runtime_artifact": name}, onnx_members=("export_artifacts/a.onnx",)))


@given(st.data(), st.sampled_from([TRAINED, IMPORTED]), json_values | st.just(REMOVED))
def test_any_value_in_place_of_any_field_is_a_manifest_or_a_manifest_error(data, trained, other):
    path = data.draw(st.sampled_from([path for path in places(trained) if path or other is not REMOVED]))
    with suppress(ManifestError):
        manifest, _ = build_manifest(
            facts(replaced(trained, path, other), onnx_members=("export_artifacts/model.onnx",))
        )
        assert stage_types(manifest)[0]
        assert json.loads(render(manifest, 1 << 20)) == manifest


@given(st.sampled_from(["{}", "dataset: {}", "dataset: {{image_width: {}, image_height: 5}}"]), yaml_values)
def test_any_yaml_in_place_of_any_field_is_a_manifest_or_a_manifest_error(template, value):
    with suppress(ManifestError):
        manifest, _ = build_manifest(
            TrainedFacts(template.format(value).encode(), json.dumps(TRAINED).encode(), "a.pt")
        )
        assert manifest["dataset"]["image_width"] > 0


@given(st.binary() | st.none(), st.binary() | st.none(), st.none() | st.text())
def test_any_bytes_are_a_manifest_error(config, trained, pt_name):
    with pytest.raises(ManifestError):
        build_manifest(TrainedFacts(config, trained, pt_name))


@pytest.mark.parametrize("side", ["image_width", "image_height"])
@pytest.mark.parametrize(
    "value", [0, -1, True, False, None, 1.0, "640", [], {}, LARGEST_SIDE + 1, 10**17, 10**30, REMOVED]
)
def test_a_side_of_the_image_is_a_positive_integer_and_nothing_else(side, value):
    with pytest.raises(ManifestError) as caught:
        build_manifest(facts(config=replaced(CONFIG, ("dataset", side), value)))
    assert (caught.value.field, caught.value.file) == (f"dataset.{side}", "config.yaml")
    assert f"dataset.{side} in config.yaml is {caught.value.found}; it must be" in str(caught.value)


@pytest.mark.parametrize("dimension", [0, -1, True, None, 1.0, "3", [3], 10**5000 // 10**1000])
def test_a_dimension_is_a_positive_integer_and_nothing_else(dimension):
    with pytest.raises(ManifestError) as caught:
        build_manifest(facts({**TRAINED, "input_shape": [1, dimension]}))
    assert caught.value.field == "input_shape[1]"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("path", "other", "field"),
    [
        ((), [], "the whole file"),
        (("model_graph",), REMOVED, "model_graph"),
        (("model_graph",), [], "model_graph"),
        (("model_graph", "stages"), REMOVED, "model_graph.stages"),
        (("model_graph", "stages"), [], "model_graph.stages"),
        (("model_graph", "stages"), {"0": {}}, "model_graph.stages"),
        (("model_graph", "stages", 0), "mochi", "model_graph.stages[0]"),
        (("model_graph", "stages", 0, "type"), REMOVED, "model_graph.stages[0].type"),
        (("input_shape",), 5, "input_shape"),
        (("input_shape",), {"input": [1]}, "input_shape"),
    ],
)
def test_the_error_names_the_field(path, other, field):
    with pytest.raises(ManifestError) as caught:
        build_manifest(facts(replaced(TRAINED, path, other)))
    assert (caught.value.field, caught.value.file) == (field, MANIFEST)


@pytest.mark.parametrize("trained", [TRAINED, IMPORTED])
def test_no_shape_anywhere_is_an_error(trained):
    without = replaced(
        replaced(trained, ("input_shape",), REMOVED), ("model_graph", "stages", 0, "input_shape"), REMOVED
    )
    with pytest.raises(ManifestError, match=r"input_shape in \S+ is missing"):
        build_manifest(facts(without, onnx_members=("export_artifacts/model.onnx",)))


@pytest.mark.parametrize(
    ("missing", "named"),
    [("config", "config.yaml"), ("trained", MANIFEST), ("pt_name", r"export_artifacts/<name>\.pt")],
)
def test_a_missing_file_is_named(missing, named):
    with pytest.raises(ManifestError, match=f"has no {named}"):
        build_manifest(facts(**{missing: None}))


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/a", "a\\b", "a\0", "a\n", "\x1b[0m", "\ud800", "x" * 256, "manifest.json", 5, None, []],
)
def test_a_stage_type_that_is_no_safe_folder_is_an_error(name):
    assert not is_folder_name(name)
    with pytest.raises(ManifestError) as caught:
        build_manifest(facts(replaced(TRAINED, ("model_graph", "stages", 0, "type"), name)))
    assert caught.value.field == "model_graph.stages[0].type"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["mochi", "rf_detr_semantic_segmentation", "a b", "é", "x" * 255, "..a", "-"])
def test_any_other_stage_type_is_taken(name):
    manifest, _ = build_manifest(facts(replaced(TRAINED, ("model_graph", "stages", 0, "type"), name)))
    assert stage_types(manifest) == (name,)


def test_stage_types_leave_out_later_stages_without_a_usable_type():
    stages = [{"type": "first"}, {}, "none", {"type": "../out"}, {"type": "last"}]
    assert stage_types({"model_graph": {"stages": stages}}) == ("first", "last")


def test_rendering_keeps_the_order_and_indents_by_two():
    assert render({"b": 1, "a": ["é"]}, 1000) == b'{\n  "b": 1,\n  "a": [\n    "\\u00e9"\n  ]\n}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"", object()])
def test_what_is_no_json_value_is_not_rendered(value):
    with pytest.raises(ManifestError):
        render({"model_graph": value}, 1000)


PREFIXES = st.sampled_from(["", "./", "././", ".//"])
OTHERS = [
    "mochi.pt",
    "mochi.json",
    "manifest.json",
    "export_artifacts/config.yaml",
    "export_artifacts/deep/model.pt",
    "other/export_artifacts/model.pt",
    "export_artifacts/model.pth",
    "model.onnx",
]


@given(st.permutations(OTHERS), st.permutations(["config.yaml", MANIFEST, "pt", "onnx"]))
def test_the_facts_are_found_wherever_they_stand(others, order):
    found = {"pt": "export_artifacts/mochi.pt", "onnx": "export_artifacts/deep/model.onnx"}
    collector = TrainedFactsCollector(Settings())
    for name in [*others[:4], *(found.get(each, each) for each in order), *others[4:]]:
        collector.see(name)
        if collector.wants(name, 3):
            collector.take(name, name.encode())
    assert collector.facts() == TrainedFacts(b"config.yaml", MANIFEST.encode(), "mochi.pt", (found["onnx"],))


def test_the_first_model_in_the_archive_counts():
    collector = TrainedFactsCollector(Settings())
    for name in ("export_artifacts/z.pt", "export_artifacts/a.pt"):
        collector.see(name)
    assert collector.facts().pt_name == "z.pt"


@pytest.mark.parametrize(
    ("name", "setting", "limit_bytes"),
    [("config.yaml", "MAX_CONFIG_BYTES", 1000), (MANIFEST, "MAX_MANIFEST_BYTES", 2000)],
)
def test_a_wanted_file_above_its_limit_is_an_error_that_names_the_setting(name, setting, limit_bytes):
    collector = TrainedFactsCollector(Settings(max_config_bytes=1000, max_manifest_bytes=2000))
    assert collector.wants(name, limit_bytes)
    with pytest.raises(ManifestError, match=f"{setting} = {limit_bytes}") as caught:
        collector.wants(name, limit_bytes + 1)
    assert (caught.value.setting, caught.value.limit, caught.value.found) == (setting, limit_bytes, limit_bytes + 1)
    assert not collector.wants("mochi.pt", 1 << 40)


@pytest.mark.parametrize("missing", ["config.yaml", MANIFEST])
def test_a_trained_archive_below_one_folder_says_where_its_files_lie(missing):
    facts = TrainedFactsCollector(Settings())
    for name in ("a model/config.yaml", f"a model/{MANIFEST}", "a model/export_artifacts/model.pt"):
        facts.see(name)
    documents = {"config_yaml": b"{}", "manifest_json": json.dumps(TRAINED).encode()}
    documents.pop({"config.yaml": "config_yaml", MANIFEST: "manifest_json"}[missing])
    with pytest.raises(ManifestError, match="below the folder a model/") as caught:
        build_manifest(dataclasses.replace(facts.facts(), pt_name="model.pt", **documents))
    assert caught.value.next_step.endswith("tar -czf model.tar.gz -C 'a model' .")
    assert caught.value.file == missing


def test_a_manifest_that_grows_beyond_its_limit_when_it_is_written_is_an_error_in_little_memory():
    deep = [0] * 200_000
    for _ in range(50):
        deep = [deep]
    tracemalloc.start()
    try:
        with pytest.raises(ManifestError, match="MAX_MANIFEST_BYTES = 8388608"):
            render({"model_graph": deep}, 8 << 20)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_manifest_of_just_the_limit_is_written():
    manifest = {"a": "b"}
    size_bytes = len(render(manifest, 1000))
    assert len(render(manifest, size_bytes)) == size_bytes
    with pytest.raises(ManifestError):
        render(manifest, size_bytes - 1)


@pytest.mark.parametrize("name", [*archives.OUTSIDE, *archives.UNPRINTABLE, "manifest.json", "a/b", ".", "", "x" * 256])
def test_what_is_refused_as_a_member_is_refused_as_a_stage_type(name):
    assert not is_folder_name(name)
