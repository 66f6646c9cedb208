"""Runbooks for people (Markdown) and their safe steps for machines (SSM Automation documents)."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.alarm import Comparison
from dashboards.cloudwatch.body import lines
from dashboards.product.layout import dashboard_bodies
from dashboards.product.specs import Catalog, metric_of
from telemetry.watch import Action, Alarm, Composite, Limits, Runbook

if TYPE_CHECKING:
    from dashboards.cloudwatch.alarm import Metric

_CONSOLE = "https://console.aws.amazon.com/cloudwatch/home"
_SETTINGS = "the settings of the infrastructure (`infra/`)"


def runbook_texts(source: Catalog) -> dict[str, str]:
    """Return the Markdown of every alarm's runbook by the alarm's full name.

    One text serves every stage: commands speak of `$FUNCTION`, which the reader sets once.
    """
    boards = _boards(source)
    return {source.prefix + alarm.name: _text(alarm, source, boards) for alarm in source.everything}


def _boards(source: Catalog) -> dict[Metric, str]:
    """Return where a metric is drawn first: dashboard and panel."""
    found: dict[Metric, str] = {}
    for name, body in dashboard_bodies(source).items():
        for widget in body["widgets"]:
            for line in lines(widget["properties"]):
                if line.metric:
                    place = f"[dashboard]({_CONSOLE}#dashboards/) `$FUNCTION-{name}`, *{widget['properties']['title']}*"
                    found.setdefault(line.metric, place)
    return found


def _text(alarm: Alarm | Composite, source: Catalog, boards: dict[Metric, str]) -> str:
    name, runbook = source.prefix + alarm.name, alarm.runbook
    sections = [
        f"# {name}",
        f"**{alarm.severity.capitalize()}.** {alarm.meaning}. {_speaking(alarm, source)}",
        _names(alarm, source.limits.function_name),
        f"## What it means\n\n{runbook.meaning}",
        f"## Who is hurt\n\n{runbook.hurt}",
        f"## Look here first\n\n{runbook.look_first}\n\n{_places(alarm, source.limits, boards)}{_logs(alarm)}",
        f"## Likely causes, in order\n\n{_numbered(runbook.causes)}",
        f"## What to do\n\n{_numbered(tuple(_filled(step, '$FUNCTION') for step in runbook.actions))}",
        f"## When to escalate\n\n{runbook.escalate}",
        f"## How to know that it is over\n\n{runbook.over}",
        f"## When it fires\n\n{_condition(alarm, source)}",
    ]
    if runbook.automation:
        steps = "\n".join(f"- {action.name}" for action in runbook.automation)
        sections.append(
            f"## Steps a machine can run\n\n{steps}\n\nThe SSM Automation document `$FUNCTION-{alarm.name}`."
        )
    return "\n\n".join(sections) + "\n"


def _names(alarm: Alarm | Composite, function: str) -> str:
    return (
        f"`$FUNCTION` is the function: the alarm's name without `-{alarm.name}`. Set it once: "
        f"`export FUNCTION={function}-prod`. Capitals, such as BUCKET, are yours to fill in."
    )


def _speaking(alarm: Alarm | Composite, source: Catalog) -> str:
    """Say who calls somebody for an alarm: itself, or the composites over it."""
    if alarm.notifies:
        return "It calls somebody itself."
    composites = ", ".join(_link(name, source) for name in source.notifying_composites(alarm))
    return f"It calls nobody itself: {composites} speaks for it."


def _link(name: str, source: Catalog) -> str:
    return f"[{name}]({source.prefix}{name}.md)"


def _logs(alarm: Alarm | Composite) -> str:
    query = alarm.runbook.query
    saved = f"saved query `$FUNCTION/{alarm.name}`, on `/aws/lambda/$FUNCTION`"
    text = f"[Logs Insights]({_CONSOLE}#logsV2:logs-insights), {saved}:\n\n```\n{_lines(query)}\n```"
    trace = f"A row's `trace_id` opens among the [traces]({_CONSOLE}#xray:traces/query): where the time went."
    return f"{text}\n\n{trace}" if "trace_id" in query and "stats" not in query else text


def _places(alarm: Alarm | Composite, limits: Limits, boards: dict[Metric, str]) -> str:
    if isinstance(alarm, Composite):
        return ""
    watched = [metric_of(signal, limits) for signal in alarm.signals]
    places = dict.fromkeys(boards[metric] for metric in watched if metric in boards)
    return "".join(f"- {place}\n" for place in places) + "\n" if places else ""


def _condition(alarm: Alarm | Composite, source: Catalog) -> str:
    if isinstance(alarm, Composite):
        held = f"; held back while {_link(alarm.suppressor, source)} is in alarm" if alarm.suppressor else ""
        word = "All" if " AND " in alarm.rule else "Any"
        return f"{word} of these in alarm{held}:\n\n" + "\n".join(f"- {_link(name, source)}" for name in alarm.children)
    first = alarm.signals[0]
    watched = f"`{alarm.expression}`" if alarm.expression else f"`{first.statistic}` of `{first.metric}`"
    sign, threshold = Comparison(alarm.comparison).sign, alarm.threshold
    share = f" ({threshold})" if threshold.of else ""
    return (
        f"{watched} {sign} {threshold.value(source.limits):,.12g}{share} in {alarm.datapoints} of {alarm.periods} "
        f"periods of {alarm.period_s:,} s. Missing data is {alarm.missing}: {alarm.missing_why}."
    )


def _filled(text: str, function: str) -> str:
    return text.replace("{function_name}", function)


def _lines(query: str) -> str:
    return re.sub(r" \| (?=(?:filter|sort|stats|limit|display|fields) )", "\n| ", query)


def _numbered(items: tuple[str, ...]) -> str:
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def automation_documents(source: Catalog) -> dict[str, dict[str, Any]]:
    """Return the SSM Automation document of every runbook that has steps for a machine, by the alarm's full name."""
    return {
        source.prefix + alarm.name: _document(alarm, alarm.runbook, source.limits.function_name)
        for alarm in source.everything
        if alarm.runbook.automation
    }


