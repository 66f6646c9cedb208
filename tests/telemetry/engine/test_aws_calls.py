"""Calls of AWS: one CLIENT span each below its step, with the names of the conventions and nothing of their bodies."""

import contextlib
import http.server
import json
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import telemetry
from telemetry import catalog
from telemetry.engine.aws_calls import observe_calls
from telemetry.engine.propagation import continued
from telemetry.engine.testing import recorded

CLIENT = 3


@contextlib.contextmanager
def answering(*answers):
    """Give the address of a service that answers with (status, headers, body) in turn, and the requests it got."""
    requests, waiting = [], list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append((self.command, self.path, dict(self.headers), body))
            status, headers, answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer)

        do_GET = do_PUT = do_POST = do_HEAD = _answer  # noqa: N815  the names that http.server looks for

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client(service, endpoint, attempts=1):
    made = boto3.session.Session("id", "a-secret-key", region_name="eu-west-1").client(
        service,
        endpoint_url=endpoint,
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}, s3={"addressing_style": "path"}),
    )
    observe_calls(made)
    return made


def attributes(span):
    return {pair["key"]: read(pair["value"]) for pair in span["attributes"]}


def read(value):
    ((kind, found),) = value.items()
    return (
        [read(one) for one in found["values"]] if kind == "arrayValue" else int(found) if kind == "intValue" else found
    )


S3_IDS = {"x-amz-request-id": "R1", "x-amz-id-2": "H1"}
AWS_IDS = {"x-amzn-RequestId": "R2", "Content-Type": "application/x-amz-json-1.0"}


def test_a_call_of_s3_is_a_client_span_below_its_step(recorded_in):
    recording, found = recorded_in()
    with answering((200, {**S3_IDS, "ETag": '"e"'}, b"")) as (endpoint, _), recording:
        s3 = client("s3", endpoint)
        with telemetry.observe(catalog.WRITE_COMPONENT, store="s3") as step:
            s3.upload_part(Bucket="b", Key="k/é", UploadId="u", PartNumber=7, Body=b"secret body")
    call, around = found.spans
    assert (call["name"], call["kind"], call["parentSpanId"]) == ("S3.UploadPart", CLIENT, step.span_id)
    assert int(around["startTimeUnixNano"]) <= int(call["startTimeUnixNano"]) <= int(call["endTimeUnixNano"])
    assert attributes(call) == {
        "rpc.system.name": "aws-api",
        "rpc.method": "S3/UploadPart",
        "cloud.region": "eu-west-1",
        "server.address": "127.0.0.1",
        "server.port": int(endpoint.rpartition(":")[2]),
        "aws.s3.bucket": "b",
        "aws.s3.key": "k/é",
        "aws.s3.upload_id": "u",
        "aws.s3.part_number": 7,
        "aws.request_id": "R1",
        "aws.extended_request_id": "H1",
        "http.response.status_code": 200,
    }
    assert "secret" not in (found.folder / "spans.jsonl").read_text()


def test_a_call_of_dynamodb_names_database_and_table_and_nothing_of_the_record(recorded_in):
    recording, found = recorded_in()
    with answering((200, AWS_IDS, b"{}")) as (endpoint, _), recording, telemetry.observe(catalog.READ_RECORD):
        client("dynamodb", endpoint).get_item(TableName="jobs", Key={"id": {"S": "private"}})
    about = attributes(found.spans[0])
    assert found.spans[0]["name"] == "DynamoDB.GetItem"
    assert {name: about[name] for name in about if name.startswith(("db.", "aws.dynamodb."))} == {
        "db.system.name": "aws.dynamodb",
        "db.operation.name": "GetItem",
        "db.collection.name": "jobs",
        "aws.dynamodb.table_names": ["jobs"],
    }
    assert "private" not in (found.folder / "spans.jsonl").read_text()


