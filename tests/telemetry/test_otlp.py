"""Export over OTLP: what arrives, what is signed, and what a dead, slow or lying endpoint may cost."""

import threading
import time

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import telemetry
from telemetry import catalog, otlp
from telemetry.configure import Pipeline, _recording
from telemetry.health import HEALTH
from telemetry.settings import Settings
from telemetry.writer import LineWriter
from tests.telemetry import collector as endpoints

LIMIT_S = 0.3
SLACK_S = 0.35  # a busy machine may let a thread wait this long for its turn


@pytest.fixture
def exporting(tmp_path, monkeypatch):
    """Return a function that records with an endpoint, without closing flush of its own at the end."""
    monkeypatch.setattr(Pipeline, "close", lambda _self: None)

    def to(endpoint, **changes):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
        settings = Settings.from_environ()
        settings = Settings(**{**settings.__dict__, **changes})
        return _recording(settings, LineWriter.to_file(tmp_path / "lines"), None)

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
        "refusing": lambda: memoryview_free(endpoints.refusing()),
        "swallowing": endpoints.swallowing,
        "crawling": endpoints.crawling,
        "failing": lambda: first_of(endpoints.collecting(status=500)),
        "slow down": lambda: first_of(endpoints.collecting(status=503)),
    }[kind]()
    with opened as endpoint, exporting(endpoint, dead_after=1000) as pipeline:
        for count in (1, 40, 3):
            steps(count)
            lost, took_s = timed(pipeline.flush)
            assert lost == count
            assert took_s < LIMIT_S + SLACK_S
    assert HEALTH.take()["spans_lost"] == 44


class memoryview_free:  # noqa: N801  a context manager of two lines
    def __init__(self, endpoint):
        self.endpoint = endpoint

    def __enter__(self):
        return self.endpoint

    def __exit__(self, *_):
        pass


class first_of:  # noqa: N801  same
    def __init__(self, manager):
        self.manager = manager

    def __enter__(self):
        return self.manager.__enter__()[0]

    def __exit__(self, *error):
        return self.manager.__exit__(*error)


def test_a_dead_endpoint_is_given_up_for_a_while_and_tried_again(exporting):
    with endpoints.collecting(status=500) as (endpoint, collector), exporting(endpoint, dead_after=2) as pipeline:
        for _ in range(2):
            steps(1)
            pipeline.flush()
        assert HEALTH.endpoint_dead == 1
        tried = len(collector.headers)
        steps(5)
        assert pipeline.flush() == 5
        assert len(collector.headers) == tried
        collector.status = 200
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


class Fake(SpanExporter):
    """Acknowledges so many batches, then does as told."""

    def __init__(self, good, then):
        self.good, self.then, self.batches = good, then, []

    def export(self, spans):
        self.batches.append(len(spans))
        if len(self.batches) > self.good:
            return self.then()
        return SpanExportResult.SUCCESS

    def shutdown(self):
        pass


class NoSpan:
    class _Context:
        class trace_flags:  # noqa: N801  as in the SDK
            sampled = True

    def get_span_context(self):
        return self._Context


def broken():
    raise ValueError("exporter")


@pytest.mark.parametrize("then", [lambda: SpanExportResult.FAILURE, broken, lambda: threading.Event().wait(1.0)])
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
        return SpanExportResult.SUCCESS

    export = otlp.Export(Settings(flush_s=0.05), Fake(0, late))
    export.on_end(NoSpan())
    assert export.flush() == 1
    release.set()
    assert export.flush() == 0
    assert HEALTH.take()["spans_lost"] == 1


def test_awss_own_endpoint_is_signed_for(monkeypatch):
    import requests  # noqa: PLC0415  only here

    for name, value in {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    session = otlp._signed_session("eu-central-1")
    request = requests.Request("POST", "https://xray.eu-central-1.amazonaws.com/v1/traces", data=b"spans")
    prepared = session.prepare_request(request)
    assert "Credential=AKIDEXAMPLE/" in prepared.headers["Authorization"]
    assert "/eu-central-1/xray/aws4_request" in prepared.headers["Authorization"]
    assert prepared.headers["Content-Type"] == "application/x-protobuf"


def test_awss_own_endpoint_is_known_by_its_name(monkeypatch):
    seen = []
    monkeypatch.setattr(otlp, "_signed_session", seen.append)
    otlp._exporter(Settings(traces_endpoint="https://xray.us-east-2.amazonaws.com/v1/traces"))
    otlp._exporter(Settings(traces_endpoint="http://localhost:4318/v1/traces"))
    assert seen == ["us-east-2"]


def test_a_bad_endpoint_setting_leaves_the_work_and_the_lines(recorded_in, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no address at all")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    recording, found = recorded_in(Settings.from_environ())
    with recording:
        steps(1)
    assert len(found.emf) == 1
