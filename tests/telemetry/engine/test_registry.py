"""The catalog as a registry of semantic conventions: sound by the format's rules, with differences by whom they hit."""

import copy
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from telemetry import catalog
from telemetry.__main__ import main
from telemetry.catalog import Dimension, Metric, Property, Unit
from telemetry.engine import conventions
from telemetry.engine.registry import conflicts, registry
from telemetry.engine.registry_diff import Difference, changes
from telemetry.engine.registry_rules import faults, load
from telemetry.watch.usage import used_by
from tests.telemetry.engine.test_conventions import KNOWN

OURS = registry(catalog.VOCABULARY, used_by())


def test_the_registry_of_the_catalog_breaks_no_rule_of_the_format():
    assert faults(OURS, KNOWN) == conflicts(catalog.VOCABULARY) == []


def test_what_is_written_is_read_back_the_same_by_a_yaml_parser(tmp_path, capsys):
    assert main(["registry", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 5 files, 0 findings\n"
    assert load(tmp_path) == OURS
    assert {path.name for path in tmp_path.iterdir()} == OURS.keys()


def test_the_registry_has_every_metric_and_says_who_uses_it():
    metrics = {entry["name"]: entry for entry in OURS["metrics.yaml"]["metrics"]}
    assert metrics.keys() == {metric.name for row in catalog.ROWS for metric in row.all_metrics}
    used = metrics["UsedBytes"]
    assert (used["unit"], used["instrument"]) == ("By", "histogram")
    assert [one["ref"] for one in used["attributes"]] == ["Operation", "Level"]
    assert used["annotations"]["rows"]["MonitorStorage"]["used_by"] == [
        "alarm storage-critical",
        "alarm storage-warning",
        "panel overview: Scratch in use",
        "panel storage: Scratch now",
    ]
    assert all(row["used_by"] for entry in metrics.values() for row in entry["annotations"]["rows"].values())


def entry(section, name):
    (found,) = [
        one for one in OURS[f"{section}.yaml"][section] if name in (one.get("key"), one.get("name"), one.get("type"))
    ]
    return found


def broken(section, entry_name, **wrong):
    """The registry with one entry changed; None takes a key away."""
    documents = copy.deepcopy(OURS)
    entries = documents[f"{section}.yaml"][section]
    at = entries.index(entry(section, entry_name))
    entries[at] = {key: value for key, value in (entries[at] | wrong).items() if value is not None}
    return documents


ENUM = {"members": [{"id": "a", "stability": "stable"}, {"id": "a", "stability": "stable"}]}
FAULTY = [
    ({**OURS, "manifest.yaml": {}}, "manifest.yaml: schema_url None is not http"),
    ({**OURS, "manifest.yaml": {"schema_url": "https://a.b/c"}}, "schema_url 'https://a.b/c' is not"),
    ({**OURS, "manifest.yaml": OURS["manifest.yaml"] | {"stability": "good"}}, "stability 'good' is none of"),
    ({name: found for name, found in OURS.items() if name != "manifest.yaml"}, "manifest.yaml: is not there"),
    ({**OURS, "x.yaml": {"groups": []}}, "x.yaml: file_format is not definition/2"),
    ({**OURS, "x.yaml": {"file_format": "definition/2", "groups": []}}, "x.yaml: groups is no section"),
    ({**OURS, "x.yaml": {"file_format": "definition/2", "spans": {}}}, "x.yaml: spans is no list"),
    ({**OURS, "x.yaml": OURS["spans.yaml"]}, "spans: packager.aws.call is there twice"),
    (broken("attributes", "packager.bytes_in", type="number"), "the type 'number' is none"),
    (broken("attributes", "packager.bytes_in", brief=""), "packager.bytes_in: has no brief"),
    (broken("attributes", "packager.bytes_in", stability=None), "has no stability"),
    (broken("attributes", "packager.bytes_in", id="x"), "has the unknown key id"),
    (broken("attributes", "packager.store", type={"members": []}), "has no members"),
    (broken("attributes", "packager.store", type=ENUM), "have no id, or the same"),
    (broken("attributes", "packager.store", type={"members": [{"id": "a"}]}), "have no stability"),
    (broken("metrics", "BytesIn", unit="Bytes per second"), "the unit 'Bytes per second' is none"),
    (broken("metrics", "BytesIn", instrument="summary"), "the instrument 'summary' is none"),
    (broken("metrics", "BytesIn", attributes=[{"ref": "gone"}]), "refers to gone, which is no attribute"),
    (broken("metrics", "BytesIn", attributes=[{"ref": "Store"}] * 2), "refers twice to Store"),
    (broken("metrics", "BytesIn", attributes={}), "attributes is no list of references"),
    (broken("spans", "packager.read_artifact", kind="inner"), "the kind 'inner' is none"),
    (broken("spans", "packager.read_artifact", name="read"), "its name is no mapping"),
    (
        broken("spans", "packager.read_artifact", attributes=[{"ref": "packager.store", "requirement_level": "must"}]),
        "the requirement level 'must' is none",
    ),
    (broken("events", "ReadArtifact", unit="1"), "has the unknown key unit"),
]


@pytest.mark.parametrize(("documents", "fault"), FAULTY, ids=[fault for _, fault in FAULTY])
def test_a_broken_rule_is_named(documents, fault):
    found = faults(documents, conventions.ALL)
    assert any(fault in one for one in found), found


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["file_format", "spans", "type", "name", "attributes", "key", "members"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_file_holds_is_a_finding_and_no_exception(document):
    assert faults({**OURS, "x.yaml": document}, conventions.ALL)


ROW = catalog.READ_ARTIFACT
SMALL = replace(catalog.VOCABULARY, rows=(ROW, catalog.TELEMETRY_HEALTH))
USED = {("ReadArtifact", "resumed"): ["alarm broken-reads", "panel targets: Reads"]}


def difference(**changed):
    after = replace(SMALL, rows=(replace(ROW, **changed), catalog.TELEMETRY_HEALTH))
    return changes(registry(SMALL, USED), registry(after))


def test_a_metric_that_is_gone_breaks_those_who_use_it():
    found = difference(metrics=tuple(one for one in ROW.metrics if one.field != "resumed"))
    assert found[0] == Difference(True, "attribute packager.resumed is gone")
    assert Difference(True, "metric Resumed is gone", ("alarm broken-reads", "panel targets: Reads")) in found
    assert "breaks: metric Resumed is gone; used by alarm broken-reads, panel targets: Reads" in map(str, found)
    assert Difference(True, "span packager.read_artifact has no packager.resumed any more") in found


def test_a_metric_in_another_unit_or_of_another_kind_breaks_those_who_use_it():
    changed = tuple(
        replace(one, unit=Unit.BYTES, statistic="Maximum") if one.field == "resumed" else one for one in ROW.metrics
    )
    users = ("alarm broken-reads", "panel targets: Reads")
    assert difference(metrics=changed) == [
        Difference(True, "metric Resumed: instrument was counter and is histogram", users),
        Difference(True, "metric Resumed: unit was 1 and is By", users),
    ]


def test_values_and_dimensions_that_are_gone_break_and_new_ones_do_not():
    store = ROW.dimensions[0]
    fewer, more = replace(store, values=("s3", "other")), replace(store, values=(*store.values, "tape"))
    assert difference(dimensions=(fewer,)) == [
        Difference(True, "attribute Store has no value file any more"),
        Difference(True, "attribute packager.store has no value file any more"),
    ]
    assert difference(dimensions=(more,)) == [
        Difference(False, "attribute Store has the value tape"),
        Difference(False, "attribute packager.store has the value tape"),
    ]
    unkept = difference(dimension_sets=())
    assert (
        Difference(
            True, "metric Resumed of ReadArtifact is not kept by Store any more", tuple(USED["ReadArtifact", "resumed"])
        )
        in unkept
    )


def test_a_new_metric_is_a_change_that_breaks_nothing():
    found = difference(metrics=(*ROW.metrics, Metric("speed", "Speed", Unit.BYTES_PER_SECOND, "Speed", "p50")))
    assert found
    assert not any(change.breaks for change in found)
    assert Difference(False, "metric Speed is new") in found


def test_an_attribute_of_two_types_is_a_conflict():
    twice = replace(catalog.PLAN_PACKAGE, properties=(Property("store", "As a text"),))
    found = conflicts(replace(SMALL, rows=(ROW, twice, catalog.TELEMETRY_HEALTH)))
    assert found == ["packager.store has 2 types, in ReadArtifact, PlanPackage"]
    same = replace(twice, properties=(), dimensions=(Dimension("store", "Store", ROW.dimensions[0].values, "x"),))
    assert conflicts(replace(SMALL, rows=(ROW, same, catalog.TELEMETRY_HEALTH))) == []


def test_the_command_compares_with_the_catalog_as_it_is_and_says_by_its_status_whether_something_breaks(
    tmp_path, capsys
):
    main(["registry", str(tmp_path / "same")])
    assert main(["diff", str(tmp_path / "same")]) == 0
    documents = copy.deepcopy(OURS)
    documents["metrics.yaml"]["metrics"].append(entry("metrics", "BytesIn") | {"name": "Lost"})
    (tmp_path / "more").mkdir()
    for name, document in documents.items():
        (tmp_path / "more" / name).write_text(yaml.safe_dump(document))
    assert main(["diff", str(tmp_path / "more")]) == 1
    assert "breaks: metric Lost is gone; used by " in capsys.readouterr().out
    assert main(["diff", str(tmp_path / "same"), str(tmp_path / "more")]) == 0
    assert "adds: metric Lost is new\n1 changes, 0 of which break something\n" in capsys.readouterr().out


def test_a_folder_without_a_registry_is_named(tmp_path, capsys):
    assert main(["diff", str(tmp_path)]) == 2
    assert "holds no registry" in capsys.readouterr().err
    (tmp_path / "x.yaml").write_text("a: [")
    assert main(["diff", str(tmp_path)]) == 2
    assert "is no YAML" in capsys.readouterr().err
