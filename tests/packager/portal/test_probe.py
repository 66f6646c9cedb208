"""The probe against a local S3 and DynamoDB: what it does, what fails it, and that it leaves nothing behind."""

import io
import json
import tarfile

import pytest

from packager import handler as function
from packager.portal import aws, probe, settings, tables
from packager.portal.probe import artifact
from packager.portal.settings import PROBE_ID
from tests import portal as local
from tests.faulty_proxy import Answer
from tests.portal import breaking, refused

pytestmark = pytest.mark.usefixtures("_no_pauses")


@pytest.fixture(scope="module")
def world(s3_server):
    with local.portal(s3_server.endpoint_url) as world:
        yield world


@pytest.fixture
def _no_pauses(monkeypatch):
    monkeypatch.setattr(tables, "_LONGEST_PAUSE_S", 0.0)


@pytest.fixture
def probed(world, monkeypatch, capfd):
    """Probes with the handler in this process; gives its reply and the line of the probe's row."""
    for name, value in {**world.environment, "PROBE_PLACE": f"s3://{world.bucket}/probes"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("S3_GIVE_UP_S", "3")
    settings.from_process_environment.cache_clear()
    aws._session.cache_clear()
    aws._client.cache_clear()

    def run():
        reply = function.handler({"probe": True}, None)
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
        run.lines = lines
        (row,) = [line for line in lines if line.get("Operation") == "Probe" and "Success" in line]
        return reply, row

    yield run
    world.proxy.forget()
    local.listen(world)
    settings.from_process_environment.cache_clear()


def left_behind(world):
    record = world.tables["TRAINING_JOBS_TABLE"].get_item(Key={"training_id": PROBE_ID}).get("Item")
    objects = world.s3.list_objects_v2(Bucket=world.bucket, Prefix="probes/").get("Contents", [])
    return [each["Key"] for each in objects], world.uploads(), record


def test_a_probe_packages_finds_again_checks_records_and_leaves_nothing_but_an_entry_that_expires(world, probed):
    first, row = probed()
    second, _ = probed()
    assert first["statusCode"] == 200, first
    assert (first["tables"], first["sha256"]) == (True, second["sha256"])
    assert (row["Success"], row["Failure"]) == (1, 0)
    assert row["Duration"] > 0
    assert left_behind(world) == ([], [], None)
    (entry, *_) = world.audits(PROBE_ID)
    assert (entry["user_id"], entry["action"], entry["result"]) == (PROBE_ID, "probe", "success")
    assert entry["ttl"] == entry["timestamp"] // 1000 + 86_400


def denied(exchange, _):
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    exchange.reply(Answer(403, {"Content-Type": "application/xml"}, body))


def down(exchange, _):
    exchange.reply(Answer(503, {}, b"<Error><Code>ServiceUnavailable</Code><Message>down</Message></Error>"))


FAULTS = {
    "S3 is down": ("PutObject", down, "write artifacts"),
    "writing is denied": ("PutObject", denied, "write artifacts"),
    "a component cannot be written": ("PutObject", denied, "package"),
    "reading is denied": ("GetObject", denied, "package"),
    "the record cannot be written": ("UpdateItem", refused(), "write record"),
    "tables cannot be read": ("GetItem", refused(), "read tables"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_probe_names_the_part_and_leaves_nothing(world, probed, fault):
    operation, act, part = FAULTS[fault]
    place = "/model_artifacts/" if fault == "a component cannot be written" else ""
    breaking(world, operation, act, times=10**9, where=lambda request: place in request.target)
    reply, row = probed()
    world.proxy.forget()
    assert reply["statusCode"] == 500
    assert (row["Success"], row["Failure"], row["part"]) == (0, 1, part)
    assert reply["error"]["next_step"]
    assert left_behind(world) == ([], [], None)


def test_an_audit_log_that_refuses_is_told_and_fails_no_probe(world, probed):
    breaking(world, "PutItem", refused(), times=10**9)
    reply, row = probed()
    assert (reply["statusCode"], reply["audited"], row["Success"]) == (200, False, 1)
    entries = [line for line in probed.lines if line.get("Table") == "audit_log"]
    assert {(each["Operation"], each["Success"], each["Failure"]) for each in entries} == {("UpdateRecord", 0, 1)}


def test_objects_that_cannot_be_removed_fail_the_probe(world, probed):
    breaking(world, "DeleteObject", denied, times=10**9)
    reply, row = probed()
    assert (reply["statusCode"], row["Failure"], row["part"]) == (500, 1, "clean up")


def test_a_probe_without_a_place_is_a_wrong_setting(probed, monkeypatch):
    monkeypatch.delenv("PROBE_PLACE")
    settings.from_process_environment.cache_clear()
    reply, row = probed()
    assert (reply["error"]["type"], row["part"]) == ("SettingsError", "settings")


@pytest.mark.parametrize("event", [{"probe": False}, {"probe": 1}, {"probe": True, "trained": "s3://b/k"}])
def test_what_only_looks_like_a_probe_is_none(event, probed):
    assert function._route(event)[0] == "direct"


def test_the_artifacts_are_the_same_bytes_every_time_and_others_read_them():
    packed = artifact(probe._TRAINED)
    assert packed == artifact(probe._TRAINED)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        assert tar.getnames() == list(probe._TRAINED)
        assert tar.extractfile("export_artifacts/manifest.json").read() == probe._MANIFEST
