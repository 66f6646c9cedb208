"""Export over OTLP: what arrives, what is signed, and what a dead, slow or lying endpoint may cost."""

import contextlib
import hashlib
import hmac
import threading
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

import telemetry
from telemetry import catalog
from telemetry.engine import otlp
from telemetry.engine.configure import Pipeline, _recording
from telemetry.engine.health import HEALTH
from telemetry.engine.lines import LineWriter
from telemetry.engine.settings import Settings
from tests.telemetry import collector as endpoints

LIMIT_S = 0.3
SLACK_S = 0.35  # a busy machine may let a thread wait this long for its turn
PROTOBUF = "application/x-protobuf"


@pytest.fixture
def exporting(tmp_path, monkeypatch):
    """Return a function that records with an endpoint, without closing flush of its own at the end."""
    monkeypatch.setattr(Pipeline, "close", lambda _self: None)

    def to(endpoint, **changes):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
        settings = Settings.from_environ()
        settings = Settings(**{**settings.__dict__, **changes})
        return _recording(catalog.VOCABULARY, settings, LineWriter.to_file(tmp_path / "lines"), None)

    return to


def steps(count):
    for _ in range(count):
        with telemetry.observe(catalog.PLAN_PACKAGE):
            pass


def timed(call):
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


def test_a_collector_decodes_what_the_exporter_sends(exporting, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "a-service")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with endpoints.collecting() as (endpoint, collector), exporting(endpoint) as pipeline:
        with (
            telemetry.context(request_id="r-1"),
            telemetry.observe(catalog.PACKAGE_REQUEST, targets=1),
            telemetry.observe(catalog.PACKAGE_TARGET, target="onnx", key="k", bytes_in=7),
        ):
            pass
        assert pipeline.flush() == 0
    target, request = collector.spans
    attributes = {pair.key: pair.value for pair in target.attributes}
    assert (target.name, request.name) == ("package target", "package request")
    assert target.trace_id == request.trace_id
    assert target.parent_span_id == request.span_id
    assert [link.span_id for link in target.links] == [request.span_id]
    assert attributes["aws.s3.key"].string_value == "k"
    assert attributes["packager.target"].string_value == "onnx"
    assert attributes["packager.bytes_in"].int_value == 7
    assert attributes["faas.invocation_id"].string_value == "r-1"
    assert collector.resource["service.name"] == "a-service"
    assert collector.headers[0]["x-token"] == "secret"
    assert HEALTH.take()["spans_lost"] == 0


@pytest.mark.parametrize("kind", ["refusing", "swallowing", "crawling", "failing", "slow down"])
def test_a_bad_endpoint_costs_at_most_the_limit_and_every_loss_is_counted(kind, exporting):
    opened = {
        "refusing": lambda: contextlib.nullcontext(endpoints.refusing()),
        "swallowing": endpoints.swallowing,
        "crawling": endpoints.crawling,
        "failing": lambda: answering(500),
        "slow down": lambda: answering(503),
    }[kind]()
    with opened as endpoint, exporting(endpoint, dead_after=1000) as pipeline:
        took = []
        for count in (1, 40, 3):
            steps(count)
            lost, took_s = timed(pipeline.flush)
            assert lost == count
            took.append(took_s)
    assert min(took) < LIMIT_S
    assert max(took) < LIMIT_S + SLACK_S
    assert HEALTH.take()["spans_lost"] == 44


@contextlib.contextmanager
def answering(status):
    with endpoints.collecting(endpoints.Answer(status)) as (endpoint, _):
        yield endpoint


def test_a_dead_endpoint_is_given_up_for_a_while_and_tried_again(exporting):
    dead = endpoints.collecting(endpoints.Answer(500))
    with dead as (endpoint, collector), exporting(endpoint, dead_after=2) as pipeline:
        for _ in range(2):
            steps(1)
            pipeline.flush()
        assert HEALTH.endpoint_dead == 1
        tried = len(collector.headers)
        steps(5)
        assert pipeline.flush() == 5
        assert len(collector.headers) == tried
        collector.answer.status = 200
        pipeline._export._dead_until = 0.0
        steps(1)
        assert pipeline.flush() == 0
        assert HEALTH.endpoint_dead == 0


def test_what_a_flush_lost_stands_in_the_next_line(recorded_in, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoints.refusing())
    recording, found = recorded_in(Settings.from_environ())
    with recording:
        steps(3)
    assert [line["SpansLost"] for line in found.health] == [0, 4]  # the first health line has a span of its own


class Fake:
    """Acknowledges so many batches, then does as told."""

    def __init__(self, good, then):
        self.good, self.then, self.batches = good, then, []

    def __call__(self, spans):
        self.batches.append(len(spans))
        return self.then() if len(self.batches) > self.good else len(spans)


class NoSpan:
    class _Context:
        class trace_flags:  # noqa: N801  as in the SDK
            sampled = True

    def get_span_context(self):
        return self._Context


def broken():
    raise ValueError("exporter")


@pytest.mark.parametrize("then", [lambda: 0, broken, lambda: threading.Event().wait(1.0)])
def test_of_several_batches_exactly_the_unacknowledged_are_lost(then):
    exporter = Fake(2, then)
    export = otlp.Export(Settings(flush_s=0.1), exporter)
    for _ in range(otlp.BATCH * 2 + 100):
        export.on_end(NoSpan())
    assert export.flush() == 100
    assert HEALTH.take()["spans_lost"] == 100


