from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.device.listing import ComponentEntry, ComponentListing
from packager.device.rules import (
    COMPONENT_BUDGET_BYTES,
    DEVICE_STORE_BYTES,
    RULES,
    check,
    refuse_if_strict,
)
from packager.errors import ComponentRefusedError
from packager.model.targets import TARGETS
from packager.results import Finding
from tests.archive_strategies import segments
from tests.archives import OUTSIDE, UNPRINTABLE, elf

FILE_NAME = "0123456789ab_greengrass_model_component.zip"
NEO = ("compiled.so", "compiled.params", "compiled.json", "compiled.meta")
RELAY_VM = ("code.so", "code.ro", "compiled.meta")
BESIDES = ("libdlr.so", "dlr.h", "model-shapes.json", "hyperparams.json", "version.json", "manifest")

names = segments.filter(
    lambda name: len(name) < 100 and name not in {"manifest.json", "model.py", "inference_runtimes.py"}
)


def stage(kind):
    return {
        "type": kind,
        "threshold": 0.5,
        "image_width": 8,
        "image_height": 8,
        "image_range_scale": True,
        "normalize": 0,
    }


def manifest_of(kinds, graph_type=None, **more):
    graph_type = graph_type or ("single_stage_model_graph" if len(kinds) == 1 else "two_stage_model_graph")
    return {
        "model_graph": {"model_graph_type": graph_type, "stages": [stage(kind) for kind in kinds]},
        "dataset": {"image_width": 8, "image_height": 8},
        **more,
    }


def listing(manifest, paths, size_bytes=1000, file_name=FILE_NAME):
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    entries = (ComponentEntry("manifest.json", len(data), len(data)), *(ComponentEntry(path, 10, 5) for path in paths))
    return ComponentListing(file_name, size_bytes, entries, data)


@st.composite
def sound(draw, runtimes=("neo", "vm", "onnx"), stages=(1, 2)):
    """A component that satisfies every rule, with its manifest and paths for those who want to break one."""
    kinds = draw(st.lists(names, min_size=draw(st.sampled_from(stages)), max_size=max(stages), unique=True))
    graph = draw(st.sampled_from(["two_stage_model_graph", "two_stage_model_graph_bbox"])) if len(kinds) == 2 else None
    runtime = draw(st.sampled_from(runtimes))
    if runtime == "onnx":
        files, more = (
            ("model.onnx", *draw(st.sets(st.sampled_from([*NEO, "export/other.bin"])))),
            {"runtime": "onnx", "runtime_artifact": "model.onnx"},
        )
    else:
        files, more = (NEO if runtime == "neo" else RELAY_VM), {"compilable_models": []}
    besides = draw(st.sets(st.sampled_from(BESIDES)))
    return manifest_of(kinds, graph, **more), [f"{kind}/{file}" for kind in kinds for file in (*files, *besides)]


def rules(findings):
    return [each.rule for each in findings]


def entry(component, index, **changes):
    changed = dataclasses.replace(component.entries[index], **changes)
    return dataclasses.replace(
        component, entries=(*component.entries[:index], changed, *component.entries[index + 1 :])
    )


def with_entry(component, name, **changes):
    return entry(component, [each.name for each in component.entries].index(name), **changes)


def listing_of_libraries(manifest, paths, heads):
    component = listing(manifest, [*paths, *heads])
    for path, head in heads.items():
        component = with_entry(component, path, head=head)
    return component


def LIBRARY(paths):  # noqa: N802  it stands for a constant
    """A library that counts for no set, since it does not lie at the top."""
    return f"{folder(paths)}/deep/lib.so"


def without(mapping, *keys):
    return {key: value for key, value in mapping.items() if key not in keys}


def with_first_stage(manifest, change):
    first, *others = manifest["model_graph"]["stages"]
    return {**manifest, "model_graph": {**manifest["model_graph"], "stages": [change(first), *others]}}


def with_graph_type(manifest, kind):
    return {**manifest, "model_graph": {**manifest["model_graph"], "model_graph_type": kind}}


def folder(paths):
    return paths[0].split("/")[0]


