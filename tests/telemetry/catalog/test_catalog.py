"""The catalog is sound, and its checks find every way in which it could not be, all at once."""

import importlib
import pkgutil
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import catalog, watch
from telemetry.catalog import Fold, Metric, Operation, Panel, Property, Unit
from telemetry.watch import checks
from telemetry.watch.reference import markdown

ROOT = Path(__file__).parents[3]

GOOD = Operation(
    name="Good",
    span="good",
    meaning="A sound row",
    metrics=(Metric("bytes_in", "BytesIn", Unit.BYTES, "Bytes", "Sum"),),
    dimensions=(catalog.Dimension("store", "Store", ("s3", "other"), "Where"),),
    dimension_sets=(("store",),),
    properties=(Property("key", "Key"),),
    panels=(Panel("overview", "All", ("success", "failure", "bytes_in")), Panel("overview", "Time", ("duration_ms",))),
)
ALARM = replace(
    next(found for found in watch.ALARMS if found.name == "storage-warning"),
    name="a",
    row="Good",
    signals=(watch.Signal("m1", "BytesIn", (("Operation", "Good"),), "Sum"),),
    expression="",
    notifies=True,
)
SLO = replace(watch.SLOS[0], row="Good")


def test_the_catalog_is_sound_and_within_its_budget():
    assert checks.faults(catalog.ROWS) == []
    assert checks.alarm_faults(catalog.ROWS, watch.ALARMS, watch.COMPOSITES, watch.SLOS) == []
    assert checks.cost(catalog.ROWS).usd <= checks.BUDGET_USD


def test_the_sound_row_of_these_tests_is_sound():
    assert checks.faults([GOOD]) == checks.alarm_faults([GOOD], [ALARM]) == []


def metric(**changes):
    return replace(GOOD, metrics=(replace(GOOD.metrics[0], **changes),))


def dimension(**changes):
    return replace(GOOD, dimensions=(replace(GOOD.dimensions[0], **changes),))


def panel(**changes):
    return replace(GOOD, panels=(*GOOD.panels, replace(GOOD.panels[0], **changes)))


def alarm(**changes):
    return replace(ALARM, **changes)


FAULTY = [
    (replace(GOOD, name="not good"), "the name must be in PascalCase"),
    (metric(unit=Unit.COUNT), "cannot be in Count"),
    (metric(unit="Parsecs"), "none of CloudWatch's"),
    (metric(field="bytesIn"), "must be in snake_case"),
    (metric(name="bytes in"), "in PascalCase"),
    (metric(statistic="Most"), "Most is no statistic"),
    (metric(resolution_s=5), "a resolution of 5 s"),
    (metric(meaning=""), "no meaning"),
    (metric(name="Store"), "Store is there twice"),
    (metric(name="Duration"), "Duration is there twice"),
    (metric(field="key"), "the field key is there twice"),
    (dimension(values=("s3",)), "lacks 'other'"),
    (dimension(values=()), "a closed set"),
    (dimension(values=tuple(map(str, range(40)))), "a closed set of 1 to 30"),
    (dimension(field="bucket"), "an identifier is no dimension"),
    (dimension(field="training_id"), "an identifier is no dimension"),
    (dimension(field="level"), "level is a key of every log line"),
    (dimension(name="Operation"), "Operation is there twice"),
    (dimension(name="the store"), "the name the store in PascalCase"),
    (dimension(values=("s3", "s3", "other")), "'s3' is there twice"),
    (dimension(values=("", "other")), "'' is no value of 1 to 32"),
    (dimension(values=("a b", "other")), "'a b' is no value"),
    (dimension(values=("x" * 33, "other")), "is no value of 1 to 32"),
    (dimension(values=("é", "other")), "'é' is no value"),
    (dimension(meaning=""), "Good.store: no meaning"),
    (replace(GOOD, meaning=""), "Good: no meaning"),
    (replace(GOOD, properties=(Property("BytesIn", "x"),)), "BytesIn is there twice"),
    (replace(GOOD, properties=(Property("Key", "x"),)), "a property must be in snake_case"),
    (replace(GOOD, properties=(Property("key", ""),)), "and say its meaning"),
    (replace(GOOD, properties=(Property("request_id", "x"),)), "request_id is a key of the context"),
    (metric(field="target"), "target is a key of the context"),
    (metric(name="B" * 251), "in PascalCase"),
    (replace(GOOD, dimension_sets=(("store",), ("store",))), "would be paid for twice"),
    (replace(GOOD, dimension_sets=((),)), "the dimension set () is empty"),
    (replace(GOOD, dimension_sets=(("store", "store"),)), "names one twice"),
    (replace(GOOD, dimension_sets=(("target",),)), "names target, which the row does not declare"),
    (replace(GOOD, panels=GOOD.panels[:1]), "Good.duration_ms: a metric that nothing looks at"),
    (panel(fields=("gone",)), "draws gone, which nothing emits"),
    (panel(fields=("success", "duration_ms", "bytes_in")), "more than two axes"),
    (panel(dashboard="elsewhere"), "which is no dashboard"),
    (panel(by="target"), "splits by target"),
    (replace(GOOD, links_to="Gone"), "links to Gone"),
]
FAULTY_ALARMS = [
    (alarm(datapoints=4, periods=3), "4 of 3 periods"),
    (alarm(period_s=45), "a period of 45 s"),
    (alarm(period_s=60, periods=1441), "at most 86,400"),
    (alarm(period_s=3600, periods=169), "at most 604,800"),
    (alarm(missing_why=""), "what missing data means"),
    (alarm(notifies=False), "notifies nobody"),
    (alarm(signals=()), "several signals and no expression"),
    (alarm(signals=(replace(ALARM.signals[0], metric="Gone"),)), "watches Good.Gone, which nothing emits"),
    (alarm(signals=(replace(ALARM.signals[0], statistic="p"),)), "p is no statistic"),
    (alarm(threshold=watch.Threshold(float("nan"))), "a threshold of nan"),
    (alarm(expression="m1", signals=ALARM.signals * 10), "more than 10"),
    (alarm(row="Gone"), "a: belongs to Gone, which is no row"),
]
FAULTY_SLOS = [
    (replace(SLO, objective=0.9), "fires above 144% bad"),
    (replace(SLO, objective=1.0), "an objective of 1.0"),
]


