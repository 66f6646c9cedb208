"""From files to a page or a picture of a dashboard. Imports altair and vl-convert at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

from dashboards.alarm_files import load
from dashboards.backtest import bounds_s
from dashboards.errors import DefinitionError
from dashboards.page import render_page
from dashboards.panels import View
from dashboards.picture import render_picture
from dashboards.places import GENERATED
from dashboards.recording import read_recording
from dashboards.vega import bundle

if TYPE_CHECKING:
    from pathlib import Path

    from dashboards.body import Json
    from dashboards.model import Alarm


def preview(body_file: Path, telemetry: Sequence[Path], alarms: Mapping[str, Alarm], out: Path, kind: str) -> list[str]:
    """Write the dashboard of a file to `out` as `html` or `png`; return what could not be drawn, by widget."""
    body = read_body(body_file)
    title = str(body.get("title") or body_file.stem)
    if kind == "png":
        picture, missing = render_picture(title, body, _view(telemetry, alarms))
        out.write_bytes(picture)
        return missing
    known = {path.stem: path.read_text("utf-8") for path in sorted((GENERATED / "runbooks").glob("*.md"))}
    # Bundling is half of the time and holds the interpreter's lock: it runs beside, in a process of its own.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        script = pool.submit(bundle)
        page, missing = render_page(title, body, _view(telemetry, alarms), known, script.result)
    out.write_text(page, "utf-8")
    return missing


def _view(telemetry: Sequence[Path], alarms: Mapping[str, Alarm]) -> View:
    recording = read_recording(telemetry)
    return View(recording, alarms, *bounds_s(recording.store))


def read_body(path: Path) -> Json:
    """Return the dashboard body of a file: the body itself, or what `aws cloudwatch get-dashboard` prints."""
    data = load(path)
    if isinstance(data, Mapping) and "DashboardBody" in data:
        text = data["DashboardBody"]
        try:
            data = json.loads(text) if isinstance(text, str) else text
        except ValueError as error:
            raise DefinitionError(f"{path}: the DashboardBody is no JSON: {error}") from error
    if not isinstance(data, Mapping) or "widgets" not in data:
        raise DefinitionError(f"{path} is no dashboard body: it has no `widgets`")
    return data
