"""A dashboard as one self-contained HTML page: no network, no build step, legible in light, dark and on a phone."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import State
from dashboards.preview.axes import figure
from dashboards.preview.charts import charts
from dashboards.preview.markdown import to_html
from dashboards.preview.panels import latest, moment, shown_range, statistics_of, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dashboards.cloudwatch.body import Json
    from dashboards.preview.panels import Panel, View

_ASSETS = Path(__file__).parent / "assets"
_ROWS_SHOWN = 50


def render_page(
    title: str, body: Json, view: View, runbooks: Mapping[str, str], vega: Callable[[], str]
) -> tuple[str, list[str]]:
    """Return the page and what could not be drawn, by widget.

    `runbooks` holds Markdown by alarm name; the page carries those of the alarms it knows. `vega` gives the script that
    defines `vegaEmbed`, asked for last because making it takes longer than everything else.
    """
    panels, specs = charts(view.panels(body))
    missing = [f"{panel.widget.title}: {reason}" for panel in panels for reason in panel.unsupported]
    page = Template((_ASSETS / "page.html").read_text("utf-8")).substitute(
        title=escape(title),
        style=(_ASSETS / "page.css").read_text("utf-8"),
        range=shown_range(view) + _variables(body),
        alarms=_alarm_summary(view),
        unsupported=_unsupported_summary(missing),
        panels="\n".join(_section(panel, view, runbooks) for panel in panels),
        runbooks=_runbooks(view, runbooks),
        # In a script element only `</` and `<!--` can end or change what the browser reads.
        specs=json.dumps(specs, separators=(",", ":")).replace("<", "\\u003c"),
        vega=vega(),
        script=(_ASSETS / "page.js").read_text("utf-8"),
    )
    return page, missing


def _variables(body: Json) -> str:
    shown = (f"{v.get('label', v.get('id'))} = {v.get('defaultValue', 'all')}" for v in body.get("variables") or ())
    return "".join(f" · {escape(text)}" for text in shown)


def _alarm_summary(view: View) -> str:
    states = [line.at(view.end_s) for line in view.timelines.values()]
    counts = ((state, states.count(state)) for state in (State.ALARM, State.INSUFFICIENT_DATA, State.OK))
    return f"<p>{' '.join(f'{_chip(state)} {count}' for state, count in counts)}</p>" if states else ""


def _chip(state: State) -> str:
    words = {State.OK: "OK", State.ALARM: "In alarm", State.INSUFFICIENT_DATA: "Insufficient data"}
    return f'<span class="chip {state.lower()}">{words[state]}</span>'


def _unsupported_summary(missing: list[str]) -> str:
    if not missing:
        return ""
    items = "".join(f"<li>{escape(reason)}</li>" for reason in missing)
    return f'<aside class="unsupported" aria-label="Not drawn"><h2>Not drawn offline</h2><ul>{items}</ul></aside>'


def _section(panel: Panel, view: View, runbooks: Mapping[str, str]) -> str:
    widget = panel.widget
    place = f"--x:{widget.x + 1};--y:{widget.y + 1};--w:{widget.width};--h:{widget.height}"
    heading = "" if widget.type == "text" else f'<h2 id="t{widget.number}">{escape(widget.title)}</h2>'
    name = f'aria-labelledby="t{widget.number}"' if heading else f'aria-label="{escape(widget.title)}"'
    return (
        f'<section class="widget {escape(widget.type)}" style="{place}" {name}>{heading}'
        f'<div class="content" tabindex="0" role="group" {name}>{_content(panel, view)}</div>'
        f"{_source(panel, runbooks)}</section>\n"
    )


def _content(panel: Panel, view: View) -> str:
    parts = [f'<p class="unsupported">Not drawn offline: {escape(reason)}</p>' for reason in panel.unsupported]
    if panel.widget.type == "text" and not panel.unsupported:
        parts.append(to_html(str(panel.widget.properties.get("markdown", "")), 2))
    if panel.states:
        parts.append(_states(panel, view))
    if panel.plots:
        parts.append(_plots(panel))
    elif panel.widget.type == "log" and not panel.unsupported:
        parts.append(_log_table(panel.rows))
    return "".join(parts) or f'<p class="empty">{escape(panel.nothing)}</p>'


def _states(panel: Panel, view: View) -> str:
    items = []
    for name, state in panel.states:
        changes = view.timelines[name].changes
        since = f" since {moment(changes[-1].time_s)}" if changes else ""
        items.append(f"<li>{_chip(state)} {_runbook_link(name)}<small>{since}</small></li>")
    return f'<ul class="alarms">{"".join(items)}</ul>'


def _plots(panel: Panel) -> str:
    view = panel.widget.properties.get("view", "timeSeries")
    if view == "singleValue":
        numbers = (
            f"<div><dt>{escape(p.label)}</dt><dd>{figure(latest(p))} {_unit(p.unit)}</dd></div>" for p in panel.plots
        )
        numbers_list = f'<dl class="numbers">{"".join(numbers)}</dl>'
        return numbers_list + (_chart(panel) if panel.widget.properties.get("sparkline") else "")
    if view == "table":
        return _table(("", "Min", "Max", "Sum", "Average"), (statistics_of(p, figure) for p in panel.plots))
    return _chart(panel)


def _chart(panel: Panel) -> str:
    if all(latest(plot) is None for plot in panel.plots):
        return '<p class="empty">No data in this time</p>'
    words = "; ".join(f"{plot.label} {figure(latest(plot))} {plot.unit}".strip() for plot in panel.plots)
    return f'<div class="chart" data-chart="{panel.widget.number}" role="img" aria-label="{escape(words)}"></div>'


def _unit(unit: str) -> str:
    return f"<small>{escape(unit)}</small>" if unit else ""


def _log_table(rows: tuple[Json, ...]) -> str:
    if not rows:
        return '<p class="empty">No line answers this query</p>'
    names, cells = table_of(rows[:_ROWS_SHOWN])
    more = f"<p>{len(rows) - _ROWS_SHOWN} more rows</p>" if len(rows) > _ROWS_SHOWN else ""
    return _table(names, cells) + more


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell) or "Metric"}</th>' for cell in head)
    rest = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{rest}</tbody></table>"


def _source(panel: Panel, runbooks: Mapping[str, str]) -> str:
    links = ", ".join(_runbook_link(name) for name in panel.alarms if name in runbooks)
    watched = f"<p>Runbooks: {links}</p>" if links else ""
    text = escape(json.dumps(panel.widget.properties, indent=1))
    label, shows = escape(panel.widget.title), f"Source{' and runbooks' if links else ''}"
    return (
        f'<details><summary aria-label="{shows} of {label}">{shows}</summary>'
        f'{watched}<pre tabindex="0" aria-label="Definition of {label}">{text}</pre></details>'
    )


def _runbook_link(name: str) -> str:
    return f'<a href="#runbook-{escape(name)}">{escape(name)}</a>'


def _runbooks(view: View, runbooks: Mapping[str, str]) -> str:
    articles = (
        f'<article id="runbook-{escape(name)}" tabindex="-1">{_runbook(name, runbooks)}'
        '<p><a href="#dashboard">Back to the panels</a></p></article>'
        for name in view.alarms
    )
    return f'<section id="runbooks" aria-label="Runbooks">{"".join(articles)}</section>' if view.alarms else ""


def _runbook(name: str, runbooks: Mapping[str, str]) -> str:
    html = to_html(runbooks.get(name, f"# {name}\n\nNo runbook was given."), 2)
    # Beside each other in a folder they link to files, on the page to places.
    return re.sub(r'href="([\w-]+)\.md"', r'href="#runbook-\1"', html)