@pytest.mark.parametrize(("row", "fault"), FAULTY, ids=[fault for _, fault in FAULTY])
def test_a_fault_of_a_row_is_named(row, fault):
    assert any(fault in found for found in checks.faults([row]))


@pytest.mark.parametrize(("alarm", "fault"), FAULTY_ALARMS, ids=[fault for _, fault in FAULTY_ALARMS])
def test_a_fault_of_an_alarm_is_named(alarm, fault):
    assert any(fault in found for found in checks.alarm_faults([GOOD], [alarm]))


@pytest.mark.parametrize(("slo", "fault"), FAULTY_SLOS, ids=[fault for _, fault in FAULTY_SLOS])
def test_a_fault_of_an_slo_is_named(slo, fault):
    assert any(fault in found for found in checks.alarm_faults([GOOD], slos=[slo]))


def test_all_faults_are_reported_at_once():
    rows, alarms, slos = ([one for one, _ in faulty] for faulty in (FAULTY, FAULTY_ALARMS, FAULTY_SLOS))
    found = checks.faults(rows, budget_usd=0) + checks.alarm_faults([GOOD], alarms, slos=slos)
    wanted = [fault for _, fault in FAULTY + FAULTY_ALARMS + FAULTY_SLOS]
    assert [fault for fault in wanted if not any(fault in line for line in found)] == []
    assert any("the budget is 0.00" in line for line in found)


def test_one_name_means_one_thing_in_all_rows():
    other = replace(metric(unit=Unit.SECONDS, field="seconds_in"), name="Other", panels=())
    assert "BytesIn: bytes_in in Bytes here, seconds_in in Seconds there" in checks.faults([GOOD, other])


def test_one_dimension_is_the_same_in_all_rows():
    other = replace(dimension(values=("s3", "other", "disk")), name="Other")
    assert "Store: one dimension with two fields, sets of values or meanings" in checks.faults([GOOD, other])


def test_a_composite_over_nothing_is_named():
    composite = replace(watch.COMPOSITES[0], name="c", children=("gone",), suppressor="lost", notifies=True)
    found = checks.alarm_faults([GOOD], composites=[composite])
    assert found == ["c: asks for gone, which is no alarm", "c: asks for lost, which is no alarm"]