def test_a_full_queue_drops_and_counts():
    export = otlp.Export(Settings(), Fake(100, broken))
    for _ in range(otlp.QUEUE + 7):
        export.on_end(NoSpan())
    assert HEALTH.take()["spans_lost"] == 7
    assert export.flush() == 0
    assert export.force_flush()


def test_an_acknowledgement_after_the_limit_counts_as_lost():
    release = threading.Event()

    def late():
        release.wait(5)
        return 1

    export = otlp.Export(Settings(flush_s=0.05), Fake(0, late))
    export.on_end(NoSpan())
    assert export.flush() == 1
    release.set()
    assert export.flush() == 0
    assert HEALTH.take()["spans_lost"] == 1


def test_the_endpoint_of_the_settings_is_that_of_the_export(monkeypatch, tmp_path):
    monkeypatch.setattr(Pipeline, "close", lambda _self: None)
    with (
        endpoints.collecting() as (endpoint, collector),
        _recording(
            catalog.VOCABULARY, Settings(traces_endpoint=endpoint), LineWriter.to_file(tmp_path / "lines"), None
        ) as pipeline,
    ):
        steps(2)
        assert pipeline.flush() == 0
    assert len(collector.spans) == 2


def signed_by_hand(headers, body, secret, region):
    """Return the signature that AWS works out: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html."""
    authorization = dict(part.split("=", 1) for part in headers["Authorization"].split(" ", 1)[1].split(", "))
    names = authorization["SignedHeaders"].split(";")
    lower = {name.lower(): value for name, value in headers.items()}
    signed = "".join(f"{name}:{lower[name]}\n" for name in names)
    request = f"POST\n/v1/traces\n\n{signed}\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"
    day = lower["x-amz-date"][:8]
    scope = f"{day}/{region}/xray/aws4_request"
    wanted = f"AWS4-HMAC-SHA256\n{lower['x-amz-date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, "xray", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return names, hmac.new(key, wanted.encode(), "sha256").hexdigest()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_what_goes_to_awss_own_endpoint_carries_the_signature_that_aws_works_out(exporting, monkeypatch, compression):
    region, secret = "eu-central-1", "a secret"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    for name, value in {"ACCESS_KEY_ID": "AKIDEXAMPLE", "SECRET_ACCESS_KEY": secret, "SESSION_TOKEN": "token"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with endpoints.collecting() as (proxy, collector):
        monkeypatch.setenv("HTTP_PROXY", proxy.removesuffix("/v1/traces"))  # to it goes what is for AWS
        with exporting(f"http://xray.{region}.amazonaws.com/v1/traces") as pipeline:
            steps(3)
            assert pipeline.flush(5) == 0
    (headers,) = collector.headers
    names, signature = signed_by_hand(headers, collector.bodies[0], secret, region)
    assert {"host", "x-amz-date", "x-amz-security-token", "content-type"} <= set(names)
    assert headers["Authorization"].endswith(f"Signature={signature}")
    assert len(collector.spans) == 3


def test_only_awss_own_endpoint_is_signed_for(exporting, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with endpoints.collecting() as (endpoint, collector), exporting(endpoint) as pipeline:
        steps(1)
        pipeline.flush()
    assert "Authorization" not in collector.headers[0]


def test_no_credentials_for_awss_own_endpoint_are_a_loss_and_no_more(exporting, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "nowhere")
    with exporting("http://xray.eu-central-1.amazonaws.com/v1/traces") as pipeline:
        steps(3)
        assert pipeline.flush(5) == 3


def partial_success(rejected, message=""):
    told = {"rejected_spans": rejected, "error_message": message}
    return ExportTraceServiceResponse(partial_success=told).SerializeToString()


@pytest.mark.parametrize(
    ("answer", "lost"),
    [
        (endpoints.Answer(200, PROTOBUF, partial_success(rejected=2)), 2),
        (endpoints.Answer(200, PROTOBUF, partial_success(rejected=0, message="a warning")), 0),
        (endpoints.Answer(200, PROTOBUF, partial_success(rejected=99)), 5),
        (endpoints.Answer(200, PROTOBUF, b"no protobuf at all"), 5),
        (endpoints.Answer(200, "text/html", b"<h1>Log in</h1>"), 5),
        (endpoints.Answer(200, "", b""), 0),
        (endpoints.Answer(202, "text/plain", b"thank you"), 0),
        (endpoints.Answer(302, "", b"", {"Location": "/elsewhere"}), 5),
        (endpoints.Answer(304, "", b""), 5),
        (endpoints.Answer(400, "text/plain", b"no"), 5),
        (endpoints.Answer(429, "", b"", {"Retry-After": "3600"}), 5),
    ],
)
def test_a_lying_endpoint_is_believed_only_as_far_as_its_answer_goes(answer, lost, exporting):
    with endpoints.collecting(answer) as (endpoint, _), exporting(endpoint) as pipeline:
        steps(5)
        assert pipeline.flush(5) == lost
    assert HEALTH.take()["spans_lost"] == lost


def test_an_answer_without_end_is_not_read_to_its_end(exporting):
    with endpoints.pouring() as endpoint, exporting(endpoint) as pipeline:
        steps(1)
        assert pipeline.flush(5) == 0


def test_a_bad_endpoint_setting_leaves_the_work_and_the_lines(recorded_in, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no address at all")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    recording, found = recorded_in(Settings.from_environ())
    with recording:
        steps(1)
    assert len(found.emf) == 1
