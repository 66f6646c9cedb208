"""S3 as it is on a bad day: every fault is real, on a real socket."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.errors import AccessDeniedError, ArtifactChangedError, StoreError
from packager.stores import s3_calls, s3_source
from packager.stores.s3_client import calls_for, calls_of, client_for
from packager.stores.s3_object import ObjectName
from packager.stores.s3_sink import S3Sink
from packager.stores.s3_source import S3Source
from telemetry import Recorder, attached
from telemetry.engine.testing import recorded
from tests import faulty_proxy as faults
from tests.s3_server import client

KEY = "model.zip"
IDENTITY = "f" * 64
DATA = bytes(range(256)) * 40
RANGE_BYTES = 2048
PART_BYTES = 3000


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(s3_calls, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(s3_calls, "LONGEST_PAUSE_S", 0.002)


@pytest.fixture
def proxy(s3_server):
    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def through(proxy):
    """A client whose every request goes through the proxy, and which gives up on silence soon."""
    return client(proxy.endpoint_url, read_timeout=0.3)


@pytest.fixture
def source(s3_server, bucket, through):
    s3_server.client().put_object(Bucket=bucket, Key=KEY, Body=DATA)
    return S3Source(ObjectName(bucket, KEY), calls_of(through), range_bytes=RANGE_BYTES)


@pytest.fixture
def sink(bucket, through):
    return S3Sink(bucket, "", calls_of(through), part_bytes=lambda _: PART_BYTES)


@pytest.fixture
def left(s3_server, bucket):
    """Gives what is in the bucket: keys, but for the record of a component's SHA-256, and unfinished uploads."""
    direct = s3_server.client()

    def look():
        objects = direct.list_objects_v2(Bucket=bucket).get("Contents", [])
        uploads = direct.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        keys = [each["Key"] for each in objects if "/sha256/" not in each["Key"]]
        return keys, [each["Key"] for each in uploads]

    return look


@pytest.fixture
def lying(s3_server, bucket):
    """Gives the bytes of the component."""

    def component():
        return s3_server.client().get_object(Bucket=bucket, Key=KEY)["Body"].read()

    return component


def read(source):
    with source.open() as reader:
        return reader.read()


def write(sink, data=DATA):
    with sink.open(lambda: (KEY, IDENTITY)) as upload:
        upload.write(data)
        return upload.commit()


def spoil(sink, data=DATA):
    with sink.open(lambda: (KEY, IDENTITY)) as upload:
        upload.write(data)
        raise KeyboardInterrupt


def only(records):
    (record,) = [each for each in records if each.row != "IdentifyArtifact"]
    return record