def test_too_dear_a_catalog_is_named():
    assert checks.cost([GOOD]) == checks.Cost(metrics=12, usd=3.6)
    assert checks.faults([GOOD], budget_usd=1.0) == ["12 custom metrics cost 3.60 USD a month; the budget is 1.00"]


def test_the_price_falls_in_steps():
    many = replace(GOOD, dimensions=(replace(GOOD.dimensions[0], values=tuple(map(str, range(4999)))),))
    assert checks.cost([many]) == checks.Cost(metrics=20_000, usd=10_000 * 0.30 + 10_000 * 0.10)


def test_one_setting_moves_every_threshold():
    usual, small = watch.Limits(), watch.Limits(scratch_bytes=1024**3, memory_bytes=1024**3, time_s=60)
    values = {found.name: (found.threshold.value(usual), found.threshold.value(small)) for found in watch.ALARMS}
    assert values["storage-warning"] == (6442450944, 0.75 * 1024**3)
    assert values["storage-critical"] == (7516192768, 0.875 * 1024**3)
    assert values["memory-nearly-up"][1] == 0.9 * 1024**3
    assert values["time-nearly-up"] == (90_000, 6_000)
    assert values["storage-filling"] == (180, 12)
    assert values["probe-failing"] == (1, 1)


def test_the_function_is_named_where_an_alarm_watches_lambda():
    throttles = next(found for found in watch.ALARMS if found.name == "throttles")
    assert throttles.signals[0].dimension_values(watch.Names("s")) == {"FunctionName": "edge-model-packager-s"}


def test_composites_are_written_for_aws_with_prefix_and_quotes():
    composite = watch.COMPOSITES[0]
    assert composite.children == ("requests-served-fast-burn-long", "requests-served-fast-burn-short")
    assert composite.full_rule("p-") == (
        'ALARM("p-requests-served-fast-burn-long") AND ALARM("p-requests-served-fast-burn-short")'
    )


@given(st.text() | st.integers() | st.booleans() | st.none())
def test_a_dimension_never_leaves_its_closed_set(value):
    for row in catalog.ROWS:
        for found in row.dimensions:
            assert found.value(value) in found.values
            assert all(found.value(member) == member for member in found.values)


def test_storage_figures_stand_on_every_row_that_touches_storage():
    touching = {row.name for row in catalog.ROWS if set(catalog.STORAGE) <= set(row.metrics)}
    assert touching == {
        *("PackageRequest", "PackageTarget", "WriteComponent", "ExtractArchive", "ZipComponent", "CleanUp"),
    }


def test_no_row_is_left_out_of_the_catalog():
    modules = [
        importlib.import_module(f"telemetry.catalog.{found.name}") for found in pkgutil.iter_modules(catalog.__path__)
    ]
    defined = {
        name: value for module in modules for name, value in vars(module).items() if isinstance(value, Operation)
    }
    assert {id(row) for row in defined.values()} == {id(row) for row in catalog.ROWS}
    assert defined.keys() <= set(catalog.__all__)


def test_every_field_of_every_row_is_filled_by_a_step_or_gathered_from_those_inside():
    code = [path for room in ("packager", "telemetry") for path in (ROOT / room).rglob("*.py")]
    text = "\n".join(path.read_text() for path in code if "catalog" not in path.parts)
    filled = {field for row in catalog.ROWS for field in row.fields if re.search(rf"\b{field}=|\"{field}\"", text)}
    for row in catalog.ROWS:
        assert row.fields - set(row.gathers.values()) <= filled, row.name
        assert row.gathers.keys() <= filled, row.name


def test_every_row_says_in_which_step_its_folds_end():
    folds = {found.fold for row in catalog.ROWS for found in row.metrics}
    assert folds == set(Fold)
    with pytest.raises(KeyError, match="has no metric 'gone'"):
        GOOD.metric("gone")


def test_the_reference_in_the_documentation_is_that_of_the_catalog():
    text = (ROOT / "docs" / "telemetry.md").read_text()
    found = subprocess.run([sys.executable, "-m", "telemetry", "reference"], check=True, capture_output=True, text=True)
    assert text.partition("<!-- python -m telemetry reference -->\n\n")[2] == found.stdout == markdown()


def test_the_function_starts_without_what_watches_it():
    code = "import sys, packager.handler; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name for name in done.stdout.split() if name.startswith("telemetry.watch") or name in {"yaml", "click"}}
    assert loaded == set()
