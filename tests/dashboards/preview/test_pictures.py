"""Every view of a widget against stored pictures: small ones, compared by the mean color of blocks.

With UPDATE_PICTURES in the environment they are written anew; look at them before you commit them.
"""

import base64
import math
import os
from pathlib import Path

import pytest

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.recording import Recording
from dashboards.cloudwatch.series import Sample
from dashboards.preview.panels import View
from dashboards.preview.picture import render_picture
from dashboards.preview.render import preview
from tests.dashboards.chromium import axe_script, browser, violations
from tests.dashboards.png import blocks, pixels

STORED = Path(__file__).parent / "pictures"
HOURS_S = 3 * 3600
ACROSS, DOWN = 48, 42
TOLERATED, MOST_OFF = 8, 0.005
"""Of 255, by how much a channel of a block may differ; and of how many of the blocks it may be more."""
BANDS = [{"value": 60, "label": "limit", "fill": "above"}, [{"value": 10}, {"value": 30}]]
MARKS = [{"value": "1970-01-01T01:00:00Z", "label": "deploy"}, {"value": "1970-01-01T02:30:00Z", "fill": "after"}]
ABC = [["N", "a"], ["N", "b"], ["N", "c"]]
SCALE = {"left": {"min": 0, "max": 100}}
WIDGETS = [
    {"title": "lines", "metrics": [["N", "a"], ["N", "b", {"yAxis": "right"}], ["N", "c", {"color": "#00aa00"}]]},
    {"title": "stacked", "stacked": True, "metrics": ABC},
    {"title": "annotations", "metrics": ABC[:1], "annotations": {"horizontal": BANDS, "vertical": MARKS}},
    {"title": "axis", "metrics": ABC[:1], "yAxis": {"left": {"min": 40, "max": 60, "label": "Left"}}},
    {"title": "gauge", "view": "gauge", "metrics": ABC[:1], "yAxis": SCALE},
    {"title": "gauges", "view": "gauge", "metrics": [*ABC[:2], ["N", "gone"]], "yAxis": SCALE},
    {"title": "pie", "view": "pie", "metrics": ABC},
    {"title": "whole pie", "view": "pie", "metrics": ABC[:1], "legend": {"position": "hidden"}},
    {"title": "bars", "view": "bar", "metrics": ABC, "annotations": {"horizontal": [{"value": 50}]}},
    {"title": "table", "view": "table", "metrics": [*ABC, ["N", "gone"]]},
    {"title": "numbers", "view": "singleValue", "metrics": ABC[:2]},
    {"title": "sparkline", "view": "singleValue", "sparkline": True, "metrics": ABC[:1]},
    {"title": "legend", "metrics": ABC, "legend": {"position": "right"}},
    {"title": "nothing", "metrics": [["N", "gone"]]},
    {"title": "many", "metrics": [["N", "a", {"label": f"number {n} of many"}] for n in range(40)]},
    {"title": "few", "metrics": [["N", "few"]]},
]
BODY = {
    "widgets": [
        {"type": "metric", "width": 6, "height": 6, "properties": {"region": "r", "period": 60, **properties}}
        for properties in WIDGETS
    ]
}


@pytest.fixture(scope="module")
def view():
    recording = Recording()
    for number, name in enumerate("abc", 1):
        for at_s in range(0, HOURS_S, 60):
            value = 50 + 45 * math.sin(at_s / 900 / number + number)
            recording.store.add(Metric("N", name), Sample(float(at_s), value))
    for at_s in (1800, 3600, 9000):
        recording.store.add(Metric("N", "few"), Sample(float(at_s), at_s / 100))
    return View(recording, {}, 0, HOURS_S)


@pytest.fixture(scope="module")
def page(view, tmp_path_factory):
    out = tmp_path_factory.mktemp("views") / "page.html"
    assert preview(("views", BODY), view, {}, out, "html") == []
    return out


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def off(found, name):
    """The share of the blocks that differ from those of a stored picture."""
    stored = STORED / f"{name}.png"
    if "UPDATE_PICTURES" in os.environ:
        stored.write_bytes(found)
    means, wanted = (blocks(pixels(data), ACROSS, DOWN) for data in (found, stored.read_bytes()))
    pairs = zip(means, wanted, strict=True)
    return sum(any(abs(a - b) > TOLERATED for a, b in zip(*pair, strict=True)) for pair in pairs) / len(means)


def test_a_picture_of_every_view_looks_as_it_did(view):
    data, missing = render_picture("views", BODY, view, 0.2)
    assert missing == []
    assert off(data, "picture") <= MOST_OFF


def test_a_chart_that_is_gone_is_noticed(view):
    if "UPDATE_PICTURES" in os.environ:
        pytest.skip("the pictures are being written")
    for number in range(len(WIDGETS)):
        if WIDGETS[number]["title"] not in {"gauge", "bars", "lines", "pie"}:
            continue
        widgets = [*BODY["widgets"]]
        widgets[number] = {
            **widgets[number],
            "properties": {**widgets[number]["properties"], "metrics": [["N", "gone"]]},
        }
        data, _ = render_picture("views", {"widgets": widgets}, view, 0.2)
        assert off(data, "picture") > MOST_OFF, WIDGETS[number]["title"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("light", 390)])
def test_a_page_of_every_view_looks_as_it_did(page, chromium, scheme, width):
    chromium.open(page, width, 1000, scheme)
    assert chromium.console == []
    tall = chromium.value("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": tall, "scale": 0.2}
    shot = chromium.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
    assert off(base64.b64decode(shot), f"page-{scheme}-{width}") <= 3 * MOST_OFF


def test_axe_finds_nothing_wrong_with_any_view(page, chromium, tmp_path):
    axe = axe_script(tmp_path)
    for scheme in ("light", "dark"):
        for width in (1400, 390):
            chromium.open(page, width, 1000, scheme)
            assert violations(chromium, axe) == [], (scheme, width)
