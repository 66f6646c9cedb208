import ast
import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import get_args
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards.cli import main
from dashboards.cloudwatch.alarm_files import Definitions, parse_alarms
from dashboards.cloudwatch.alarm_tests import run_file
from dashboards.cloudwatch.body import problems
from dashboards.cloudwatch.insights import query
from dashboards.places import CASES, GENERATED, MATRIX
from dashboards.product import build
from dashboards.product.automation import automation_documents
from dashboards.product.checks import incomplete
from dashboards.product.layout import dashboard_bodies
from dashboards.product.runbooks import runbook_texts
from dashboards.product.specs import Catalog, alarm_parameters
from telemetry import watch
from telemetry.catalog import OTHER, Dimension, Metric, Operation, Panel, Unit
from telemetry.watch import Alarm, Composite, Limits, Names, Runbook, Severity, Signal
from telemetry.watch.types import Missing

OURS = Catalog()


def lacking(source, matrix=MATRIX):
    return list(incomplete(source, dashboard_bodies(source), matrix))


def test_what_is_committed_is_what_the_catalog_says(capsys):
    assert main(["build", "--check"]) == 0, capsys.readouterr().out


def test_a_file_that_was_changed_by_hand_or_is_stale_is_drift(tmp_path, capsys):
    assert main(["build", "--out", str(tmp_path)]) == 0
    assert main(["build", "--out", str(tmp_path), "--check"]) == 0
    (tmp_path / "alarms.json").write_text("{}")
    (tmp_path / "runbooks" / "old.md").write_text("gone")
    assert main(["build", "--out", str(tmp_path), "--check"]) == 1
    out = capsys.readouterr().out
    assert "alarms.json" in out
    assert "old.md" in out
    assert main(["build", "--out", str(tmp_path)]) == 0
    assert main(["build", "--out", str(tmp_path), "--check"]) == 0


def test_a_build_removes_nothing_that_no_build_has_written(tmp_path):
    theirs = [
        tmp_path / name for name in ("README.md", "docs/page.md", "runbooks/theirs.md", "dashboards/grafana.json")
    ]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("theirs")
    assert main(["build", "--out", str(tmp_path)]) == 0
    assert all(path.read_text() == "theirs" for path in theirs)
    assert main(["build", "--out", str(tmp_path)]) == 0
    assert all(path.read_text() == "theirs" for path in theirs[:2])


def test_every_alarm_of_the_catalog_has_what_it_needs():
    assert lacking(OURS) == []


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_alarms_do_what_their_tests_say(path):
    alarms = parse_alarms(alarm_parameters(OURS), "ours")
    failed = [
        f"{outcome.name}: {failure}" for outcome in run_file(path, Definitions(alarms)) for failure in outcome.failures
    ]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("name", ["overview", "service", "storage", "targets", "telemetry"])
def test_every_dashboard_fits_on_the_grid_and_says_what_it_is_for(name):
    body = json.loads((GENERATED / "dashboards" / f"{name}.json").read_text())
    assert list(problems(body)) == []
    assert body["widgets"][0]["type"] == "text"
    assert all(not widget["properties"].get("title", "").startswith("metric widget") for widget in body["widgets"])


def widgets_of(name):
    return dashboard_bodies(OURS)[name]["widgets"]


def test_the_first_row_answers_in_numbers():
    row = [each["properties"] for each in widgets_of("overview") if each["y"] == 2]
    shown = {each["title"]: each for each in row}
    assert [each.get("start") for each in row if each.get("view") == "singleValue"] == [
        "-PT1H",
        "-P1D",
        "-PT15M",
        "-PT3H",
    ]
    assert all(each["setPeriodToTimeRange"] for each in row if each["view"] == "singleValue")
    labels = {
        title: [line[-1]["label"] for line in each["metrics"] if "label" in line[-1]]
        for title, each in shown.items()
        if "metrics" in each
    }
    assert labels["Working, last hour (%)"] == ["Requests served", "Targets packaged", "Probes"]
    assert labels["Limits, most of 3 hours (%)"] == ["Scratch", "Memory", "Time", "Concurrency", "API's time"]
    (who,) = (each for each in row if "query" in each)
    assert "as since" in who["query"]
    assert "by usecase_id, target" in who["query"]