def needed(manifest, paths):
    if "runtime" in manifest:
        return (next(path for path in paths if path.endswith(".onnx")).partition("/")[2],)
    return RELAY_VM if any(path.endswith(".ro") for path in paths) else NEO


def other_graph_type(manifest):
    """A type for the other number of stages."""
    one_stage = len(manifest["model_graph"]["stages"]) == 1
    return "two_stage_model_graph_bbox" if one_stage else "single_stage_model_graph"


# Each breaks one rule of a sound component and leaves the others alone.
BREAKS = {
    "manifest": [
        lambda m, p: listing(without(m, "dataset"), p),
        lambda m, p: listing({**m, "dataset": {"image_width": 0, "image_height": 8}}, p),
        lambda m, p: listing({**m, "dataset": [8, 8]}, p),
        lambda _, p: listing(b"{", p),
        lambda _, p: listing(b"[]", p),
        lambda _, p: listing(b'{"model_graph": NaN}', p),
        lambda _, p: ComponentListing(FILE_NAME, 1, tuple(ComponentEntry(path, 1, 1) for path in p), None),
    ],
    "graph-type": [
        lambda m, p: listing(with_graph_type(m, None), p),
        lambda m, p: listing(with_graph_type(m, "three_stage_model_graph"), p),
        lambda m, p: listing(with_graph_type(m, ["single_stage_model_graph"]), p),
        lambda m, p: listing(with_graph_type(m, other_graph_type(m)), p),
        lambda m, p: listing(without(m, "model_graph"), p),
    ],
    "stage-folders": [
        lambda m, p: listing(m, [path for path in p if not path.startswith(f"{folder(p)}/")]),
        lambda m, p: listing(
            m, [path.replace("/", "-", 1) if path.startswith(f"{folder(p)}/") else path for path in p]
        ),
        lambda m, p: listing(with_first_stage(m, lambda first: without(first, "type")), p),
        lambda m, p: listing(with_first_stage(m, lambda first: {**first, "type": 5}), p),
    ],
    "first-stage": [
        lambda m, p: listing(with_first_stage(m, lambda first: without(first, "threshold")), p),
        lambda m, p: listing(with_first_stage(m, lambda first: without(first, "normalize", "image_width")), p),
    ],
    "compiled-files": [
        lambda m, p: listing(m, [f"{folder(p)}/x", *(path for path in p if path != f"{folder(p)}/{needed(m, p)[0]}")]),
        lambda m, p: listing(m, [f"{folder(p)}/x", *(path for path in p if path != f"{folder(p)}/{needed(m, p)[-1]}")]),
        lambda m, p: listing({**m, "runtime_artifact": "other.onnx"}, [*p, f"{folder(p)}/more.so"]),
        lambda m, p: listing(m, [path.replace(f"{folder(p)}/", f"{folder(p)}/deep/") for path in p]),
        lambda m, p: listing({**m, "runtime_artifact": ["model.onnx"]}, [*p, f"{folder(p)}/._code.so"]),
    ],
    "empty-files": [
        lambda m, p: with_entry(listing(m, p), f"{folder(p)}/{needed(m, p)[0]}", size_bytes=0),
        lambda m, p: with_entry(listing(m, p), f"{folder(p)}/{needed(m, p)[-1]}", size_bytes=0),
    ],
    "library-machine": [
        lambda m, p: with_entry(listing(m, [*p, LIBRARY(p)]), LIBRARY(p), head=b"#!/bin/sh and more text"),
        lambda m, p: with_entry(listing(m, [*p, LIBRARY(p)]), LIBRARY(p), head=elf()[:19]),
        lambda m, p: listing_of_libraries(m, p, {LIBRARY(p): elf(62), f"{LIBRARY(p)}.so": elf(183)}),
    ],
    "reserved-names": [
        lambda m, p: listing(m, [*p, "model.py"]),
        lambda m, p: listing(m, [*p, "./inference_runtimes.py"]),
        lambda m, p: listing(m, [*p, "model.py/"]),
    ],
    "leading-bytes": [lambda m, p: dataclasses.replace(listing(m, p), leading_bytes=1)],
    "entry-storage": [
        lambda m, p: entry(listing(m, p), 1, method=12),
        lambda m, p: entry(listing(m, p), -2, flag_bits=0x0001),
        lambda m, p: dataclasses.replace(entry(listing(m, p), 0, flag_bits=0x0841), manifest=None),
    ],
    "links": [lambda m, p: entry(listing(m, p), 1, is_link=True)],
    "entry-paths": [
        lambda m, p, name=name: listing(m, [*p, name])
        for name in (*OUTSIDE, *UNPRINTABLE, ".", "", "./", "a\0b", "not UTF-8 \udcff", "x" * 256, "a/" * 1600 + "b")
    ],
    "unique-paths": [
        lambda m, p: listing(m, [*p, f"{folder(p)}/dlr.h", f"{folder(p)}/./dlr.h"]),
        lambda m, p: listing(m, [*p, f"{p[0]}/below/a/file"]),
        lambda m, p: listing(m, [*p, f"{p[0]}/"]),
    ],
    "file-name": [
        lambda m, p, name=name: listing(m, p, file_name=name)
        for name in ("model.zip", "a.b_greengrass_model_component.zip", "x_greengrass_model_component.ZIP", "")
    ],
    "component-size": [lambda m, p: listing(m, p, size_bytes=COMPONENT_BUDGET_BYTES + 1)],
    "device-store": [lambda m, p: entry(listing(m, p), 1, size_bytes=DEVICE_STORE_BYTES)],
}
OF_A_TARGET = "target-runtime"

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
entries = st.builds(
    ComponentEntry,
    name=st.text() | st.sampled_from(["manifest.json", "a/b", "a", "a/", "../x"]),
    size_bytes=st.integers(0, 1 << 64),
    compressed_bytes=st.integers(0, 1 << 64),
    method=st.integers(0, 1 << 16),
    flag_bits=st.integers(0, 1 << 16),
    is_link=st.booleans(),
)


