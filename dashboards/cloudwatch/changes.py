"""What a change of alarms would have changed: which were added, removed or altered, and when each called."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from dashboards.cloudwatch.actions import taken
from dashboards.cloudwatch.alarm import State
from dashboards.cloudwatch.backtest import in_alarm
from dashboards.cloudwatch.explanations import in_moments, moment
from dashboards.cloudwatch.timeline import Timeline, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dashboards.cloudwatch.alarm import MuteRule
    from dashboards.cloudwatch.alarm_files import Definitions
    from dashboards.cloudwatch.recording import Recording

_CELLS = 60
"""Characters of a timeline in text."""

_WIDTH, _HEIGHT, _LABEL = 720, 18, 60  # pixels of a timeline in a picture
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Side:
    """An alarm of one version over the history; times in seconds from its start.

    Attributes:
        calls_s: When its actions for ALARM were taken.
        spells_s: From when to when it was in ALARM.
    """

    calls_s: tuple[float, ...]
    spells_s: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm that differs between two versions. A side is None where it is not there, or cannot be evaluated.

    Attributes:
        kind: added, removed, changed, or affected: not changed itself, but what it watches is.
        notes: What is different in its definition, or why a side is not evaluated.
    """

    name: str
    kind: str
    before: Side | None
    after: Side | None
    notes: tuple[str, ...] = ()

    @property
    def louder(self) -> int:
        """How many calls more there would be now."""
        return len(self.after.calls_s if self.after else ()) - len(self.before.calls_s if self.before else ())


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """Two versions over a history of so many seconds."""

    differences: tuple[AlarmChange, ...]
    length_s: int


def compare(old: Definitions, new: Definitions, recording: Recording, start_s: int, end_s: int) -> ChangeReport:
    """Return what differs between two versions, evaluated over the same history."""
    sides = [_sides(each, recording, start_s, end_s) for each in (old, new)]
    (before, old_failed), (after, new_failed) = sides
    found = []
    for name in sorted({*old.alarms, *new.alarms}):
        kind = _kind(name, old, new, before.get(name), after.get(name))
        if kind:
            failed = [failed[name] for failed in (old_failed, new_failed) if name in failed]
            notes = (
                (*_notes(old.given.get(name, {}), new.given.get(name, {})), *failed)
                if kind == "changed"
                else tuple(failed)
            )
            found.append(AlarmChange(name, kind, before.get(name), after.get(name), notes))
    return ChangeReport(tuple(found), end_s - start_s)


def _kind(name: str, old: Definitions, new: Definitions, before: Side | None, after: Side | None) -> str:
    if name not in old.alarms:
        return "added"
    if name not in new.alarms:
        return "removed"
    if old.alarms[name] != new.alarms[name]:
        return "changed"
    return "affected" if before != after else ""


def _sides(
    definitions: Definitions, recording: Recording, start_s: int, end_s: int
) -> tuple[dict[str, Side], dict[str, str]]:
    failed: dict[str, str] = {}
    lines = run(definitions.alarms, recording.store, start_s, end_s, recording.lines, failed=failed)
    return {name: _side(line, lines, definitions.mutes, start_s, end_s) for name, line in lines.items()}, failed


def _side(line: Timeline, lines: Mapping[str, Timeline], mutes: list[MuteRule], start_s: int, end_s: int) -> Side:
    acted = taken(line, lines, mutes, end_s)
    spells = [(begin - start_s, end - start_s) for begin, end in in_alarm(line, end_s)]
    return Side(tuple(time - start_s for time in acted.times(State.ALARM)), tuple(spells))


