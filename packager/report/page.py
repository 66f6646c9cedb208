"""The report of a run: one HTML page that needs no network and no script, for light, dark and a phone."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from packager.errors import in_units, printable
from packager.report.charts import chart, shares
from packager.report.series import memory, speeds, stages
from packager.report.spans import rows, waterfall
from telemetry import catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packager.report.recording import RunRecording
    from packager.report.series import StageFigures
    from packager.results import ComponentResult, Finding, PackageResult
    from telemetry import Span

_WORDS = {
    "packaged": "packaged",
    "already_there": "already there",
    "failed": "failed",
    "left": "left for the next call",
}
_MAX_TARGETS = 200
_NONE = "\N{EN DASH}"


def render_report(recording: RunRecording, result: PackageResult, title: str) -> bytes:
    """The page, in UTF-8. `title` names the run."""
    assets = files("packager.report").joinpath("assets")
    page = Template(assets.joinpath("run.html").read_text("utf-8")).substitute(
        title=escape(printable(title, 300)),
        style=assets.joinpath("run.css").read_text("utf-8"),
        outcome=_outcome(result),
        when=f"{recording.started_at:%Y-%m-%d %H:%M:%S} UTC",
        figures=_figures(recording, result),
        problems=_problems(result),
        targets=_targets(result.components),
        spans=waterfall(rows(recording.spans)),
        speed=chart(
            "Bytes read per second", speeds(recording.samples, recording.duration_s), recording.duration_s, "/s"
        ),
        stages=_stages(recording),
        memory=chart("Memory", [memory(recording.samples, recording.duration_s)], recording.duration_s, ""),
        copied=_copied(recording.spans, result.components),
    )
    return page.encode("utf-8", "backslashreplace")


def _outcome(result: PackageResult) -> str:
    statuses = [each.status for each in result.components]
    counts = [(status, statuses.count(status)) for status in _WORDS if status in statuses]
    if result.error or not counts:
        counts = [*counts, ("failed", 0)] if not any(status == "failed" for status, _ in counts) else counts
    return " ".join(_chip(status, count) for status, count in counts)


def _chip(status: str, count: int = 0) -> str:
    kind = "bad" if status == "failed" else "quiet" if status == "left" else "good"
    return f'<span class="chip {kind}">{f"{count} " if count else ""}{_WORDS[status]}</span>'


def _figures(recording: RunRecording, result: PackageResult) -> str:
    whole = next((span for span in recording.spans if span.name == catalog.PACKAGE_REQUEST.span), None)
    bytes_in = int(whole.fields.get("bytes_in", 0)) if whole else 0
    size_bytes = {each.uri: each.size_bytes or 0 for each in result.components if each.uri}
    peak = max((sample.resident_bytes for sample in recording.samples), default=0)
    figures = {
        "time": f"{recording.duration_s:.2f} s",
        "read": in_units(bytes_in),
        "components": in_units(sum(size_bytes.values())),
        "read per second": in_units(bytes_in / max(recording.duration_s, 1e-9)),
        "most memory": in_units(peak),
        "most scratch": in_units(result.peak_scratch_bytes),
    }
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items())


def _problems(result: PackageResult) -> str:
    errors: dict[str, list[str]] = {}
    warnings: dict[tuple[str, str], tuple[Finding, list[str]]] = {}
    for each in result.components:
        if each.error:
            errors.setdefault(str(each.error), []).append(each.target)
        for finding in each.warnings:
            warnings.setdefault((finding.rule, finding.message), (finding, []))[1].append(each.target)
    if result.error and str(result.error) not in errors:
        errors[str(result.error)] = []
    items = [
        *(_problem("bad", "error", text, targets) for text, targets in errors.items()),
        *(
            _problem("quiet", f"warning {finding.rule}", f"{finding.message} {finding.next_step}", targets)
            for finding, targets in warnings.values()
        ),
    ]
    return f"<ul>{''.join(items)}</ul>" if items else '<p class="quiet">None.</p>'


def _problem(kind: str, word: str, text: str, targets: Sequence[str]) -> str:
    where = f"<small>{escape(printable(', '.join(targets), 400))}</small>" if targets else ""
    return (
        f'<li><span class="chip {kind}">{escape(printable(word))}</span> {escape(printable(text, 4000))} {where}</li>'
    )


def _targets(components: Sequence[ComponentResult]) -> str:
    if not components:
        return '<p class="quiet">Nothing was begun.</p>'
    names = ("Target", "", "Size", "Files", "Time", "Strategy", "Where")
    head = "".join(f'<th scope="col">{name or "Outcome"}</th>' for name in names)
    body = "".join(_target(each) for each in components[:_MAX_TARGETS])
    more = len(components) - _MAX_TARGETS
    rest = f"<p>{more} more</p>" if more > 0 else ""
    return (
        '<div class="wide" tabindex="0" role="group" aria-label="Targets"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{rest}"
    )


def _target(each: ComponentResult) -> str:
    size = in_units(each.size_bytes) if each.size_bytes is not None else _NONE
    where = f"{escape(printable(each.uri, 1100))}<br><small>SHA-256 {each.sha256}</small>" if each.uri else _NONE
    cells = (
        _chip(each.status),
        size,
        str(each.files) if each.files is not None else _NONE,
        f"{each.duration_s:.2f} s",
        escape(printable(each.strategy)),
        where,
    )
    return (
        f'<tr><th scope="row">{escape(printable(each.target))}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    )


def _stages(recording: RunRecording) -> str:
    found = stages(recording.samples)
    if not found:
        return ""
    body = "".join(map(_stage, found))
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Stage", "Bytes", "Time", "Mean", "Most memory"))
    return (
        '<div class="wide" tabindex="0" role="group" aria-label="Stages"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _stage(each: StageFigures) -> str:
    mean = f"{in_units(each.size_bytes / each.duration_s)}/s" if each.duration_s else _NONE
    cells = (in_units(each.size_bytes), f"{each.duration_s:.2f} s", mean, in_units(each.peak_memory_bytes))
    name = escape(printable(each.name, 120))
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _copied(spans: Sequence[Span], components: Sequence[ComponentResult]) -> str:
    by_id = {span.span_id: span for span in spans}
    staged = {each.target for each in components if each.strategy in {"standard", "sequential"}}
    items = [
        _made(target, span.fields, staged=target in staged)
        for span in spans
        if span.name == catalog.ZIP_COMPONENT.span and (target := _target_of(span, by_id)) is not None
    ]
    if not items:
        return '<p class="quiet">Nothing was written: no component was made in this run.</p>'
    return f'<ul class="made">{"".join(items)}</ul>'


def _target_of(span: Span, by_id: Mapping[str, Span]) -> str | None:
    at: Span | None = span
    while at is not None and at.name != catalog.PACKAGE_TARGET.span:
        at = by_id.get(at.parent_id)
    return str(at.fields.get("target", "")) if at and span.outcome == "success" else None


def _made(target: str, fields: Mapping[str, object], *, staged: bool) -> str:
    size, files_ = _count(fields, "bytes_out"), _count(fields, "files")
    copied = _count(fields, "copied_bytes")
    parts = [("copied from the artifact as they stand", copied), ("packed, with headers and directory", size - copied)]
    words = _words(parts, size)
    if staged:
        parts, words = [("by way of scratch", size)], [f"{in_units(size)} by way of scratch, packed there or copied"]
    return f"<li><b>{escape(printable(target))}</b>: {files_} files, {', '.join(words)}{shares(parts)}</li>"


def _words(parts: Iterable[tuple[str, int]], whole: int) -> list[str]:
    return [f"{in_units(size)} ({100 * size / max(1, whole):.0f} %) {name}" for name, size in parts]


def _count(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name, 0)
    return int(value) if isinstance(value, int | float | str) else 0
