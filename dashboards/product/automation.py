"""SSM Automation documents: the safe first steps of runbooks, one document for each set of steps.

https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-schemas-features.html
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dashboards.product.specs import Catalog
    from telemetry.watch.types import Action, Automation, Names

Document = dict[str, Any]
WINDOW = '''
from datetime import datetime, timedelta, timezone

def window(events, context):
    """Return the hours around an alarm in epoch seconds, as Logs Insights takes them."""
    text = events["AlarmTime"].replace("Z", "+00:00")
    alarm = datetime.fromisoformat(text) if text else datetime.now(timezone.utc)
    start, end = alarm - timedelta(hours=3), alarm + timedelta(hours=1)
    return {"Start": int(start.timestamp()), "End": int(end.timestamp())}
'''
_ALARM_TIME = {"type": "String", "default": "", "description": "Time of the alarm, ISO 8601; empty: now"}
_INPUTS: dict[str, Document] = {
    "AlarmTime": _ALARM_TIME,
    "Bucket": {"type": "String", "description": "Bucket of the use case"},
    "Key": {"type": "String", "default": "", "description": "Key of an unfinished upload, to abort it"},
    "UploadId": {"type": "String", "default": "", "description": "Id of that upload; empty: nothing is aborted"},
}
_APIS = {
    ("s3api", "list-multipart-uploads"): ("s3", "ListMultipartUploads"),
    ("s3api", "abort-multipart-upload"): ("s3", "AbortMultipartUpload"),
    ("lambda", "get-function-configuration"): ("lambda", "GetFunctionConfiguration"),
}
_OPTIONS = {
    "bucket": "Bucket",
    "prefix": "Prefix",
    "key": "Key",
    "upload-id": "UploadId",
    "function-name": "FunctionName",
}
_PLACES = {"BUCKET": "{{ Bucket }}", "KEY": "{{ Key }}", "UPLOAD_ID": "{{ UploadId }}"}


def automation_documents(source: Catalog) -> dict[str, Document]:
    """Return every Automation document by its name. Runbooks with the same steps share one."""
    wanted = {alarm.runbook.automation.name: alarm.runbook.automation for alarm in source.everything
              if alarm.runbook.automation}  # fmt: skip
    return {source.prefix + name: _document(each, source.names) for name, each in wanted.items()}


def starts_by_itself(document: Mapping[str, Any]) -> bool:
    """Tell whether the event of an alarm holds all that a document asks for; the rest waits for a person."""
    return set(document["parameters"]) <= {"AutomationAssumeRole", "AlarmTime"}


def started_by(source: Catalog) -> dict[str, list[str]]:
    """Return, for each document that starts by itself, the full names of the alarms that call and so start it."""
    documents = automation_documents(source)
    found: dict[str, list[str]] = {}
    for alarm in source.everything:
        automation = alarm.runbook.automation
        if alarm.notifies and automation and starts_by_itself(documents[source.prefix + automation.name]):
            found.setdefault(source.prefix + automation.name, []).append(source.prefix + alarm.name)
    return found


def _document(automation: Automation, names: Names) -> Document:
    steps = [step for number, action in enumerate(automation.steps, 1) for step in _steps(number, action, names)]
    wanted = sorted({name for action in automation.steps for name in _inputs(action)})
    return {
        "schemaVersion": "0.3",
        "description": f"{automation.meaning}. Changes nothing that nobody named.",
        "assumeRole": "{{ AutomationAssumeRole }}",
        "parameters": {
            "AutomationAssumeRole": {"type": "AWS::IAM::Role::Arn", "description": "Role the steps run with"},
            **{name: _INPUTS[name] for name in wanted},
        },
        "mainSteps": [*([_WINDOW_STEP] if "AlarmTime" in wanted else []), *steps],
    }


_WINDOW_STEP: Document = {
    "name": "Window",
    "action": "aws:executeScript",
    "inputs": {
        "Runtime": "python3.11",
        "Handler": "window",
        "InputPayload": {"AlarmTime": "{{ AlarmTime }}"},
        "Script": WINDOW,
    },
    "outputs": [{"Name": name, "Selector": f"$.Payload.{name}", "Type": "Integer"} for name in ("Start", "End")],
}


def _inputs(action: Action) -> set[str]:
    if action.kind == "query":
        return {"AlarmTime"}
    words = shlex.split(action.text)
    return {place.strip("{} ") for word, place in _PLACES.items() if word in words}


def _steps(number: int, action: Action, names: Names) -> list[Document]:
    """Return the steps of an action: a call of an API, and for a query the wait for its rows."""
    name = f"Step{number}{''.join(word.capitalize() for word in re.findall(r'[A-Za-z]+', action.name))}"
    if action.kind == "query":
        return _query_steps(name, action.text, names.function)
    words = shlex.split(names.filled(action.text))
    service, api = _APIS[words[1], words[2]]
    pairs = zip(words[3::2], words[4::2], strict=True)
    given = {_OPTIONS[key[2:]]: _PLACES.get(value, value) for key, value in pairs if key != "--query"}
    step = {"name": name, "action": "aws:executeAwsApi", "inputs": {"Service": service, "Api": api, **given}}
    return [*_only_if_given(name, action), step]


def _query_steps(name: str, query: str, function: str) -> list[Document]:
    call = {
        "Service": "logs",
        "Api": "StartQuery",
        "logGroupNames": [f"/aws/lambda/{function}"],
        "startTime": "{{ Window.Start }}",
        "endTime": "{{ Window.End }}",
        "queryString": query,
    }
    output = {"Name": "QueryId", "Selector": "$.queryId", "Type": "String"}
    results = {"Service": "logs", "Api": "GetQueryResults", "queryId": f"{{{{ {name}.QueryId }}}}"}
    return [
        {"name": name, "action": "aws:executeAwsApi", "inputs": call, "outputs": [output]},
        {
            "name": f"{name}Wait",
            "action": "aws:waitForAwsResourceProperty",
            "timeoutSeconds": 120,
            "inputs": {**results, "PropertySelector": "$.status", "DesiredValues": ["Complete"]},
        },
        {"name": f"{name}Results", "action": "aws:executeAwsApi", "inputs": results},
    ]


def _only_if_given(name: str, action: Action) -> list[Document]:
    """Return the branch that ends the document before a step whose upload nobody named."""
    if "UploadId" not in _inputs(action):
        return []
    named = {"Not": {"Variable": "{{ UploadId }}", "StringEquals": ""}, "NextStep": name}
    return [{"name": f"{name}If", "action": "aws:branch", "inputs": {"Choices": [named]}, "isEnd": True}]
