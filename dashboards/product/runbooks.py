"""Runbooks as Markdown, for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dashboards.cloudwatch.body import lines
from dashboards.product.layout import dashboard_bodies, introduction
from dashboards.product.specs import Catalog, metric_of
from telemetry.watch import Alarm, Composite

if TYPE_CHECKING:
    from dashboards.cloudwatch.alarm import Metric
    from dashboards.product.widgets import Body
    from telemetry.watch import Names

_RELATIVE = re.compile(r"\[([^\]]+)\]\([\w-]+\.md\)")
"""Links between the files of runbooks, which a dashboard has not."""


def runbook_texts(source: Catalog) -> dict[str, str]:
    """Return the Markdown of every alarm's runbook by the alarm's full name, with the names of the stage in it."""
    boards = _boards(source)
    return {source.prefix + alarm.name: _text(alarm, source, boards) for alarm in source.everything}


def runbook_board(source: Catalog) -> Body:
    """Return the body of the dashboard with the runbook of each alarm that calls somebody."""
    texts = runbook_texts(source)
    calling = [alarm for alarm in source.everything if alarm.notifies]
    widgets = [
        {
            "type": "text",
            "x": 12 * (number % 2),
            "y": 3 + 24 * (number // 2),
            "width": 12,
            "height": 24,
            "properties": {"markdown": _RELATIVE.sub(r"**\1**", texts[source.prefix + alarm.name])},
        }
        for number, alarm in enumerate(calling)
    ]
    about = f"{introduction('runbooks', source)} Account ${{AWS::AccountId}}, region ${{AWS::Region}}."
    head = {"type": "text", "x": 0, "y": 0, "width": 24, "height": 3, "properties": {"markdown": about}}
    return {"widgets": [head, *widgets]}


def _boards(source: Catalog) -> dict[Metric, str]:
    """Return where a metric is drawn first: dashboard and panel."""
    found: dict[Metric, str] = {}
    for name, body in dashboard_bodies(source).items():
        for widget in body["widgets"]:
            for line in lines(widget["properties"]):
                if line.metric:
                    board = f"[dashboard]({source.names.dashboard(name)}) `{source.prefix}{name}`"
                    found.setdefault(line.metric, f"{board}, *{widget['properties']['title']}*")
    return found


def _text(alarm: Alarm | Composite, source: Catalog, boards: dict[Metric, str]) -> str:
    name, runbook = source.prefix + alarm.name, alarm.runbook
    places = _places(alarm, source.names, boards) + _logs(alarm, source.names)
    sections = [
        f"# {name}",
        f"**{alarm.severity.capitalize()}.** {alarm.meaning}. {_speaking(alarm, source)}",
        f"Of the stage {source.names.stage}. Capitals in commands, such as BUCKET, are yours to fill in.",
        f"## What it means\n\n{runbook.meaning}",
        f"## Who is hurt\n\n{runbook.hurt}",
        f"## Look here first\n\n{source.names.filled(runbook.look_first)}\n\n{places}",
        f"## Likely causes, in order\n\n{_numbered(runbook.causes)}",
        f"## What to do\n\n{_numbered(tuple(map(source.names.filled, runbook.actions)))}",
        f"## When to escalate\n\n{runbook.escalate}",
        f"## How to know that it is over\n\n{runbook.over}",
        f"## When it fires\n\n{_condition(alarm, source)}",
    ]
    if runbook.automation:
        steps = "\n".join(f"- {action.name}" for action in runbook.automation.steps)
        document = _document(source.prefix + runbook.automation.name, source.names)
        sections.append(f"## Steps a machine can run\n\n{steps}\n\n{document}")
    return "\n\n".join(sections) + "\n"


def _document(name: str, names: Names) -> str:
    """Say what runs the steps, and where lies what it collected."""
    newest = (
        "aws ssm describe-automation-executions --max-results 5"
        f" --filters Key=DocumentNamePrefix,Values={name}"
        " --query 'AutomationExecutionMetadataList[].[ExecutionStartTime,AutomationExecutionId]' --output text"
    )
    return (
        f"The SSM Automation document `{name}`. What it collected: [its executions]({names.executions}), or `{newest}`,"
        " then, with an id of those, `aws ssm get-automation-execution --automation-execution-id EXECUTION_ID`."
    )


def _speaking(alarm: Alarm | Composite, source: Catalog) -> str:
    """Say who calls somebody for an alarm: itself, or the composites over it."""
    if alarm.notifies:
        return "It calls somebody itself."
    composites = ", ".join(_link(name, source) for name in source.notifying_composites(alarm))
    return f"It calls nobody itself: {composites} speaks for it."


def _link(name: str, source: Catalog) -> str:
    return f"[{name}]({source.prefix}{name}.md)"


def _logs(alarm: Alarm | Composite, names: Names) -> str:
    query = alarm.runbook.query
    saved = f"saved query `{names.function}/{alarm.name}`, on `/aws/lambda/{names.function}`"
    text = f"[Logs Insights]({names.insights(query)}), {saved}:\n\n```\n{_lines(query)}\n```"
    traces = names.page("cloudwatch", "xray:traces/query")
    trace = f"A row's `trace_id` opens among the [traces]({traces}): where the time went."
    return f"{text}\n\n{trace}" if "trace_id" in query and "stats" not in query else text


def _places(alarm: Alarm | Composite, names: Names, boards: dict[Metric, str]) -> str:
    if isinstance(alarm, Composite):
        return ""
    watched = [metric_of(signal, names) for signal in alarm.signals]
    places = dict.fromkeys(boards[metric] for metric in watched if metric in boards)
    return "".join(f"- {place}\n" for place in places) + "\n" if places else ""


def _condition(alarm: Alarm | Composite, source: Catalog) -> str:
    if isinstance(alarm, Composite):
        held = f"; held back while {_link(alarm.suppressor, source)} is in alarm" if alarm.suppressor else ""
        word = "All" if alarm.word == "AND" else "Any"
        return f"{word} of these in alarm{held}:\n\n" + "\n".join(f"- {_link(name, source)}" for name in alarm.children)
    first = alarm.signals[0]
    watched = f"`{alarm.expression}`" if alarm.expression else f"`{first.statistic}` of `{first.metric}`"
    sign, threshold = alarm.comparison, alarm.threshold
    share = f" ({threshold})" if threshold.of else ""
    return (
        f"{watched} {sign} {threshold.value(source.limits):,.12g}{share} in {alarm.datapoints} of {alarm.periods} "
        f"periods of {alarm.period_s:,} s. Missing data is {alarm.missing}: {alarm.missing_why}."
    )


def _lines(query: str) -> str:
    return re.sub(r" \| (?=(?:filter|sort|stats|limit|display|fields) )", "\n| ", query)


def _numbered(items: tuple[str, ...]) -> str:
    return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))
