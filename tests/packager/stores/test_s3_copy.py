"""Parts that S3 copies from the artifact: the same component, whatever a server makes of the request."""

from __future__ import annotations

import io
import random
import re
import uuid
import zipfile
from contextlib import nullcontext
from functools import partial

import pytest

from packager.core.members import ArchiveReader, tar_gz
from packager.core.pipeline import zip_parts
from packager.core.zip import ZipEncoder
from packager.errors import AccessDeniedError, ArtifactChangedError, OutOfTimeError, StoreError, is_recoverable
from packager.settings import Settings
from packager.stores import s3_calls, s3_copy
from packager.stores.entries import ZipEntries
from packager.stores.s3_calls import Calls
from packager.stores.s3_client import calls_of
from packager.stores.s3_object import ObjectName
from packager.stores.s3_options import S3Options
from packager.stores.s3_sink import S3Sink
from packager.stores.s3_source import S3Source
from telemetry.engine.testing import recorded
from tests import archives
from tests import faulty_proxy as faults
from tests.s3_server import client

ARTIFACT, COMPONENT, IDENTITY = "model.tar.gz", "component.zip", "a" * 64
PART_BYTES = 100_000
NOISE = random.Random(5).randbytes(1_500_000)
FILES = {"small": b"small" * 99, "large": NOISE, "text": b"".join(b"%d " % n for n in range(150_000)), "last": b"!"}
PACKED = archives.gz(archives.tar(FILES.items()))
EXPECTED = b"".join(archives.zipped(archives.Chopped(PACKED)))


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing was refused so far, and nobody waits long."""
    monkeypatch.setattr(s3_copy, "_refusing", set())
    monkeypatch.setattr(s3_copy, "_regions", {})
    monkeypatch.setattr(s3_calls, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(s3_calls, "LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def proxy(s3_server):
    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def calls(proxy):
    return calls_of(client(proxy.endpoint_url, read_timeout=1))


@pytest.fixture
def artifact(s3_server, bucket):
    s3_server.client().put_object(Bucket=bucket, Key=ARTIFACT, Body=PACKED)
    return ObjectName(bucket, ARTIFACT)


@pytest.fixture
def lying(s3_server, bucket):
    """Gives the bytes of the component, when nothing else lies there and no upload is open."""

    def look():
        direct = s3_server.client()
        assert not direct.list_multipart_uploads(Bucket=bucket).get("Uploads")
        keys = [each["Key"] for each in direct.list_objects_v2(Bucket=bucket)["Contents"]]
        assert len([each for each in keys if "/sha256/" not in each]) <= 2
        return direct.get_object(Bucket=bucket, Key=COMPONENT)["Body"].read() if COMPONENT in keys else None

    return look


def write(upload, reader, during=lambda _: None, entries=tar_gz):
    files = ArchiveReader(reader, Settings(), entries=entries).files()
    for part in zip_parts((each.as_file(each.path) for each in files), ZipEncoder()):
        during(part)
        upload.write(part.data, part.origin)
    return upload.commit()


def copied(artifact, calls, *, source=None, during=lambda _: None, into=None, entries=tar_gz):
    """Make the component from the artifact; gives what its step says of it."""
    source = source or S3Source(artifact, calls, range_bytes=300_000)
    sink = S3Sink(into or artifact.bucket, "", calls, part_bytes=lambda _: PART_BYTES)
    with recorded() as records, source.open() as reader, sink.open(lambda: (COMPONENT, IDENTITY), source) as upload:
        write(upload, reader, during, entries)
    (fields,) = [each.fields for each in records if each.row == "WriteComponent"]
    return fields


def test_the_bytes_of_a_large_file_are_copied_and_the_rest_is_sent(artifact, calls, proxy, lying):
    fields = copied(artifact, calls)
    assert lying() == EXPECTED
    ours, copies = proxy.asked("UploadPart"), proxy.asked("UploadPartCopy")
    assert fields["bytes_copied_by_s3"] == PART_BYTES * len(copies) > len(NOISE) * 0.8
    assert fields["copies_refused"] == 0
    assert fields["parts"] == len(ours) + len(copies)
    assert sum(int(each.headers["content-length"]) for each in ours) == len(EXPECTED) - fields["bytes_copied_by_s3"]
    ranges = [re.fullmatch(r"bytes=(\d+)-(\d+)", each.headers["x-amz-copy-source-range"]) for each in copies]
    assert {int(each[2]) - int(each[1]) + 1 for each in ranges if each} == {PART_BYTES}
    assert all(each.headers["x-amz-copy-source-if-match"] for each in copies)


def test_the_bytes_of_a_large_entry_of_a_zip_are_copied_too(artifact, s3_server, calls, proxy, lying):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as model:
        for name, data in FILES.items():
            model.writestr(name, data)
    s3_server.client().put_object(Bucket=artifact.bucket, Key=ARTIFACT, Body=made.getvalue())
    source = S3Source(artifact, calls, range_bytes=300_000)
    fields = copied(artifact, calls, source=source, entries=partial(ZipEntries, source=source))
    with zipfile.ZipFile(io.BytesIO(lying())) as component:
        assert {name: component.read(name) for name in component.namelist()} == FILES
    assert fields["bytes_copied_by_s3"] == PART_BYTES * len(proxy.asked("UploadPartCopy")) > len(NOISE) * 0.8
    assert fields["copies_refused"] == 0


REFUSALS = {
    "a policy": faults.refuse(403, "AccessDenied"),
    "a server that cannot": faults.refuse(501, "NotImplemented"),
    "a server that knows no such request": faults.refuse(400, "InvalidArgument"),
    "an answer that is none": faults.altered(lambda _: faults.Answer(200, {}, b"<html>hello</html>")),
    "an answer that tells nothing of the bytes": faults.altered(
        lambda answer: faults.Answer(
            200, answer.headers, re.sub(rb"[0-9a-f]{32}", b"opaque", answer.body), len(answer.body) - 26
        )
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_where_copying_is_refused_the_bytes_are_sent_and_no_more_is_tried(artifact, calls, proxy, lying, name):
    proxy.break_next("UploadPartCopy", REFUSALS[name], times=1000)
    fields = copied(artifact, calls)
    assert lying() == EXPECTED
    assert fields["bytes_copied_by_s3"] == 0
    assert 1 <= fields["copies_refused"] <= 2  # two parts are on their way at a time
    tried = len(proxy.asked("UploadPartCopy"))
    assert tried <= 2
    assert copied(artifact, calls)["copies_refused"] == 0
    assert lying() == EXPECTED
    assert len(proxy.asked("UploadPartCopy")) == tried


def test_an_upload_that_a_misunderstood_copy_has_spoiled_begins_anew_without_copies(artifact, calls, proxy, lying):
    """Some servers take the request for an upload of no bytes, and let no part be sent twice."""
    proxy.break_next("UploadPartCopy", faults.altered(lambda _: faults.Answer(200, {"ETag": '"0"'}, b"")), times=2)
    second = lambda request: "partNumber=2" in request.target.partition("?")[2].split("&")  # noqa: E731
    proxy.break_next("UploadPart", faults.refuse(400, "InvalidPart"), where=second)
    with pytest.raises(StoreError) as error:
        copied(artifact, calls)
    assert is_recoverable(error.value)
    assert lying() is None
    copied(artifact, calls)
    assert lying() == EXPECTED


def test_after_an_upload_with_copies_that_cannot_be_completed_the_next_one_is_sent(artifact, calls, proxy, lying):
    proxy.break_next("CompleteMultipartUpload", faults.refuse(400, "InvalidPart"))
    with pytest.raises(StoreError, match="InvalidPart"):
        copied(artifact, calls)
    assert lying() is None
    assert copied(artifact, calls)["bytes_copied_by_s3"] == 0
    assert lying() == EXPECTED


TROUBLE = {
    "reset": faults.reset(),
    "a lost answer": faults.lost_answer(),
    "busy": faults.refuse(503, "SlowDown"),
    "an error after 200": faults.failing_ok("InternalError"),
}


@pytest.mark.parametrize("case", [(name, times) for name in TROUBLE for times in (2, 1000)], ids=str)
def test_trouble_is_tried_again_and_then_the_bytes_are_sent(artifact, calls, proxy, lying, case):
    name, times = case
    proxy.break_next("UploadPartCopy", TROUBLE[name], times=times)
    fields = copied(artifact, calls)
    assert lying() == EXPECTED
    assert fields["retries"] >= 2
    assert (fields["copies_refused"] > 0) == (times == 1000)


def test_a_copy_that_hangs_is_given_up_and_sent(artifact, calls, proxy, lying):
    proxy.break_next("UploadPartCopy", faults.stall(), times=4)
    copied(artifact, calls)
    assert lying() == EXPECTED


def replaced(s3_server, artifact, body):
    """Lets another object lie there when a third of the bytes are out."""
    sent = 0

    def during(part):
        nonlocal sent
        if sent < len(EXPECTED) // 3 <= sent + len(part.data):
            s3_server.client().put_object(Bucket=artifact.bucket, Key=artifact.key, Body=body)
        sent += len(part.data)

    return during


class ReadBefore(S3Source):
    """An artifact that was read to its end before it was replaced: only copies can meet the other object."""

    def open(self):
        return nullcontext(archives.Chopped(PACKED))


@pytest.mark.parametrize("body", [PACKED[::-1], b"short", PACKED[:-1] + b"?"], ids=["other", "shorter", "nearly"])
def test_bytes_of_an_object_that_was_put_in_its_place_never_get_into_the_component(
    s3_server, artifact, calls, lying, body
):
    """The server does not heed CopySourceIfMatch."""
    source = ReadBefore(artifact, calls)
    source.seen()
    copied(artifact, calls, source=source, during=replaced(s3_server, artifact, body))
    assert lying() == EXPECTED


def test_an_artifact_that_is_replaced_while_it_is_read_fails_as_it_does_without_copying(artifact, calls, proxy, lying):
    changed = faults.refuse(412, "PreconditionFailed")
    proxy.break_next("GetObject", changed, times=99, where=lambda request: request.first_byte >= 900_000)
    proxy.break_next("UploadPartCopy", changed, times=99)
    with pytest.raises(ArtifactChangedError):
        copied(artifact, calls)
    assert lying() is None


def test_an_artifact_in_whose_place_s3_finds_another_is_sent_and_copying_is_tried_again_next_time(
    artifact, calls, proxy, lying
):
    proxy.break_next("UploadPartCopy", faults.refuse(412, "PreconditionFailed"), times=1)
    fields = copied(artifact, calls)
    assert (fields["copies_refused"], fields["bytes_copied_by_s3"] > 0) == (1, True)
    assert lying() == EXPECTED


def test_other_clients_other_stores_and_a_setting_copy_nothing(s3_server, artifact, calls, proxy, lying):
    other = S3Source(artifact, calls_of(s3_server.client()), range_bytes=300_000)
    assert "bytes_copied_by_s3" not in copied(artifact, calls, source=other)
    never = Calls(calls.client, S3Options(copy_parts="never"))
    assert "bytes_copied_by_s3" not in copied(artifact, never)
    assert proxy.asked("UploadPartCopy") == []
    assert lying() == EXPECTED


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_between_two_buckets_parts_are_copied_in_one_region_alone(s3_server, artifact, calls, proxy, region):
    direct, into = s3_server.client(), f"bucket-{uuid.uuid4().hex[:12]}"
    elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != "us-east-1" else {}
    direct.create_bucket(Bucket=into, **elsewhere)
    fields = copied(artifact, calls, into=into)
    assert direct.get_object(Bucket=into, Key=COMPONENT)["Body"].read() == EXPECTED
    assert (len(proxy.asked("UploadPartCopy")) > 0) == (fields.get("bytes_copied_by_s3", 0) > 0) == (not elsewhere)
    assert (fields.get("copies_refused", 0) > 0) == bool(elsewhere)


def test_a_version_is_copied_as_that_version(s3_server, bucket, calls, proxy, lying):
    direct = s3_server.client()
    direct.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = direct.put_object(Bucket=bucket, Key=ARTIFACT, Body=PACKED)["VersionId"]
    direct.put_object(Bucket=bucket, Key=ARTIFACT, Body=PACKED[::-1])
    fields = copied(ObjectName(bucket, ARTIFACT, version), calls)
    assert fields["bytes_copied_by_s3"] > 0
    assert lying() == EXPECTED


def test_work_that_ends_half_way_leaves_nothing_though_copies_are_on_their_way(artifact, calls, proxy, lying):
    for error in (KeyboardInterrupt(), AccessDeniedError("no", next_step="none"), OutOfTimeError("late")):

        def during(part, error=error):
            if proxy.asked("UploadPartCopy"):
                raise error

        with pytest.raises(type(error)):
            copied(artifact, calls, during=during)
        assert lying() is None
        proxy.forget()


def test_where_a_part_of_a_zip_says_that_it_lies_in_the_artifact_it_lies_there():
    files = ArchiveReader(archives.Chopped(PACKED, [70_000]), Settings()).files()
    found = 0
    for part in zip_parts((each.as_file(each.path) for each in files), ZipEncoder()):
        if part.origin >= 0:
            assert PACKED[part.origin : part.origin + len(part.data)] == part.data
            found += len(part.data)
    assert found > len(NOISE) * 0.9
