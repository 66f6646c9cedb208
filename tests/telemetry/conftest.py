"""Fixtures of the telemetry tests."""

import json
import threading

import pytest
from hypothesis import settings

import telemetry
from telemetry.engine.health import HEALTH
from telemetry.engine.settings import Settings

settings.register_profile("no-deadline")  # a busy machine is no fault of the code
settings.load_profile("no-deadline")


@pytest.fixture(autouse=True)
def _fresh_health():
    """Give every test counters at zero."""
    HEALTH.take()
    HEALTH.endpoint_dead = 0
    yield
    for thread in threading.enumerate():
        if thread.name == "telemetry-export":
            thread.join()  # left behind by a flush; its retries draw random numbers, which Hypothesis watches


class Recorded:
    """What one `to_directory` wrote."""

    def __init__(self, folder):
        self.folder = folder

    @property
    def text_lines(self):
        return (self.folder / "telemetry.jsonl").read_text().splitlines()

    @property
    def documents(self):
        return [json.loads(line) for line in self.text_lines]

    @property
    def emf(self):
        return [found for found in self.documents if "_aws" in found and found["Operation"] != "TelemetryHealth"]

    @property
    def logs(self):
        return [found for found in self.documents if "_aws" not in found and found["event"] != "TelemetryHealth"]

    @property
    def health(self):
        return [found for found in self.documents if found.get("Operation") == "TelemetryHealth"]

    @property
    def spans(self):
        found = []
        for line in (self.folder / "spans.jsonl").read_text().splitlines():
            (resource,) = json.loads(line)["resourceSpans"]
            (scope,) = resource["scopeSpans"]
            found += scope["spans"]
        return [span for span in found if span["name"] != "telemetry health"]


@pytest.fixture
def recorded_in(tmp_path):
    """Return a function that opens a recording in a folder."""

    def recording(settings=None):
        folder = tmp_path / "recording"
        return telemetry.to_directory(folder, settings or Settings()), Recorded(folder)

    return recording
