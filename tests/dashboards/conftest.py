import json
import shutil
from pathlib import Path

import pytest


def _emf(minute, host, value):
    directive = {"Namespace": "Shop", "Dimensions": [["Host"]], "Metrics": [{"Name": "Load", "Unit": "Percent"}]}
    envelope = {"Timestamp": 1_767_225_600_000 + minute * 60_000, "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": envelope, "Host": host, "Load": value, "note": f"</script><b>{host}</b>"})


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """A dashboard of public style, not ours, with every kind of widget, its alarms, and an hour of telemetry."""
    folder = tmp_path_factory.mktemp("shop")
    for path in Path(__file__).with_name("shop").iterdir():
        shutil.copy(path, folder)
    hosts = (("a", 7), ("b", 3))
    lines = [_emf(minute, host, 20 + (minute * step) % 79) for minute in range(60) for host, step in hosts]
    (folder / "telemetry.jsonl").write_text("\n".join(lines))
    return folder