def _document(alarm: Alarm | Composite, runbook: Runbook, function: str) -> dict[str, Any]:
    steps = [step for number, action in enumerate(runbook.automation, 1) for step in _steps(number, action, function)]
    wanted = sorted({name for action in runbook.automation for name in _inputs(action)})
    return {
        "schemaVersion": "0.3",
        "description": f"Safe first steps for the alarm {alarm.name}: {runbook.meaning}",
        "assumeRole": "{{ AutomationAssumeRole }}",
        "parameters": {
            "AutomationAssumeRole": {"type": "AWS::IAM::Role::Arn", "description": "Role the steps run with"},
            **{name: _INPUTS[name] for name in wanted},
        },
        "mainSteps": steps,
    }


_INPUTS: dict[str, dict[str, Any]] = {
    "StartTime": {"type": "Integer", "description": "Beginning of the query, epoch seconds"},
    "EndTime": {"type": "Integer", "description": "End of the query, epoch seconds"},
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


def _inputs(action: Action) -> set[str]:
    if action.kind == "query":
        return {"StartTime", "EndTime"}
    words = shlex.split(action.text) if action.kind == "command" else []
    return {place.strip("{} ") for word, place in _PLACES.items() if word in words}


def _steps(number: int, action: Action, function: str) -> list[dict[str, Any]]:
    """Return the steps of an action: an API call for a query or a command, a pause for what a person has to decide."""
    name = f"Step{number}{''.join(word.capitalize() for word in re.findall(r'[A-Za-z]+', action.name))}"
    if action.kind == "setting":
        say = f"{action.name}: change {action.text} in {_SETTINGS} and deploy; then approve to go on."
        return [{"name": name, "action": "aws:pause", "inputs": {}, "description": say}]
    if action.kind == "query":
        call = {
            "Service": "logs",
            "Api": "StartQuery",
            "logGroupNames": [f"/aws/lambda/{function}"],
            "startTime": "{{ StartTime }}",
            "endTime": "{{ EndTime }}",
            "queryString": action.text,
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
    words = shlex.split(_filled(action.text, function))
    service, api = _APIS[words[1], words[2]]
    pairs = zip(words[3::2], words[4::2], strict=True)
    given = {_OPTIONS[key[2:]]: _PLACES.get(value, value) for key, value in pairs if key != "--query"}
    step = {"name": name, "action": "aws:executeAwsApi", "inputs": {"Service": service, "Api": api, **given}}
    return [*_only_if_given(name, action), step]


def _only_if_given(name: str, action: Action) -> list[dict[str, Any]]:
    """Return the branch that ends the document before a step whose upload nobody named."""
    if "UploadId" not in _inputs(action):
        return []
    named = {"Not": {"Variable": "{{ UploadId }}", "StringEquals": ""}, "NextStep": name}
    return [{"name": f"{name}If", "action": "aws:branch", "inputs": {"Choices": [named]}, "isEnd": True}]