def test_every_rule_has_a_way_to_be_broken():
    assert [*BREAKS, OF_A_TARGET] == [rule.id for rule in RULES]


@given(sound())
def test_a_component_that_satisfies_every_rule_has_no_findings(component):
    assert check(listing(*component)) == []


@given(st.data(), sound(), st.sampled_from(RULES[:-1]))
def test_breaking_one_rule_gives_that_finding_and_no_other(data, component, rule):
    broken = data.draw(st.sampled_from(BREAKS[rule.id]))(*component)
    [finding] = check(broken)
    assert (finding.rule, finding.next_step) == (rule.id, rule.next_step)
    assert finding.message.endswith(f". {rule.consequence}")
    assert all(str(each).isprintable() for each in dataclasses.astuple(finding))


@pytest.mark.parametrize(("rule", "index"), [(rule, n) for rule, breaks in BREAKS.items() for n in range(len(breaks))])
@pytest.mark.parametrize("stages", [1, 2])
def test_each_known_way_to_break_a_rule_is_found(rule, index, stages):
    kinds = ["mochi", "tofu"][:stages]
    broken = BREAKS[rule][index](manifest_of(kinds), [f"{kind}/{file}" for kind in kinds for file in NEO])
    assert rules(check(broken)) == [rule]


@given(
    st.builds(
        ComponentListing,
        file_name=st.text(),
        size_bytes=st.integers(0, 1 << 64),
        entries=st.lists(entries, max_size=6).map(tuple),
        manifest=st.none() | st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()),
    ),
    st.none() | st.sampled_from(list(TARGETS.values())),
)
def test_checking_never_raises(component, target):
    assert len(check(component, target)) <= len(RULES)


@given(st.data(), sound())
def test_checking_never_raises_on_a_sound_manifest_with_anything_in_it(data, component):
    manifest, paths = component
    inner = manifest
    while isinstance(inner, dict | list) and inner:
        key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        if data.draw(st.booleans()) or not isinstance(inner[key], dict | list):
            inner[key] = data.draw(ANYTHING)
            break
        inner = inner[key]
    check(listing(manifest, paths))


@given(sound(stages=(1,)))
def test_an_onnx_target_takes_onnx_models_only(component):
    component_listing = listing(*component)
    is_onnx = "runtime" in component[0]
    for target in TARGETS.values():
        expected = [OF_A_TARGET] if target.runs_compiled_onnx and not is_onnx else []
        assert rules(check(component_listing, target)) == expected