def test_every_alarm_stands_on_the_first_page_and_those_that_name_the_cause_first():
    causes, calls = (each["properties"] for each in widgets_of("overview") if each["type"] == "alarm")
    assert causes["states"] == calls["states"] == ["ALARM"]
    names = [arn.rpartition(OURS.prefix)[2] for arn in (*causes["alarms"], *calls["alarms"])]
    assert sorted(names) == sorted(alarm.name for alarm in OURS.everything)
    composites = {each.name for each in OURS.composites}
    assert not composites & {arn.rpartition(OURS.prefix)[2] for arn in causes["alarms"]}


def test_each_question_has_a_row_and_no_body_is_told_in_bytes_or_milliseconds():
    texts = [each["properties"]["markdown"] for each in widgets_of("overview") if each["type"] == "text"]
    assert [text for text in texts if text.startswith("## ")] == [
        "## Is it working?",
        "## Who is hurt, and by what?",
        "## What is being done?",
        "## How close are the limits?",
        "## Are the objectives kept?",
    ]
    for name in OURS.dashboards:
        for each in widgets_of(name):
            axes = each["properties"].get("yAxis", {}).values()
            assert not {"Bytes", "Milliseconds", "Bytes/Second"} & {axis.get("label") for axis in axes}


def test_one_setting_moves_every_threshold_that_comes_from_it():
    def thresholds(limits):
        return {p["AlarmName"]: p["Threshold"] for p in alarm_parameters(Catalog(limits=limits))["MetricAlarms"]}

    small, large = thresholds(Limits(scratch_bytes=1000)), thresholds(Limits(scratch_bytes=2000))
    moved = {name for name, value in small.items() if large[name] != value}
    assert moved == {f"{OURS.prefix}storage-{level}" for level in ("warning", "critical")}
    assert all(large[name] == 2 * small[name] for name in moved)


def test_only_alarms_that_speak_for_themselves_get_a_topic():
    heard = {"page": ["arn:page", "arn:other"], "ticket": ["arn:ticket"]}
    built = alarm_parameters(OURS, heard)
    for alarm in (*built["MetricAlarms"], *built["CompositeAlarms"]):
        severity = alarm["Tags"][0]["Value"]
        assert alarm.get("AlarmActions", []) == (heard[severity] if alarm["ActionsEnabled"] else [])


@pytest.mark.parametrize("alarm", OURS.everything, ids=lambda alarm: alarm.name)
def test_the_link_to_a_query_holds_that_query(alarm):
    """Decoded as the console decodes it: `$` for `%` in the fragment, then `*` in its values."""
    _, _, detail = unquote(OURS.names.insights(alarm.runbook.query).replace("$", "%")).partition("?queryDetail=")
    found = dict(re.findall(r"~(\w+)~\(?~?'([^~)]*)", detail))
    text = {name: unquote(value.replace("*", "%")) for name, value in found.items()}
    assert text["source"] == "/aws/lambda/edge-model-packager-prod"
    words = re.compile(r'"[^"]*"|/[^/]*/|[\w@.]+|\S')
    assert words.findall(text["editorString"]) == words.findall(alarm.runbook.query)
    assert query(text["editorString"], []) == []


@pytest.mark.parametrize("alarm", OURS.everything, ids=lambda alarm: alarm.name)
def test_the_first_query_of_every_runbook_runs_on_recorded_lines(alarm):
    assert query(alarm.runbook.query, []) == []


def test_what_an_alarm_watches_or_is_held_back_by_is_made_before_it():
    made = [alarm.name for alarm in OURS.alarms]
    for composite in OURS.composites:
        assert {*composite.children, *filter(None, [composite.suppressor])} <= set(made), composite.name
        made.append(composite.name)


