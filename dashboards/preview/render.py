"""From files to a page or a picture of a dashboard. Imports vl-convert at once."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import LogAlarm
from dashboards.cloudwatch.alarm_files import Definitions, collect
from dashboards.cloudwatch.backtest import bounds_s
from dashboards.cloudwatch.body import widgets
from dashboards.cloudwatch.documents import load
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.recording import read_recording
from dashboards.preview.page import render_page
from dashboards.preview.panels import View
from dashboards.preview.picture import render_picture
from dashboards.preview.sample import LENGTH_S, sample_of
from dashboards.preview.vega import bundle, kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dashboards.cloudwatch.alarm import Alarm
    from dashboards.cloudwatch.body import Json


def preview(board: tuple[str, Json], view: View, runbooks: Mapping[str, str], out: Path, kind: str) -> list[str]:
    """Write a dashboard (its title and body) to `out` as `html` or `png`; return what could not be drawn, by widget.

    `runbooks` holds Markdown by alarm name.
    """
    title, body = board
    if kind == "png":
        picture, missing = render_picture(title, body, view)
        out.write_bytes(picture)
        return missing
    script = _script()
    page, missing = render_page(title, body, view, runbooks, script)
    out.write_text(page, "utf-8")
    return missing


@cache
def _script() -> Callable[[], str]:
    """Return what gives the script of the charts: kept from an earlier page, or on its way.

    Bundling takes longer than the charts and holds the interpreter's lock: it runs beside, in a process of its own.
    """
    there = kept()
    if there is not None:
        return lambda: there
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    made = pool.submit(bundle)

    @cache
    def script() -> str:
        with pool:  # left to end by itself, it may end while the interpreter does, with a traceback
            return made.result()

    return script


def view_of(
    body: Json, telemetry: Sequence[Path], alarms: Mapping[str, Alarm], namespace: Callable[[str], str] = str
) -> View:
    """Return what is to be seen of files of telemetry, or of sample data without any.

    `namespace` gives what a recorded namespace stands for.
    """
    if telemetry:
        shows_lines = any(widget.type == "log" for widget in widgets(body))
        watches_lines = any(isinstance(alarm, LogAlarm) for alarm in alarms.values())
        recording = read_recording(telemetry, namespace, alarms, keeps_lines=shows_lines or watches_lines)
        return View(recording, alarms, *bounds_s(recording.store, recording.lines))
    end_s = int(time.time()) // 60 * 60
    return View(sample_of(body, end_s), alarms, end_s - LENGTH_S, end_s, sample=True)


def read_dashboards(path: Path, parameters: Mapping[str, str]) -> tuple[dict[str, Json], list[str]]:
    """Return the dashboards of a file by name, and what is said of those that cannot be worked out.

    The file is a body, what `get-dashboard` prints, a template, or Terraform's.

    Raises:
        DefinitionError: It holds none, or none that can be read.
    """
    data = load(path)
    found = Definitions()
    collect(found, data, str(path), parameters)
    left_out = [str(each) for each in found.unevaluated if each.dashboard]
    if not found.dashboards:
        none = "it has no `widgets` and no AWS::CloudWatch::Dashboard"
        raise DefinitionError("\n  ".join([f"{path} holds no dashboard: {none}" * (not left_out), *left_out]).lstrip())
    return found.dashboards, left_out