@given(st.integers(4, 40))
def test_a_rule_broken_by_many_entries_is_one_finding_that_counts_them(count):
    component = listing(manifest_of(["mochi"]), [f"mochi/{file}" for file in NEO])
    outside = tuple(ComponentEntry(f"../{number}", 1, 1) for number in range(count))
    [finding] = check(dataclasses.replace(component, entries=component.entries + outside))
    assert finding == Finding(
        rule="entry-paths",
        message=(
            "'../0' climbs out of its folder; '../1' climbs out of its folder; '../2' climbs out of its folder; "
            f"and {count - 3} more. The device drops everything it has unpacked, or cannot unpack it at all."
        ),
        next_step="Name entries in UTF-8, relative to the root, in plain segments of at most 255 bytes.",
        subject=FILE_NAME,
    )


def test_the_budgets_allow_their_last_byte():
    component = listing(manifest_of(["mochi"]), [f"mochi/{file}" for file in NEO], size_bytes=COMPONENT_BUDGET_BYTES)
    others_bytes = sum(each.size_bytes for each in component.entries[1:])
    rest_bytes = DEVICE_STORE_BYTES - COMPONENT_BUDGET_BYTES - others_bytes
    assert check(entry(component, 0, size_bytes=rest_bytes)) == []
    assert rules(check(entry(component, 0, size_bytes=rest_bytes + 1))) == ["device-store"]


def test_the_findings_tell_the_numbers():
    component = listing(manifest_of(["mochi"]), ["mochi/._a.so", "mochi/a.so", "mochi/a.meta", "mochi/deep/a.json"])
    [finding] = check(component)
    assert finding.message == (
        "In 'mochi' there are 2 *.so instead of one ('._a.so', 'a.so'; '._a.so' is a companion of macOS (AppleDouble)"
        "); In 'mochi' there is no *.params; In 'mochi' there is no *.json at the top; 'deep/a.json' lies too deep. "
        "The runtime on the device throws."
    )


def test_only_strict_mode_refuses():
    findings = check(listing(manifest_of(["mochi"]), []))
    refuse_if_strict(findings, strict=False)
    refuse_if_strict([], strict=True)
    with pytest.raises(ComponentRefusedError, match="stage-folders") as caught:
        refuse_if_strict(findings, strict=True)
    assert caught.value.findings == [dataclasses.asdict(each) for each in findings]
    assert json.loads(json.dumps(caught.value.as_dict()))["type"] == "ComponentRefusedError"


def test_a_component_of_a_hundred_thousand_files_is_checked():
    paths = [f"mochi/{number // 100}/{number}.bin" for number in range(100_000)]
    component = listing(manifest_of(["mochi"]), [*paths, *(f"mochi/{file}" for file in NEO)])
    assert check(component) == []


def test_the_documentation_has_every_rule_in_order():
    text = (Path(__file__).parents[3] / "docs" / "components.md").read_text(encoding="utf-8")
    table = text.split("| rule | what holds |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [rule.id for rule in RULES]


def test_the_machine_of_a_library_is_held_against_the_target():
    component = listing(manifest_of(["mochi"]), [f"mochi/{file}" for file in NEO])
    for machine, architecture in ((183, "aarch64"), (62, "amd64")):
        made = with_entry(component, "mochi/compiled.so", head=elf(machine))
        assert check(made) == []
        for target in TARGETS.values():
            if not target.runs_compiled_onnx:
                expected = [] if target.architecture == architecture else ["library-machine"]
                assert rules(check(made, target)) == expected
    [finding] = check(with_entry(component, "mochi/compiled.so", head=elf(62)), TARGETS["jetson-xavier"])
    assert finding.message.startswith("'mochi/compiled.so' is for amd64, not for aarch64.")


def test_a_model_that_lies_too_deep_is_told_where():
    deep = listing(manifest_of(["mochi"], runtime="onnx", runtime_artifact="model.onnx"), ["mochi/sub/model.onnx"])
    [finding] = check(deep)
    assert "'sub/model.onnx' lies too deep" in finding.message