def test_every_automation_document_refers_only_to_what_it_declares():
    for document in automation_documents(OURS).values():
        assert document["schemaVersion"] == "0.3"
        names = [step["name"] for step in document["mainSteps"]]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_]{3,128}", name) for name in names)
        used = set(re.findall(r"\{\{ (\w+)(?:\.\w+)? \}\}", json.dumps(document)))
        assert used <= document["parameters"].keys() | set(names)
        assert not re.search(r"\{function_name\}|BUCKET|UPLOAD_ID", json.dumps(document["mainSteps"]))


RUNBOOK = Runbook("m", "h", "l", "fields @message", ("c",), ("a",), "e", "o")
GOOD = Metric("good", "Good", Unit.COUNT, "good", "Sum")
SIGNAL = Signal("m1", "Good", (("Operation", "Row"),), "Sum")
ALARM = Alarm(
    name="alarm",
    row="Row",
    meaning="It is so",
    severity=Severity.PAGE,
    signals=(SIGNAL,),
    comparison=">",
    period_s=60,
    missing="ignore",
    missing_why="because",
    runbook=RUNBOOK,
    notifies=True,
)
PANEL = Panel("board", "Panel", ("duration_ms", "success", "failure", "good"))
ROW = Operation("Row", "row", "A row", metrics=(GOOD,), panels=(PANEL,))
COMPOSITE = Composite(name="both", meaning="Both", severity=Severity.TICKET, children=("alarm",), runbook=RUNBOOK)
WHOLE = Catalog((ROW,), (ALARM,), (COMPOSITE,), (), dashboards=("board",), names=Names("p"))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("cases") / "faults.yaml"
    path.write_text(yaml.safe_dump({"faults": [{"name": "it breaks", "fires": ["alarm", "both"]}]}))
    return path


def with_row(**changes):
    return replace(WHOLE, rows=(replace(ROW, **changes),))


def with_alarm(**changes):
    return replace(WHOLE, alarms=(replace(ALARM, **changes),))


def with_composite(**changes):
    return replace(WHOLE, composites=(replace(COMPOSITE, **changes),))


SLO = replace(watch.SLOS[0], name="slo", row="Row", bad=(SIGNAL,), total=(SIGNAL,))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (with_alarm(runbook=None), "alarm: has no runbook"),
        (with_alarm(row="Gone"), "alarm: belongs to Gone, which is no row"),
        (with_alarm(runbook=replace(RUNBOOK, over="")), "alarm: its runbook says nothing about over"),
        (with_alarm(severity=""), "alarm: has no severity"),
        (with_alarm(missing_why=""), "alarm: says not what it means, or what missing data means"),
        (with_alarm(name="other"), "other: no fault of"),
        (with_alarm(signals=(replace(SIGNAL, metric="Bad"),)), "alarm: watches Row.Bad, which nothing emits"),
        (with_alarm(signals=(replace(SIGNAL, namespace="AWS/X", metric="Y", dimensions=()),)), None),
        (with_alarm(period_s=45), "alarm: a period of 45 s"),
        (with_alarm(datapoints=2), "2 of 1 periods"),
        (with_alarm(notifies=False), None),
        (replace(with_alarm(notifies=False), composites=()), "alarm: notifies nobody"),
        (with_composite(severity=Severity.PAGE), "alarm: calls beside both for one cause"),
        (with_composite(children=("nobody",)), "both: asks for nobody, which is no alarm"),
        (with_composite(children=("both",)), "watch each other in a circle: both -> both"),
        (with_composite(suppressor="nobody"), "both: asks for nobody"),
        (
            with_row(panels=(replace(PANEL, fields=(*PANEL.fields, "bad")),)),
            "Row: panel 'Panel' draws bad, which nothing emits",
        ),
        (
            with_row(panels=(replace(PANEL, fields=PANEL.fields[1:]),)),
            "Row.duration_ms: a metric that nothing looks at",
        ),
        (
            with_row(panels=(replace(PANEL, fields=PANEL.fields[:3]),)),
            "alarm: no panel draws EdgeModelPackager/p/Good{Operation=Row}",
        ),
        (with_row(panels=(replace(PANEL, by="store"),)), "Row: panel 'Panel' splits by store"),
        (
            with_row(panels=(PANEL, replace(PANEL, dashboard="none"))),
            "Row: panel 'Panel' stands on 'none', which is no dashboard",
        ),
        (with_row(panels=(PANEL, PANEL)), "board: panel 'Panel' stands 2 times"),
        (replace(WHOLE, alarms=(ALARM, ALARM)), "alarm: two alarms of one name"),
        (
            with_row(dimensions=(Dimension("user_id", "User", ("a", OTHER), ""),)),
            "Row.user_id: an identifier is no dimension",
        ),
        (
            with_row(dimensions=(Dimension("kind", "Kind", ("a",), ""),)),
            "Row.kind: the set lacks 'other'",
        ),
        (
            replace(WHOLE, slos=(replace(SLO, objective=0.5),)),
            "slo: fast-burn fires above 720% bad, which cannot happen",
        ),
        (replace(WHOLE, slos=(SLO,)), "slo: no composite slo-fast-burn"),
    ],
)
def test_what_an_alarm_lacks_is_named(source, named, matrix):
    assert lacking(WHOLE, matrix) == []
    found = lacking(source, matrix)
    assert any(named in problem for problem in found) if named else found == []