def test_an_invoked_function_is_named_and_continues_the_trace_of_the_step(recorded_in, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "me")  # botocore then hands on the header of the whole invocation
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
    recording, found = recorded_in()
    with (
        answering((202, AWS_IDS, b"")) as (endpoint, requests),
        recording,
        telemetry.observe(catalog.TRIGGER_PUBLISH) as step,
    ):
        client("lambda", endpoint).invoke(FunctionName="publish", InvocationType="Event", Payload=b"{}")
    about = attributes(found.spans[0])
    assert (about["faas.invoked_name"], about["faas.invoked_provider"], about["faas.invoked_region"]) == (
        "publish",
        "aws",
        "eu-west-1",
    )
    sent = requests[0][2]["X-Amzn-Trace-Id"]
    assert sent == f"Root=1-{step.trace_id[:8]}-{step.trace_id[8:]};Parent={step.span_id};Sampled=1"


def test_a_refused_call_is_an_error_with_the_services_code(recorded_in):
    body = b"<Error><Code>AccessDenied</Code><Message>not you</Message></Error>"
    recording, found = recorded_in()
    with (
        answering((403, S3_IDS, body)) as (endpoint, _),
        recording,
        telemetry.observe(catalog.READ_ARTIFACT),
        pytest.raises(ClientError),
    ):
        client("s3", endpoint).get_object(Bucket="b", Key="k")
    call, step = found.spans
    assert call["status"] == {"code": 2, "message": "not you"}
    assert attributes(call)["error.type"] == "AccessDenied"
    assert attributes(call)["http.response.status_code"] == 403
    assert step["status"]["code"] == 0


def test_a_call_without_an_answer_is_an_error_with_the_type_of_the_exception(recorded_in):
    recording, found = recorded_in()
    with answering((200, {}, b"")) as (endpoint, _):
        pass  # nobody listens there any more
    with recording, telemetry.observe(catalog.READ_ARTIFACT), pytest.raises(BotoCoreError):
        client("s3", endpoint).get_object(Bucket="b", Key="k")
    assert attributes(found.spans[0])["error.type"] == "EndpointConnectionError"


def test_what_is_tried_again_is_one_span_and_counts_in_the_step_and_in_those_around_it(recorded_in):
    slow = (503, S3_IDS, b"<Error><Code>SlowDown</Code></Error>")
    recording, found = recorded_in()
    with (
        answering(slow, slow, (200, S3_IDS, b"x")) as (endpoint, requests),
        recorded() as records,
        recording,
        telemetry.observe(catalog.INVOKE_FUNCTION),
        telemetry.observe(catalog.READ_ARTIFACT),
    ):
        client("s3", endpoint, attempts=3).get_object(Bucket="b", Key="k")["Body"].read()
    assert len(requests) == 3
    (call,) = [span for span in found.spans if span["kind"] == CLIENT]
    assert attributes(call)["http.request.resend_count"] == 2
    assert records[0].fields == {"retries": 2, "throttles": 2}
    assert (records[1].fields["retries"], records[1].fields["throttles"]) == (2, 2)


@pytest.mark.parametrize("sampled", [0, 1])
def test_a_call_outside_of_a_step_or_of_the_sample_has_no_span(sampled, recorded_in):
    header = f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={sampled}"
    recording, found = recorded_in()
    with answering((200, S3_IDS, b"")) as (endpoint, _), recording:
        s3 = client("s3", endpoint)
        s3.head_object(Bucket="b", Key="outside")
        with continued({"X-Amzn-Trace-Id": header}), telemetry.observe(catalog.READ_ARTIFACT):
            s3.head_object(Bucket="b", Key="inside")
    calls = [span for span in found.spans if span["kind"] == CLIENT]
    assert [attributes(call)["aws.s3.key"] for call in calls] == ["inside"] * sampled


def test_a_handler_that_fails_costs_the_span_and_not_the_call(recorded_in, monkeypatch):
    monkeypatch.setattr("telemetry.engine.aws_calls.urlsplit", lambda _url: 1 / 0)
    recording, found = recorded_in()
    with answering((200, S3_IDS, b"")) as (endpoint, _), recording, telemetry.observe(catalog.READ_ARTIFACT):
        assert client("s3", endpoint).head_object(Bucket="b", Key="k")["ResponseMetadata"]["RequestId"] == "R1"
    assert len(found.spans) == 1
    assert "a call could not be observed: ZeroDivisionError" in json.dumps(found.health)