def _notes(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            yield f"{key}: {before.get(key, 'not there')} -> {after.get(key, 'not there')}"


def _line(side: Side | None, length_s: int) -> str:
    """Return a timeline in characters: `#` in ALARM, `!` when it called, `.` else."""
    if side is None:
        return "not there"
    cells = ["."] * _CELLS
    per_cell = max(1.0, length_s / _CELLS)
    for begin, end in side.spells_s:
        for cell in range(int(begin // per_cell), min(_CELLS, int(-(-end // per_cell)))):
            cells[cell] = "#"
    for call in side.calls_s:
        cells[min(_CELLS - 1, int(call // per_cell))] = "!"
    return "".join(cells)


def _calls(side: Side | None) -> str:
    if side is None:
        return "not there"
    more = f", and {len(side.calls_s) - _SHOWN} more" if len(side.calls_s) > _SHOWN else ""
    return f"{len(side.calls_s)} calls" + (f" at {in_moments(side.calls_s[:_SHOWN])}{more}" if side.calls_s else "")


def summary(comparison: ChangeReport) -> str:
    """Return the change in a sentence."""
    before = sum(len(each.before.calls_s) for each in comparison.differences if each.before)
    after = sum(len(each.after.calls_s) for each in comparison.differences if each.after)
    count = len(comparison.differences)
    if not count:
        return f"No alarm differs over {moment(comparison.length_s)} of history."
    return f"{count} alarms differ over {moment(comparison.length_s)} of history: {before} calls before, {after} now."


def in_text(comparison: ChangeReport) -> str:
    """Return the change for a terminal."""
    parts = [summary(comparison)]
    for each in comparison.differences:
        parts += ["", f"{each.name} ({each.kind})", *(f"  {note}" for note in each.notes)]
        for word, side in (("before", each.before), ("now", each.after)):
            parts.append(f"  {word:6} {_line(side, comparison.length_s)}  {_calls(side)}")
    if comparison.differences:
        parts += ["", "# in ALARM, ! called"]
    return "\n".join(parts)


def in_markdown(comparison: ChangeReport) -> str:
    """Return the change as a comment for a pull request."""
    parts = ["### What this change of alarms would have changed", "", summary(comparison)]
    if comparison.differences:
        parts += ["", "| alarm | | calls before | calls now | difference |", "|---|---|---|---|---|"]
        parts += [
            f"| {_cell(each.name)} | {each.kind} | {_calls(each.before)} | {_calls(each.after)} | {each.louder:+d} |"
            for each in comparison.differences
        ]
        parts += [
            "",
            "<details><summary>Timelines</summary>",
            "",
            "```",
            in_text(comparison).replace("```", "'''"),
            "```",
            "</details>",
        ]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return escape(text.replace("|", "\\|").replace("\n", " "))


def in_html(comparison: ChangeReport, title: str) -> str:
    """Return the change as a page of its own, with a picture of both timelines of each alarm."""
    sections = "".join(_section(each, comparison.length_s) for each in comparison.differences)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;"
        "padding:0 1rem}svg{max-width:100%;height:auto}.bar{fill:#8884}.alarm{fill:#c4302b}.call{stroke:currentcolor}"
        "text{fill:currentcolor;font-size:12px}pre{white-space:pre-wrap}</style></head><body>"
        f"<main><h1>{escape(title)}</h1><p>{escape(summary(comparison))}</p>{sections}</main></body></html>\n"
    )


def _section(each: AlarmChange, length_s: int) -> str:
    notes = escape("\n".join(each.notes))
    told = f"before: {_calls(each.before)}; now: {_calls(each.after)}"
    return (
        f"<section><h2>{escape(each.name)}</h2><p>{each.kind}; {escape(told)}</p>"
        + (f"<pre>{notes}</pre>" if notes else "")
        + f'<svg role="img" aria-label="{escape(told)}" viewBox="0 0 {_WIDTH + _LABEL} {2 * _HEIGHT + 8}">'
        + _row("before", each.before, length_s, 0)
        + _row("now", each.after, length_s, _HEIGHT + 8)
        + "</svg></section>"
    )


def _row(word: str, side: Side | None, length_s: int, top: int) -> str:
    scale = _WIDTH / max(1, length_s)
    shapes = [
        f'<text x="0" y="{top + 13}">{word}</text>',
        f'<rect class="bar" x="{_LABEL}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}"/>',
    ]
    for begin, end in side.spells_s if side else ():
        width = max(1.0, (end - begin) * scale)
        shapes.append(
            f'<rect class="alarm" x="{_LABEL + begin * scale:.1f}" y="{top}" width="{width:.1f}" height="{_HEIGHT}"/>'
        )
    for call in side.calls_s if side else ():
        x = _LABEL + min(length_s, call) * scale
        shapes.append(
            f'<line class="call" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + _HEIGHT}" stroke-width="2"/>'
        )
    return "".join(shapes)
