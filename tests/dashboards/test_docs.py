import json
import re
from pathlib import Path

import pytest

from dashboards.cli import main
from dashboards.places import GENERATED

DOCS = Path(__file__).parents[2] / "docs"
ALARM = {
    "AlarmName": "busy",
    "Namespace": "Shop",
    "MetricName": "Load",
    "Dimensions": [{"Name": "Host", "Value": "a"}],
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 90,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}
QUIET = {**ALARM, "AlarmName": "quiet", "MetricName": "Deploying"}
ON_CALL = {
    "AlarmName": "on-call",
    "AlarmRule": "ALARM(busy)",
    "ActionsSuppressor": "quiet",
    "ActionsSuppressorWaitPeriod": 60,
    "ActionsSuppressorExtensionPeriod": 60,
}


@pytest.fixture
def alarms(tmp_path):
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"MetricAlarms": [ALARM, QUIET], "CompositeAlarms": [ON_CALL]}))
    return str(path)


def test_the_test_of_the_documentation_passes(tmp_path, alarms):
    example = re.search(r"```yaml\n(.*?)```", (DOCS / "alarm-tests.md").read_text(), re.DOTALL)
    path = tmp_path / "shop.yaml"
    path.write_text(example[1])
    assert main(["test", str(path), "--alarms", alarms]) == 0


def test_a_failure_looks_as_the_documentation_shows_it(tmp_path, alarms, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = "{alarm: busy, at: 2m, is: ALARM}"
    series = "{metric: 'Shop/Load{Host=a}', values: 50 95 _ 95}"
    (tmp_path / "shop.yaml").write_text(f"tests: [{{name: too eager, series: [{series}], expect: [{wanted}]}}]")
    assert main(["test", "shop.yaml", "--alarms", alarms]) == 1
    shown = re.search(r"```\n(FAILED.*?)```", (DOCS / "alarm-tests.md").read_text(), re.DOTALL)
    assert capsys.readouterr().out.startswith(shown[1])


def test_what_the_page_for_the_engineer_on_call_names_is_there():
    text = (DOCS / "on-call.md").read_text()
    for path in GENERATED.glob("dashboards/*.json"):
        assert f"| {path.stem} |" in text
    for name in re.findall(r"`((?:packaging|limits|telemetry)-\w+)`", text):
        assert (GENERATED / "runbooks" / f"edge-model-packager-prod-{name}.md").is_file()
    commands = re.findall(r"^dashboards (\w+)", text, re.MULTILINE)
    assert set(commands) == {"preview", "simulate", "drill", "day", "build", "test", "matrix"}