BREAKS = {
    "reset before": faults.reset(),
    "reset within": faults.reset_after(700),
    "cut within": faults.cut_after(700),
    "stalled": faults.stall(),
    "stalled within": faults.stall_after(700),
    "500": faults.refuse(500, "InternalError"),
    "503": faults.refuse(503, "SlowDown"),
    "lost answer": faults.lost_answer(),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_range_is_resumed_alone_at_its_byte(source, proxy, monkeypatch, name):
    broken = 2 * RANGE_BYTES
    monkeypatch.setattr(s3_source, "_PIECE_BYTES", 256)
    proxy.break_next("GetObject", BREAKS[name], where=lambda request: request.first_byte == broken)
    with recorded() as records:
        assert read(source) == DATA
    asked = [request.first_byte for request in proxy.asked("GetObject")]
    assert set(range(0, len(DATA), RANGE_BYTES)) <= set(asked)
    (again,) = {each - broken for each in asked if each % RANGE_BYTES} or {0}
    # What was taken out of the connection, in pieces, is not asked for twice; a reset can destroy what was under way.
    assert again in {"cut within": [700], "stalled within": [512], "reset within": range(701)}.get(name, [0])
    fields = only(records).fields
    assert (fields["resumed"], fields["requests"], fields["bytes_read"]) == (1, len(asked), len(DATA))
    assert len(asked) == len(DATA) // RANGE_BYTES + 1


def test_every_range_insists_on_the_version_that_was_first_seen(source, proxy):
    proxy.break_next("GetObject", faults.reset_after(10), times=3)
    etag = f'"{dict(source.identity().marks)["etag"]}"'
    assert read(source) == DATA
    assert {request.headers["if-match"] for request in proxy.asked("GetObject")} == {etag}
    assert len(proxy.asked("HeadObject")) == 1


def test_a_shorter_answer_than_asked_for_is_not_taken_for_the_end(source, proxy):
    proxy.break_next("GetObject", faults.fewer(100), times=2)
    assert read(source) == DATA


def test_a_flipped_bit_arrives_unseen_so_whoever_unpacks_has_to_check(source, proxy):
    proxy.break_next("GetObject", faults.flipped(5))
    with recorded() as records:
        assert sum(a != b for a, b in zip(read(source), DATA, strict=True)) == 1
    assert only(records).outcome == "success"


def test_a_range_that_never_comes_is_an_error_and_what_follows_is_not_read_instead(source, proxy):
    proxy.break_next(
        "GetObject", faults.refuse(503, "SlowDown"), times=1000, where=lambda request: request.first_byte > 0
    )
    with source.open() as reader:
        assert reader.read(RANGE_BYTES) == DATA[:RANGE_BYTES]
        for _ in range(3):
            with pytest.raises(StoreError) as caught:
                reader.read(10)
    assert (caught.value.code, caught.value.operation, caught.value.uri) == ("SlowDown", "GetObject", source.uri)
    # Two ranges are tried at a time, each as often as the budget says.
    assert len(proxy.asked("GetObject")) <= 1 + 2 * s3_calls.ATTEMPTS


def test_an_object_replaced_under_way_is_told_by_s3(source, proxy):
    proxy.break_next("GetObject", faults.refuse(412, "PreconditionFailed"))
    with pytest.raises(ArtifactChangedError):
        read(source)


def test_a_store_that_ignores_ranges_is_refused(source, proxy):
    proxy.break_next(
        "GetObject", faults.altered(lambda answer: faults.Answer(200, {"ETag": answer.headers["ETag"]}, DATA)), times=9
    )
    with pytest.raises(StoreError, match="honours ranges"):
        read(source)


def test_what_is_not_recoverable_is_tried_once(source, proxy):
    source.identity()
    proxy.break_next("GetObject", faults.refuse(403, "AccessDenied"), times=1000)
    with pytest.raises(AccessDeniedError) as caught:
        read(source)
    assert "s3:GetObject" in caught.value.next_step
    assert len(proxy.asked("GetObject")) <= 3


def test_leaving_a_reader_does_not_wait_for_a_body_that_stalls(source, proxy, s3_server, bucket):
    waits_long = calls_of(client(proxy.endpoint_url, read_timeout=90))
    patient = S3Source(ObjectName(bucket, KEY), waits_long, range_bytes=RANGE_BYTES)
    stalled = threading.Semaphore(0)

    def stall(exchange, request):
        exchange.reply(exchange.pass_on(request), most_bytes=100)
        stalled.release()
        proxy.released.wait()

    def look_inside():
        with patient.open() as reader:
            reader.read(1)
            stalled.acquire()

    proxy.break_next("GetObject", stall, where=lambda request: request.first_byte > 0)
    looking = threading.Thread(target=look_inside)
    looking.start()
    looking.join(timeout=30)
    assert not looking.is_alive()
    assert not [each for each in threading.enumerate() if each.name.startswith("range-read")]


def test_connections_are_used_again(source, proxy):
    assert read(source) == DATA
    assert len(proxy.asked("GetObject")) == 5
    assert proxy.connections <= 3


range_faults = st.lists(
    st.tuples(
        st.sampled_from(["reset", "cut", "fewer", "503", "lost"]), st.integers(0, RANGE_BYTES), st.integers(0, 4)
    ),
    max_size=4,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(broken=range_faults)
def test_any_few_breaks_in_any_ranges_give_the_same_bytes(source, proxy, broken):
    make = {
        "reset": faults.reset_after,
        "cut": faults.cut_after,
        "fewer": faults.fewer,
        "503": lambda _: faults.refuse(503, "SlowDown"),
        "lost": lambda _: faults.lost_answer(),
    }
    proxy.forget()
    for name, at, n in broken:
        proxy.break_next("GetObject", make[name](at), where=lambda request, n=n: request.first_byte // RANGE_BYTES == n)
    assert read(source) == DATA


PART_BREAKS = {name: BREAKS[name] for name in ("reset before", "stalled", "500", "503", "lost answer")}


@pytest.mark.parametrize("name", PART_BREAKS)
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_a_request_of_an_upload_that_breaks_is_made_again(sink, proxy, lying, operation, name):
    proxy.break_next(operation, PART_BREAKS[name])
    with recorded() as records:
        stored = write(sink)
    assert lying() == DATA
    assert sink.find(KEY) == stored
    assert only(records).fields["bytes_written"] == len(DATA)
    # What is seen to be done is not asked for again; a slow machine may break more than it was told to.
    assert only(records).fields["retries"] or (operation, name) == ("CompleteMultipartUpload", "lost answer")


@pytest.mark.parametrize("name", PART_BREAKS)
def test_a_small_component_that_breaks_is_sent_again(sink, proxy, s3_server, bucket, name):
    proxy.break_next("PutObject", PART_BREAKS[name])
    stored = write(sink, b"small")
    assert sink.find(KEY) == stored
    assert len(proxy.asked("PutObject")) == (1 if name == "lost answer" else 2)


def test_two_parts_are_on_their_way_at_once_and_never_three(sink, proxy):
    together, most = [0], [0]
    lock = threading.Lock()
    both = threading.Barrier(2)

    def count(exchange, request):
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=5)
        answer = exchange.pass_on(request)
        with lock:
            together[0] -= 1
        exchange.reply(answer)

    proxy.break_next("UploadPart", count, times=4)
    write(sink, DATA[: 4 * PART_BYTES])
    assert most[0] == 2


def test_every_part_and_the_whole_carry_their_crc32(sink, proxy, s3_server, bucket):
    write(sink)
    (created,) = proxy.asked("CreateMultipartUpload")
    assert created.headers["x-amz-checksum-algorithm"] == "CRC32"
    assert created.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert created.headers["x-amz-meta-edge-model-packager-identity"] == IDENTITY
    assert all(request.headers["x-amz-checksum-crc32"] for request in proxy.asked("UploadPart"))
    (completed,) = proxy.asked("CompleteMultipartUpload")
    assert completed.headers["x-amz-mp-object-size"] == str(len(DATA))
    head = s3_server.client().head_object(Bucket=bucket, Key=KEY, ChecksumMode="ENABLED")
    # The server computes it over what it has; we sent the same for the whole.
    assert completed.headers["x-amz-checksum-crc32"] == head["ChecksumCRC32"]


def test_a_small_component_is_one_request_and_asked_for_with_one(sink, proxy):
    write(sink, b"small")
    assert [request.operation for request in proxy.requests] == ["PutObject", "HeadObject"]
    assert sink.find(KEY) is not None
    assert [request.operation for request in proxy.requests[2:]] == ["HeadObject"]


def test_a_complete_whose_answer_is_lost_is_looked_up_and_not_made_again(sink, proxy, left):
    proxy.break_next("CompleteMultipartUpload", faults.lost_answer())
    stored = write(sink)
    asked = [request.operation for request in proxy.requests]
    assert asked[asked.index("CompleteMultipartUpload") + 1] == "HeadObject"
    assert asked.count("CompleteMultipartUpload") == 1
    assert sink.find(KEY) == stored
    assert left() == ([KEY], [])


def test_a_complete_that_says_200_and_means_an_error_is_made_again(sink, proxy, left):
    proxy.break_next("CompleteMultipartUpload", faults.failing_ok("InternalError"))
    stored = write(sink)
    assert sink.find(KEY) == stored
    assert len(proxy.asked("CompleteMultipartUpload")) == 2
    assert left() == ([KEY], [])


def test_a_complete_that_never_succeeds_leaves_nothing(sink, proxy, left):
    proxy.break_next("CompleteMultipartUpload", faults.failing_ok("InternalError"), times=1000)
    with recorded() as records, pytest.raises(StoreError) as caught:
        write(sink)
    assert (caught.value.operation, caught.value.code) == ("CompleteMultipartUpload", "InternalError")
    assert len(proxy.asked("CompleteMultipartUpload")) == s3_calls.ATTEMPTS
    assert left() == ([], [])
    assert only(records).fields["aborted"] == 1


def test_the_same_component_from_before_does_not_hide_an_upload_left_open(sink, proxy, left):
    write(sink)
    proxy.break_next("CompleteMultipartUpload", faults.refuse(500, "InternalError"))
    write(sink)
    assert left() == ([KEY], [])


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"])
@pytest.mark.parametrize("refusal", [(403, "AccessDenied", AccessDeniedError), (400, "EntityTooSmall", StoreError)])
def test_a_refusal_at_any_request_is_tried_once_and_leaves_nothing(sink, proxy, left, operation, refusal):
    status, code, error = refusal
    proxy.break_next(operation, faults.refuse(status, code), times=1000)
    with pytest.raises(error) as caught:
        write(sink, b"small" if operation == "PutObject" else DATA)
    assert (caught.value.operation, caught.value.code) == (operation, code)
    assert len(proxy.asked(operation)) <= 2
    assert left() == ([], [])


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_an_outage_in_the_middle_leaves_nothing_once_s3_is_back(sink, proxy, left, operation):
    proxy.break_next(operation, faults.reset(), times=1000)
    with pytest.raises(StoreError):
        write(sink)
    assert left() == ([], [])


def test_an_interrupt_removes_the_upload_with_the_parts_on_their_way(sink, proxy, left):
    with pytest.raises(KeyboardInterrupt):
        spoil(sink)
    assert left() == ([], [])
    assert not [each for each in threading.enumerate() if each.name.startswith("part-upload")]


@pytest.mark.parametrize("name", PART_BREAKS)
def test_an_abort_that_breaks_is_made_again(sink, proxy, left, name):
    proxy.break_next("AbortMultipartUpload", PART_BREAKS[name], times=2)
    with pytest.raises(KeyboardInterrupt):
        spoil(sink)
    assert left() == ([], [])


def test_parts_that_arrive_after_the_abort_are_removed_too(sink, proxy, left):
    some = b'<?xml version="1.0"?><ListPartsResult><Part><PartNumber>1</PartNumber></Part></ListPartsResult>'
    proxy.break_next("ListParts", lambda exchange, _: exchange.reply(faults.Answer(200, {}, some)), times=2)
    with pytest.raises(KeyboardInterrupt):
        spoil(sink)
    assert len(proxy.asked("AbortMultipartUpload")) == 4
    assert left() == ([], [])


def test_leaving_without_a_commit_says_when_the_upload_could_not_be_removed(sink, proxy):
    proxy.break_next("AbortMultipartUpload", faults.refuse(403, "AccessDenied"), times=1000)

    def leave():
        with sink.open(lambda: (KEY, IDENTITY)) as upload:
            upload.write(DATA)

    with recorded() as records, pytest.raises(AccessDeniedError) as caught:
        leave()
    assert caught.value.operation == "AbortMultipartUpload"
    assert only(records).fields["left_behind"] == 1


def test_an_abort_that_fails_is_noted_and_never_hides_the_error(sink, proxy):
    proxy.break_next("AbortMultipartUpload", faults.refuse(403, "AccessDenied"), times=1000)
    with recorded() as records, pytest.raises(KeyboardInterrupt) as caught:
        spoil(sink)
    assert any("AbortMultipartUpload" in note for note in caught.value.__notes__)
    assert (only(records).fields["aborted"], only(records).fields["left_behind"]) == (0, 1)


class Listener(Recorder):
    """Keeps what is logged beside the steps."""

    def __init__(self):
        self.heard = []

    def event(self, level, name, keys):
        self.heard.append((level, name, keys))


def test_who_may_not_write_the_record_still_has_the_component_and_is_warned(sink, proxy, lying):
    proxy.break_next("PutObject", faults.refuse(403, "AccessDenied"), times=1000)
    listener = Listener()
    with attached(listener):
        stored = write(sink)
    ((level, name, keys),) = listener.heard
    assert (level, name, keys["error_type"]) == ("warning", "SHA-256 not kept", "AccessDeniedError")
    assert "s3:PutObject" in keys["next_step"]
    assert len(stored.sha256) == 64
    assert lying() == DATA
    assert sink.find(KEY) is None


@pytest.mark.parametrize("operation", ["HeadObject", "GetObject"])
def test_what_may_not_be_looked_at_is_not_found(sink, proxy, operation):
    write(sink)
    proxy.break_next(operation, faults.refuse(403, "AccessDenied"), times=1000)
    assert sink.find(KEY) is None


def test_a_search_in_a_store_that_is_down_is_an_error(sink, proxy):
    proxy.break_next("HeadObject", faults.reset(), times=1000)
    with pytest.raises(StoreError):
        sink.find(KEY)


def test_what_is_tried_again_and_why_is_counted(s3_server, bucket, proxy):
    s3_server.client().put_object(Bucket=bucket, Key=KEY, Body=DATA)
    source = S3Source(ObjectName(bucket, KEY), calls_for(proxy.endpoint_url))
    proxy.break_next("GetObject", faults.refuse(503, "SlowDown"))
    with recorded() as records:
        assert read(source) == DATA
    assert (only(records).fields["resumed"], only(records).fields["throttles"]) == (1, 1)
    assert len(proxy.asked("GetObject")) == 2


def test_one_client_serves_the_process(proxy):
    assert client_for(proxy.endpoint_url) is client_for(proxy.endpoint_url)
    assert client_for(None) is not client_for(proxy.endpoint_url)


def test_an_error_shows_no_query_of_the_request(sink, proxy):
    proxy.break_next("UploadPart", faults.reset(), times=1000)
    with pytest.raises(StoreError) as caught:
        write(sink)
    assert "uploadId" not in str(caught.value)
    assert proxy.endpoint_url in str(caught.value)
