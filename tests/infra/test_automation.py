from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dashboards.product.automation import WINDOW, automation_documents, starts_by_itself
from infra.automation import calls
from infra.monitoring_stack import catalog_of
from infra.settings import Deployment
from tests.infra.conftest import EVERYTHING, of_type

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


def test_without_a_time_the_window_is_that_of_the_present():
    seconds = window("")
    assert seconds["End"] - seconds["Start"] == 4 * 3600


def test_documents_ask_for_nothing_that_an_event_or_a_person_does_not_give():
    for name, document in DOCUMENTS.items():
        asked = {part.split("}}")[0].strip() for part in json.dumps(document).split("{{")[1:]}
        known = set(document["parameters"]) | {
            f"{each['name']}.{out['Name']}" for each in document["mainSteps"] for out in each.get("outputs", ())
        }
        assert asked <= known, name


def test_no_document_waits_for_a_person():
    for name, document in DOCUMENTS.items():
        assert "aws:pause" not in {step["action"] for step in document["mainSteps"]}, name


def test_no_two_documents_have_the_same_steps():
    bodies = [json.dumps([each["parameters"], each["mainSteps"]]) for each in DOCUMENTS.values()]
    assert len(set(bodies)) == len(bodies)


def test_every_call_of_a_runbook_is_a_read_unless_a_person_fills_in_what_it_changes():
    for name, document in DOCUMENTS.items():
        changes = [
            action for _, action in calls(document) if not action.split(":")[1].startswith(("Get", "List", "Start"))
        ]
        assert not changes or not starts_by_itself(document), name


def test_each_document_is_started_once_by_the_alarms_that_call_and_by_no_child_of_them(monitoring):
    source = catalog_of(EVERYTHING)
    calling = {source.prefix + alarm.name for alarm in source.everything if alarm.notifies}
    documents = {each["Name"]: each["Content"] for each in of_type(monitoring, "AWS::SSM::Document").values()}
    started = {}
    for rule in of_type(monitoring, "AWS::Events::Rule").values():
        (target,) = rule["Targets"]
        alarms = rule["EventPattern"]["detail"]["alarmName"]
        assert rule["EventPattern"]["detail"]["state"] == {"value": ["ALARM"]}
        assert set(alarms) <= calling
        (name,) = (name for name in documents if f"automation-definition/{name}:$DEFAULT" in json.dumps(target["Arn"]))
        assert name not in started
        started[name] = alarms
        given_ = json.dumps(target["InputTransformer"])
        for parameter in documents[name]["parameters"]:
            assert f'\\"{parameter}\\":' in given_, (name, parameter)
    assert 0 < len(started) <= 12
    assert set(started) <= {name for name, content in documents.items() if starts_by_itself(content)}


def test_every_alarm_has_its_query_saved(monitoring):
    source = catalog_of(EVERYTHING)
    saved = {each["Name"]: each for each in of_type(monitoring, "AWS::Logs::QueryDefinition").values()}
    assert set(saved) == {f"edge-model-packager-test/{alarm.name}" for alarm in source.everything}
    assert {name for each in saved.values() for name in each["LogGroupNames"]} == {
        "/aws/lambda/edge-model-packager-test"
    }