def test_all_that_is_missing_is_said_at_once(matrix):
    source = replace(with_alarm(missing_why="", runbook=replace(RUNBOOK, over="")), composites=())
    with pytest.raises(build.IncompleteError) as raised:
        build.files(source, matrix)
    assert len(raised.value.problems) == 2
    assert "2 things" in str(raised.value)


# A field that begins with bytes_ has to be in bytes.
words = st.from_regex(r"[a-z][a-z]{2,8}", fullmatch=True).filter(lambda word: word != "bytes")


@st.composite
def catalogs(draw):
    dimension = Dimension("kind", "Kind", (*draw(st.lists(words, max_size=4, unique=True)), OTHER), "kinds")
    rows, alarms = [], []
    for number, name in enumerate(draw(st.lists(words, min_size=1, max_size=4, unique=True))):
        metrics = tuple(
            Metric(
                f"{field}_{number}",
                f"{field.capitalize()}{number}",
                draw(st.sampled_from(Unit)),
                "m",
                draw(st.sampled_from(["Sum", "p99"])),
            )
            for field in draw(st.lists(words, max_size=4, unique=True))
        )
        row = Operation(f"{name.capitalize()}{'abcd'[number]}", name, "A row", metrics, (dimension,), (("kind",),))
        by = draw(st.sampled_from(["", "kind"]))
        panels = tuple(
            Panel(draw(st.sampled_from(["first", "second"])), f"{name} {metric.name}", (metric.field,))
            for metric in row.all_metrics
        )
        extra = (Panel("first", f"{name} by kind", ("failure",), by),)
        alarms += [
            replace(
                ALARM,
                name=f"{name}-{index}",
                row=row.name,
                signals=(Signal("m1", metric.name, (("Operation", row.name),), metric.statistic),),
                period_s=draw(st.sampled_from([10, 60, 300, 3600])),
                periods=3,
                datapoints=draw(st.integers(1, 3)),
                missing=draw(st.sampled_from(get_args(Missing))),
            )
            for index, metric in enumerate(metrics)
        ]
        rows.append(replace(row, panels=(*panels, *extra)))
    return Catalog(tuple(rows), tuple(alarms), (), (), dashboards=("first", "second"), names=Names("x"))


@given(catalogs())
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_built_of_any_valid_catalog_is_valid(source):
    assert [problem for problem in lacking(source) if "no fault" not in problem] == []
    built = alarm_parameters(source)
    assert parse_alarms(built, "x").keys() == {source.prefix + alarm.name for alarm in source.alarms}
    assert runbook_texts(source).keys() == {source.prefix + alarm.name for alarm in source.alarms}


def test_without_the_preview_nothing_heavy_is_imported():
    script = (
        "import sys; before = set(sys.modules); from dashboards.cli import main; assert main(['test']) in (0, 1);"
        "assert main(['build', '--check']) in (0, 1);"
        "new = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(sorted(new))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    imported = set(ast.literal_eval(run.stdout.splitlines()[-1]))
    assert {name for name in imported if "cython" not in name} <= {"_yaml", "dashboards", "telemetry", "yaml"}
