"""S3 servers that answer otherwise than S3 does: nothing is destroyed, and the error names the server's fault."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.deadline import Stop, stopped_by
from packager.errors import AccessDeniedError, OperationAbortedError, PackagerError, StoreError
from packager.stores import s3_calls, s3_checksums
from packager.stores.s3_client import calls_of
from packager.stores.s3_object import ObjectName
from packager.stores.s3_options import S3Options
from packager.stores.s3_sink import S3Sink
from packager.stores.s3_source import S3Source
from telemetry import Recorder, attached
from tests import faulty_proxy as faults
from tests.s3_server import client

KEY = "model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip"
IDENTITY = "0123456789ab" + "c" * 52
DATA = bytes(range(256)) * 40
PART_BYTES = 3000
NOT_XML = b"<!doctype html><html><body>Please sign in<br></body></html>"
WELL_FORMED = b"<html><body>Please sign in</body></html>"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(s3_calls, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(s3_calls, "LONGEST_PAUSE_S", 0.002)
    monkeypatch.setattr(s3_checksums, "_refusing", set())


@pytest.fixture
def proxy(s3_server):
    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def sink_with(proxy, bucket):
    """Gives a sink behind the proxy, with options of S3."""

    def make(read_timeout=0.5, **options):
        by = client(proxy.endpoint_url, read_timeout=read_timeout, request_checksum_calculation="when_required")
        return S3Sink(bucket, "", calls_of(by, S3Options(**options)), part_bytes=lambda _: PART_BYTES)

    return make


@pytest.fixture
def sink(sink_with):
    return sink_with()


@pytest.fixture
def source(proxy, s3_server, bucket):
    s3_server.client().put_object(Bucket=bucket, Key=KEY, Body=DATA)
    return S3Source(ObjectName(bucket, KEY), calls_of(client(proxy.endpoint_url, read_timeout=0.5)), range_bytes=2048)


@pytest.fixture
def uploads(s3_server, bucket):
    return lambda: s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])


@pytest.fixture
def lying(s3_server, bucket):
    """Gives the bytes of the component."""

    def component():
        return s3_server.client().get_object(Bucket=bucket, Key=KEY)["Body"].read()

    return component


def write(sink, data=DATA):
    with sink.open(lambda: (KEY, IDENTITY)) as upload:
        upload.write(data)
        return upload.commit()


class Heard(Recorder):
    """Keeps the names of what is logged."""

    def __init__(self):
        self.events = []

    def event(self, level, name, keys):
        if level != "debug":
            self.events.append((level, name, keys["next_step"] != ""))


def headers(**changed):
    """Answers whose headers are others; None leaves one out. Names with _ for -."""
    wanted = {name.replace("_", "-").lower(): value for name, value in changed.items()}

    def change(answer):
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in wanted}
        return replace(answer, headers={**kept, **{name: value for name, value in wanted.items() if value is not None}})

    return faults.altered(change)


def body(content):
    return faults.altered(lambda answer: replace(answer, body=content, length=None))


def without_length(exchange, request):
    answer = exchange.pass_on(request)
    exchange.send_response(answer.status)
    for name, value in answer.headers.items():
        exchange.send_header(name, value)
    exchange.send_header("Connection", "close")
    exchange.end_headers()
    exchange.close_connection = True


# -- nothing is destroyed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"small", DATA], ids=["one request", "parts"])
def test_nothing_is_written_to_the_key_once_the_component_is_there(sink, proxy, data):
    write(sink, data)
    of_key = [each for each in proxy.requests if each.target.partition("?")[0].endswith(KEY)]
    made = next(n for n, each in enumerate(of_key) if each.operation in {"PutObject", "CompleteMultipartUpload"})
    assert {each.method for each in of_key[made + 1 :]} == {"HEAD"}


def test_a_component_of_the_older_layout_is_still_found(sink, s3_server, bucket):
    sha256 = hashlib.sha256(DATA).hexdigest()
    direct = s3_server.client()
    direct.put_object(Bucket=bucket, Key=KEY, Body=DATA, Metadata={"edge-model-packager-identity": IDENTITY})
    tags = {"TagSet": [{"Key": "edge-model-packager-sha256", "Value": sha256}]}
    direct.put_object_tagging(Bucket=bucket, Key=KEY, Tagging=tags)
    found = sink.find(KEY)
    assert (found.identity, found.sha256, found.size_bytes) == (IDENTITY, sha256, len(DATA))


def test_a_record_that_speaks_of_another_object_is_not_believed(sink, s3_server, bucket):
    stored = write(sink)
    assert sink.find(KEY) == stored
    metadata = {"edge-model-packager-identity": IDENTITY}
    s3_server.client().put_object(Bucket=bucket, Key=KEY, Body=DATA[:-1], Metadata=metadata)
    assert sink.find(KEY) is None


records = st.binary(max_size=40) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=records)
def test_a_record_that_is_none_is_as_good_as_no_record(sink, proxy, content):
    proxy.forget()
    write(sink)
    proxy.break_next("GetObject", body(content))
    assert sink.find(KEY) is None


def test_metadata_count_however_their_names_are_written(sink, proxy):
    stored = write(sink, b"small")
    capitals = faults.altered(
        lambda answer: replace(answer, headers={name.title(): value for name, value in answer.headers.items()})
    )
    proxy.break_next("HeadObject", capitals)
    assert sink.find(KEY) == stored


# -- what is called written is there ----------------------------------------------------------------------------------

OTHERS = {
    "gone": (faults.refuse(404, "NoSuchKey"), "NoSuchKey|BrokenTransferError|404"),
    "shorter": (faults.altered(lambda answer: replace(answer, length=17)), "OtherBytes"),
    "another ETag": (headers(etag='"00000000000000000000000000000000-4"', x_amz_checksum_crc32=None), "OtherBytes"),
    "another checksum": (headers(x_amz_checksum_crc32="AAAAAA=="), "OtherBytes"),
    "somebody else's": (headers(x_amz_meta_edge_model_packager_identity="d" * 64), "OtherBytes"),
    "hidden": (faults.refuse(403, "AccessDenied"), "403|AccessDenied"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_finished_component_that_is_anything_but_what_was_sent_is_an_error(sink, proxy, uploads, name):
    fault, codes = OTHERS[name]
    proxy.break_next("HeadObject", fault, times=1000)
    with pytest.raises(StoreError) as caught:
        write(sink)
    assert caught.value.code in codes.split("|")
    assert caught.value.uri.endswith(KEY)
    assert uploads() == []


def test_a_component_that_a_slow_server_finds_a_moment_later_is_there(sink, proxy):
    proxy.break_next("HeadObject", faults.refuse(404, "NoSuchKey"), times=2)
    assert write(sink) == sink.find(KEY)


@pytest.mark.parametrize("operation", ["UploadPart", "PutObject"])
def test_a_bit_that_flips_on_its_way_up_is_sent_again_once_and_refused_when_it_always_does(
    sink, proxy, lying, operation
):
    data = DATA if operation == "UploadPart" else b"small" * 9
    proxy.break_next(operation, faults.flipped_request(40))
    write(sink, data)
    assert lying() == data
    proxy.break_next(operation, faults.flipped_request(40), times=1000)
    with pytest.raises(StoreError) as caught:
        write(sink, data)
    assert caught.value.code == "OtherBytes"
    assert sink.find(KEY) is None or operation == "UploadPart"


# -- answers that are none of S3's ------------------------------------------------------------------------------------

HALF = [
    ("HeadObject", headers(etag=None)),
    ("HeadObject", without_length),
    ("CreateMultipartUpload", body(WELL_FORMED)),
    ("CreateMultipartUpload", body(NOT_XML)),
    ("UploadPart", headers(etag=None)),
    ("CompleteMultipartUpload", body(WELL_FORMED)),
    ("CompleteMultipartUpload", body(NOT_XML)),
    ("PutObject", headers(etag=None)),
]


@pytest.mark.parametrize(("operation", "fault"), HALF, ids=[f"{name} {n}" for n, (name, _) in enumerate(HALF)])
def test_half_an_answer_is_the_servers_fault_and_said_so(sink, proxy, uploads, operation, fault):
    proxy.break_next(operation, fault, times=1000)
    if operation in {"CompleteMultipartUpload", "PutObject"}:  # seen to be there, whatever was answered
        assert write(sink, b"small" if operation == "PutObject" else DATA) == sink.find(KEY)
    else:
        with pytest.raises(StoreError) as caught:
            write(sink)
        assert caught.value.code in {"MalformedAnswer", "ResponseParserError", "500"}
        assert caught.value.operation == operation
        assert caught.value.next_step
    assert uploads() == []  # one whose id is not told is looked for


def test_an_upload_whose_id_is_not_told_and_that_cannot_be_looked_for_is_said(sink, proxy):
    proxy.break_next("CreateMultipartUpload", body(b"<InitiateMultipartUploadResult/>"))
    proxy.break_next("ListMultipartUploads", faults.refuse(403, "AccessDenied"), times=1000)
    heard = Heard()
    with attached(heard), pytest.raises(StoreError, match="no UploadId"):
        write(sink)
    assert heard.events == [("warning", "an upload may be left open", True)]


@pytest.mark.parametrize("status", [200, 206])
def test_a_page_in_place_of_a_range_is_the_servers_fault(source, proxy, status):
    page = faults.Answer(status, {"Content-Type": "text/html"}, NOT_XML)
    proxy.break_next("GetObject", lambda exchange, _: exchange.reply(page), times=1000)
    with source.open() as reader, pytest.raises(StoreError) as caught:
        reader.read()
    assert (caught.value.code, caught.value.operation) == ("MalformedAnswer", "GetObject")
    assert "a proxy may have answered" in caught.value.next_step


@pytest.mark.parametrize("operation", ["HeadObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_a_bucket_whose_address_is_not_known_everywhere_yet_is_said_so(sink, proxy, operation):
    proxy.break_next(operation, faults.refuse(307, "TemporaryRedirect"), times=1000)
    with pytest.raises(StoreError) as caught:
        write(sink)
    assert caught.value.code in {"307", "TemporaryRedirect"}
    assert "AWS_REGION" in caught.value.next_step


def test_what_is_given_up_says_what_came_in_place_of_an_answer(sink_with, proxy, monkeypatch):
    monkeypatch.setattr(s3_calls, "FIRST_PAUSE_S", 0.5)
    monkeypatch.setattr(s3_calls, "LONGEST_PAUSE_S", 0.5)
    monkeypatch.setattr(s3_calls, "ATTEMPTS", 10_000)
    proxy.break_next("UploadPart", faults.refuse(503, "SlowDown"), times=10_000)
    with pytest.raises(StoreError) as caught:
        write(sink_with(read_timeout=30, give_up_s=1))
    assert caught.value.code == "Silent"
    assert "but SlowDown: " in caught.value.message


@pytest.mark.parametrize("fault", [headers(etag=None), without_length], ids=["no ETag", "no length"])
def test_an_artifact_that_is_described_by_halves_is_refused(source, proxy, fault):
    proxy.break_next("HeadObject", fault, times=1000)
    with pytest.raises(StoreError) as caught:
        source.identity()
    assert caught.value.code == "MalformedAnswer"


# -- checksums --------------------------------------------------------------------------------------------------------


def refuses_checksums(status, code):
    """A server that answers so to whatever carries a checksum, and passes on the rest."""

    def act(exchange, request):
        asks = any(name.startswith("x-amz-checksum") for name in request.headers) or b"Checksum" in request.body
        (faults.refuse(status, code) if asks else faults.unbroken)(exchange, request)

    return act


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"])
@pytest.mark.parametrize("refusal", [(400, "MalformedXML"), (501, "NotImplemented")])
def test_checksums_that_are_refused_are_left_out_and_that_is_remembered(sink, proxy, lying, operation, refusal):
    data = b"small" if operation == "PutObject" else DATA
    proxy.break_next(operation, refuses_checksums(*refusal), times=1000)
    heard = Heard()
    with attached(heard):
        write(sink, data)
        tried = len(proxy.requests)
        write(sink, data)
    assert lying() == data
    assert heard.events == [("warning", "checksums refused", True)]
    assert not any("x-amz-checksum-crc32" in each.headers for each in proxy.requests[tried:])


def test_checksums_that_are_always_wanted_are_never_left_out(sink_with, proxy):
    proxy.break_next("CompleteMultipartUpload", refuses_checksums(400, "MalformedXML"), times=1000)
    with pytest.raises(StoreError) as caught:
        write(sink_with(checksums="always"))
    assert caught.value.code == "MalformedXML"
    proxy.forget()
    write(sink_with(checksums="never"))
    assert not any(name.startswith("x-amz-checksum-a") for each in proxy.requests for name in each.headers)


# -- tags -------------------------------------------------------------------------------------------------------------

ONE_TAG = b"<Tagging><TagSet><Tag><Key>team</Key><Value>vision</Value></Tag></TagSet></Tagging>"


@pytest.mark.parametrize("data", [b"small", DATA], ids=["one request", "parts"])
@pytest.mark.parametrize("there", ["all", "one", "not to be seen"])
def test_tags_that_a_server_forgets_are_said_and_the_component_is_there(sink_with, proxy, data, there):
    if there != "all":
        answer = body(ONE_TAG) if there == "one" else faults.refuse(403, "AccessDenied")
        proxy.break_next("GetObjectTagging", answer, times=1000)
    heard = Heard()
    with attached(heard):
        stored = write(sink_with(tags="team=vision&stage=prod"), data)
    assert stored.size_bytes == len(data)
    assert heard.events == ([("warning", "tags not kept", True)] if there == "one" else [])


# -- answers that are lost --------------------------------------------------------------------------------------------


def test_an_upload_whose_beginning_was_not_answered_is_found_and_removed(sink, proxy, uploads):
    proxy.break_next("CreateMultipartUpload", faults.lost_answer(), times=3)
    write(sink)
    assert uploads() == []


@pytest.mark.parametrize("data", [b"small", DATA], ids=["one request", "parts"])
def test_a_component_whose_last_answer_never_ends_is_there_when_that_is_given_up(sink_with, proxy, uploads, data):
    """A byte now and then keeps the connection from timing out."""

    def trickle(exchange, request):
        exchange.pass_on(request)
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\nX-Filler: ")
        while not exchange.server.proxy.released.wait(0.05):
            exchange.wfile.write(b"x")

    proxy.break_next("PutObject" if len(data) < PART_BYTES else "CompleteMultipartUpload", trickle)
    sink = sink_with(read_timeout=30, give_up_s=2)
    assert write(sink, data) == sink.find(KEY)
    assert uploads() == []


def test_an_upload_that_may_have_begun_and_cannot_be_looked_for_is_said(sink, proxy):
    proxy.break_next("CreateMultipartUpload", faults.lost_answer())
    proxy.break_next("ListMultipartUploads", faults.refuse(403, "AccessDenied"), times=1000)
    heard = Heard()
    with attached(heard):
        write(sink)
    assert heard.events == [("warning", "an upload may be left open", True)]


@pytest.mark.parametrize("begins", ["before", "after"])
def test_work_that_is_stopped_while_an_upload_begins_leaves_none(sink_with, proxy, uploads, begins):
    stop = Stop()

    def answer_late(exchange, request):
        answer = exchange.pass_on(request) if begins == "before" else None
        stop.tell()
        time.sleep(0.3)
        exchange.reply(answer or exchange.pass_on(request))

    proxy.break_next("CreateMultipartUpload", answer_late)
    with stopped_by(stop), pytest.raises(OperationAbortedError):
        write(sink_with(read_timeout=30))
    assert len(proxy.asked("AbortMultipartUpload")) >= 1
    assert uploads() == []


@pytest.mark.parametrize("may_list", [True, False])
def test_an_upload_that_begins_when_nobody_waits_for_it_any_more_is_removed(sink_with, proxy, uploads, may_list):
    answered = threading.Event()

    def answer_late(exchange, request):
        time.sleep(1.5)
        exchange.reply(exchange.pass_on(request))
        answered.set()

    proxy.break_next("CreateMultipartUpload", answer_late)
    if not may_list:
        proxy.break_next("ListMultipartUploads", faults.refuse(403, "AccessDenied"), times=1000)
    with pytest.raises(StoreError, match="given up"):
        write(sink_with(read_timeout=30, give_up_s=1))
    assert answered.wait(60)
    until = time.monotonic() + 60
    while uploads() and time.monotonic() < until:
        time.sleep(0.05)
    assert uploads() == []


def test_a_part_that_arrives_after_work_was_stopped_is_removed_too(sink_with, proxy):
    stop, arrived, aborts = Stop(), threading.Event(), []

    def arrive_late(exchange, request):
        stop.tell()
        time.sleep(0.3)
        arrived.set()
        faults.unbroken(exchange, request)

    def note(exchange, request):
        aborts.append(arrived.is_set())
        faults.unbroken(exchange, request)

    proxy.break_next("UploadPart", arrive_late, times=2)
    proxy.break_next("AbortMultipartUpload", note, times=100)
    with stopped_by(stop), pytest.raises(OperationAbortedError):
        write(sink_with(read_timeout=30))
    assert (aborts[0], aborts[-1]) == (False, True)


def test_another_packagers_upload_of_the_same_component_is_left_alone(sink, proxy, uploads, s3_server, bucket):
    other = s3_server.client().create_multipart_upload(Bucket=bucket, Key=KEY)["UploadId"]
    s3_server.client().upload_part(Bucket=bucket, Key=KEY, UploadId=other, PartNumber=1, Body=b"theirs")
    proxy.break_next("CreateMultipartUpload", faults.lost_answer())
    write(sink)
    assert [each["UploadId"] for each in uploads()] == [other]


# -- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "right"),
    [("HeadObject", "s3:GetObject"), ("GetObject", "s3:GetObject"), ("UploadPart", "s3:PutObject")],
)
def test_a_refusal_says_which_right_is_missing_on_which_key(sink, source, proxy, operation, right):
    proxy.break_next(operation, faults.refuse(403, "AccessDenied"), times=1000)
    with pytest.raises(AccessDeniedError) as caught:
        write(sink) if operation == "UploadPart" else source.open().__enter__().read()
    assert f"Allow {right} on {caught.value.uri}" in caught.value.next_step
    assert caught.value.uri.endswith(KEY)
    assert ("S3_ENCRYPTION" in caught.value.next_step) == (operation == "UploadPart")


def test_a_refusal_in_the_servers_own_words_is_repeated(sink, proxy):
    said = (
        "User: arn:aws:sts::1:x is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu:1:key/9"
    )
    error = f"<Error><Code>AccessDenied</Code><Message>{said} because no policy allows it</Message></Error>".encode()
    proxy.break_next("PutObject", lambda exchange, _: exchange.reply(faults.Answer(403, {}, error)))
    with pytest.raises(AccessDeniedError) as caught:
        write(sink, b"small")
    assert "Allow kms:GenerateDataKey on arn:aws:kms:eu:1:key/9" in caught.value.next_step


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from(["HeadObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]),
    status=st.sampled_from([200, 204, 301, 307, 400, 404, 418, 500]),
    content=st.sampled_from([b"", NOT_XML, WELL_FORMED, b"<Error/>", b"\xff\xfe", b"{}"]),
)
def test_whatever_a_server_answers_nothing_but_the_packagers_own_errors_comes_out(
    sink, proxy, operation, status, content
):
    proxy.forget()
    answer = faults.Answer(status, {"Content-Type": "text/html"}, content)
    proxy.break_next(operation, lambda exchange, _: exchange.reply(answer), times=1000)
    try:
        write(sink)
    except PackagerError as error:
        assert error.message  # noqa: PT017  a property, not an expectation
