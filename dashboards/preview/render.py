"""From files to a page or a picture of a dashboard. Imports vl-convert at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm import LogAlarm
from dashboards.cloudwatch.alarm_files import Definitions, collect, load
from dashboards.cloudwatch.backtest import bounds_s
from dashboards.cloudwatch.body import widgets
from dashboards.cloudwatch.errors import DefinitionError
from dashboards.cloudwatch.recording import read_recording
from dashboards.preview.page import render_page
from dashboards.preview.panels import View
from dashboards.preview.picture import render_picture
from dashboards.preview.sample import LENGTH_S, sample_of
from dashboards.preview.vega import bundle, kept

if TYPE_CHECKING:
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


def read_bodies(path: Path, parameters: Mapping[str, str]) -> dict[str, Json]:
    """Return the dashboards of a file by name: a body, what `get-dashboard` prints, or those of a template.

    Raises:
        DefinitionError: It holds none, or one that cannot be read.
    """
    data = load(path)
    if isinstance(data, Mapping) and "DashboardBody" in data:
        return {str(data.get("DashboardName") or path.stem): _body(data["DashboardBody"], path)}
    if isinstance(data, Mapping) and "widgets" in data:
        return {str(data.get("title") or path.stem): data}
    found = Definitions()
    collect(found, data, str(path), parameters)
    if not found.dashboards:
        raise DefinitionError(f"{path} holds no dashboard: it has no `widgets` and no AWS::CloudWatch::Dashboard")
    return {name: _body(body, path) for name, body in found.dashboards.items()}


def _body(written: object, path: Path) -> Json:
    try:
        data = json.loads(written) if isinstance(written, str) else written
    except ValueError as error:
        raise DefinitionError(f"{path}: the DashboardBody is no JSON: {error}") from error
    if not isinstance(data, Mapping) or "widgets" not in data:
        raise DefinitionError(f"{path} is no dashboard body: it has no `widgets`")
    return data
