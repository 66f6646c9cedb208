from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dashboards.product.runbooks import automation_documents
from infra.automation import WINDOW, calls, starts_by_itself, timed
from infra.monitoring_stack import catalog_of
from infra.settings import Deployment
from tests.infra.conftest import of_type

DOCUMENTS = automation_documents(catalog_of(Deployment()))


def window(alarm_time):
    """What the step of the documents gives, run as Systems Manager runs it."""
    names = {}
    exec(WINDOW, names)  # noqa: S102  the text that is deployed
    return names["window"]({"AlarmTime": alarm_time}, None)


@given(time=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  Hypothesis wants them naive
def test_the_window_holds_the_alarm_and_the_hours_before_it(time):
    seconds = window(time.strftime("%Y-%m-%dT%H:%M:%SZ"))
    at = int(time.timestamp())
    assert seconds == {"Start": at - 3 * 3600, "End": at + 3600}


def test_timed_documents_ask_for_nothing_that_an_event_does_not_know():
    for name, document in DOCUMENTS.items():
        content = timed(document)
        text = json.dumps(content)
        assert "{{ StartTime }}" not in text, name
        assert "{{ EndTime }}" not in text, name
        asked = {part.split("}}")[0].strip() for part in text.split("{{")[1:]}
        known = set(content["parameters"]) | {
            f"{each['name']}.{out['Name']}" for each in content["mainSteps"] for out in each.get("outputs", ())
        }
        assert asked <= known, name


def test_every_call_of_a_runbook_is_a_read_unless_a_person_fills_in_what_it_changes():
    for name, document in DOCUMENTS.items():
        changes = [
            action for _, action in calls(document) if not action.split(":")[1].startswith(("Get", "List", "Start"))
        ]
        assert not changes or not starts_by_itself(timed(document)), name


def test_every_document_that_can_start_by_itself_is_started_by_its_alarm(monitoring):
    started = {}
    for rule in of_type(monitoring, "AWS::Events::Rule").values():
        (target,) = rule["Targets"]
        (alarm,) = rule["EventPattern"]["detail"]["alarmName"]
        assert rule["EventPattern"]["detail"]["state"] == {"value": ["ALARM"]}
        assert f"automation-definition/{alarm}:$DEFAULT" in json.dumps(target["Arn"])
        started[alarm] = json.dumps(target["InputTransformer"])
    documents = {each["Name"]: each["Content"] for each in of_type(monitoring, "AWS::SSM::Document").values()}
    assert set(started) == {name for name, content in documents.items() if starts_by_itself(content)}
    assert started
    for name, given_ in started.items():
        for parameter in documents[name]["parameters"]:
            assert f'\\"{parameter}\\":' in given_, (name, parameter)


def test_every_alarm_has_its_query_saved(monitoring):
    source = catalog_of(Deployment(stage="test"))
    saved = {each["Name"]: each for each in of_type(monitoring, "AWS::Logs::QueryDefinition").values()}
    assert set(saved) == {f"edge-model-packager-test/{alarm.name}" for alarm in source.everything}
    assert {name for each in saved.values() for name in each["LogGroupNames"]} == {
        "/aws/lambda/edge-model-packager-test"
    }
