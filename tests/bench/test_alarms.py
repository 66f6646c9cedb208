from __future__ import annotations

import json

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.recording import read_recording
from dashboards.cloudwatch.series import Sample, Store
from dashboards.cloudwatch.timeline import run
from tests.bench import alarms


def test_the_lines_that_are_measured_are_taken_whole(tmp_path):
    written = list(alarms.lines(100_000))
    (tmp_path / "lines.jsonl").write_bytes(b"".join(written))
    recording = read_recording([tmp_path / "lines.jsonl"], str, {})
    assert not recording.dropped
    assert 100_000 <= sum(map(len, written)) < 101_000
    assert len(recording.store.metrics) == 3 * (10 + 70)
    assert json.loads(written[0])["_aws"]["Timestamp"] == alarms.START_MS


def test_every_alarm_that_is_measured_fires():
    store = Store()
    for number in range(20):
        for minute in range(1440):
            store.add(Metric("N", f"m{number}"), Sample(minute * 60.0, alarms.value(number, minute)))
    made = {f"a{number}": alarms.alarm(number) for number in range(20)}
    lines = run(made, store, 0, 86_400)
    assert all(any(change.state == "ALARM" for change in line.changes) for line in lines.values())
