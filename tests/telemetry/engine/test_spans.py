"""Traces: X-Ray's context continued, children and links right, sampling honoured, the host left alone."""

import json
import os

import pytest
from google.protobuf import json_format
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

import telemetry
from telemetry import catalog
from telemetry.engine.propagation import continued, linked
from telemetry.engine.settings import Settings

HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={}"
TRACE_ID = "5759e988bd862e3fe1be46a994272793"
PUBLISH = catalog.TRIGGER_PUBLISH
PARENT = f"00-{TRACE_ID}-53995c3f42cd8ad8-01"


def xray(sampled):
    return {"X-Amzn-Trace-Id": HEADER.format(sampled)}


def headers_of(step):
    headers = {}
    for inject in step.recorders.injects:
        inject(step, headers)
    return headers


def test_a_header_is_continued(recorded_in):
    recording, found = recorded_in()
    with recording, continued(xray(1)), telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert (found.spans[0]["traceId"], found.spans[0]["parentSpanId"]) == (TRACE_ID, "53995c3f42cd8ad8")
    assert found.emf[0]["trace_id"] == TRACE_ID


def test_a_trace_that_is_sampled_out_leaves_exact_metrics_and_no_span(recorded_in):
    recording, found = recorded_in()
    with recording, continued(xray(0)):
        for _ in range(10):
            with telemetry.observe(catalog.PLAN_PACKAGE):
                pass
    assert found.spans == []
    assert sum(line["Success"] for line in found.emf) == 10
    assert {line["trace_id"] for line in found.emf} == {TRACE_ID}
    assert len({line["span_id"] for line in found.emf}) == 10


def test_the_sampler_of_the_environment_is_honoured(recorded_in, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert (len(found.spans), len(found.emf)) == (0, 1)


@pytest.mark.parametrize(
    "header", ["", "nonsense", "Root=1-x-y;Parent=z", "Root=;;;==", "\x00" * 100, HEADER.format(1)[:-20]]
)
def test_a_bad_header_begins_a_trace_of_its_own(header, recorded_in):
    recording, found = recorded_in()
    with recording, continued({"X-Amzn-Trace-Id": header}), telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert "parentSpanId" not in found.spans[0]


def test_ids_are_of_x_rays_form(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE) as step:
        headers = headers_of(step)
    began_s = int(found.spans[0]["startTimeUnixNano"]) // 10**9
    assert abs(int(found.spans[0]["traceId"][:8], 16) - began_s) <= 1
    header = f"Root=1-{step.trace_id[:8]}-{step.trace_id[8:]};Parent={step.span_id};Sampled=1"
    assert headers == {"X-Amzn-Trace-Id": header}


def test_a_target_is_linked_to_its_request_in_this_process_or_in_another(recorded_in):
    recording, found = recorded_in()
    with recording:
        with telemetry.observe(catalog.PACKAGE_REQUEST) as request:
            handed = headers_of(request)
            with telemetry.observe(catalog.PACKAGE_TARGET):
                pass
        with linked(handed), telemetry.observe(catalog.PACKAGE_TARGET):
            pass
        with linked({"X-Amzn-Trace-Id": "nonsense"}), telemetry.observe(catalog.PACKAGE_TARGET):
            pass
    here, _, there, nowhere = found.spans
    link = [{"traceId": request.trace_id, "spanId": request.span_id}]
    assert (here["links"], there["links"], "links" in nowhere) == (link, link, False)
    assert there["traceId"] != request.trace_id


def test_a_step_is_the_current_span_for_other_instrumentation_and_nothing_stays_current(recorded_in):
    recording, _ = recorded_in()
    with recording:
        with telemetry.observe(catalog.PLAN_PACKAGE) as step:
            assert format(trace.get_current_span().get_span_context().span_id, "016x") == step.span_id
        assert not trace.get_current_span().get_span_context().is_valid


def test_the_hosts_own_provider_stays(recorded_in):
    before = trace.get_tracer_provider()
    recording, _ = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert trace.get_tracer_provider() is before


def test_steps_that_are_closed_from_outside_end_their_spans_as_incomplete(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PACKAGE_REQUEST), telemetry.observe(catalog.READ_ARTIFACT, bytes_read=9):
        telemetry.close_open_spans()
    assert [span["name"] for span in found.spans] == ["read artifact", "package request"]
    assert all(
        {"key": "packager.outcome", "value": {"stringValue": "incomplete"}} in span["attributes"]
        for span in found.spans
    )
    assert [(line["BytesRead"], line["Failure"], line["error_type"]) for line in found.emf[:1]] == [
        (9, 1, "Incomplete")
    ]


def test_the_span_file_is_otlp(recorded_in):
    recording, found = recorded_in()
    more = {"log_stream": "2024/01/01/[$LATEST]x", "time_left_ms": 1.5}
    with (
        recording,
        pytest.raises(KeyError),
        telemetry.observe(catalog.INVOKE_FUNCTION, cold_start=1, trigger="api", function_version="7", **more),
    ):
        raise KeyError("x")
    for line in (found.folder / "spans.jsonl").read_text().splitlines():
        document = json.loads(line)
        json_format.ParseDict(document, TracesData())
    attributes = {pair["key"]: pair["value"] for pair in found.spans[0]["attributes"]}
    assert attributes["faas.coldstart"] == {"boolValue": True}
    assert attributes["faas.trigger"] == {"stringValue": "http"}
    assert attributes["faas.version"] == {"stringValue": "7"}
    assert attributes["aws.log.stream.names"] == {"arrayValue": {"values": [{"stringValue": "2024/01/01/[$LATEST]x"}]}}
    assert attributes["packager.time_left_ms"] == {"doubleValue": 1.5}


@pytest.mark.parametrize(
    ("propagators", "headers", "parent"),
    [
        (("xray",), {"traceparent": PARENT}, None),
        (("tracecontext",), {"Traceparent": PARENT}, "53995c3f42cd8ad8"),
        (("tracecontext",), {"x-amzn-trace-id": HEADER.format(1)}, None),
        (("xray", "tracecontext"), {"traceparent": PARENT}, "53995c3f42cd8ad8"),
        (("tracecontext", "xray"), {"traceparent": "nonsense", **xray(1)}, "53995c3f42cd8ad8"),
        ((), {"traceparent": PARENT, **xray(1)}, None),
    ],
)
def test_the_context_is_read_in_the_forms_that_are_set(propagators, headers, parent, recorded_in):
    recording, found = recorded_in()
    with recording, continued(headers, propagators), telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert found.spans[0].get("parentSpanId") == parent


def test_the_context_is_handed_on_in_the_forms_that_are_set(recorded_in):
    recording, _ = recorded_in(Settings(propagators=("xray", "tracecontext")))
    with recording, telemetry.observe(catalog.PLAN_PACKAGE) as step:
        headers = headers_of(step)
    assert headers.keys() == {"X-Amzn-Trace-Id", "traceparent"}
    assert headers["traceparent"] == f"00-{step.trace_id}-{step.span_id}-01"


def test_each_row_has_the_kind_of_its_spans(recorded_in):
    recording, found = recorded_in()
    with recording:
        for row in (catalog.INVOKE_FUNCTION, catalog.TRIGGER_PUBLISH, catalog.PLAN_PACKAGE):
            with telemetry.observe(row):
                pass
    assert [span["kind"] for span in found.spans] == [2, 4, 1]


def test_spans_say_which_conventions_and_which_version_they_are_of(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    (resource,) = json.loads((found.folder / "spans.jsonl").read_text().splitlines()[0])["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    assert resource["schemaUrl"] == scope["schemaUrl"] == "https://opentelemetry.io/schemas/1.44.0"
    assert scope["scope"] == {"name": "telemetry", "version": catalog.VOCABULARY.version}
    about = {pair["key"]: pair["value"]["stringValue"] for pair in resource["resource"]["attributes"]}
    assert (about["service.name"], about["service.version"]) == ("edge-model-packager", catalog.VOCABULARY.version)


def health_span(found):
    lines = [json.loads(line) for line in (found.folder / "spans.jsonl").read_text().splitlines()]
    spans = [line["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in lines]
    return [span for span in spans if span["name"] == "telemetry health"]


def test_a_run_is_one_trace_and_the_health_line_is_part_of_it(recorded_in):
    recording, found = recorded_in()
    with recording, telemetry.observe(catalog.PACKAGE_REQUEST) as step:
        pass
    (health,) = health_span(found)
    assert (health["traceId"], health["parentSpanId"]) == (step.trace_id, step.span_id)
    assert found.health[0]["trace_id"] == step.trace_id


def test_of_a_trace_that_is_sampled_out_nothing_is_written_the_health_line_included(recorded_in):
    recording, found = recorded_in()
    with recording, continued(xray(0)), telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert (found.folder / "spans.jsonl").read_text() == ""
    assert found.health[0]["trace_id"] == TRACE_ID


@pytest.mark.parametrize(
    ("environ", "share"),
    [
        ({}, None),
        ({"TELEMETRY_XRAY": "active"}, None),
        ({"TELEMETRY_XRAY": "passthrough"}, 1.0),
        ({"TELEMETRY_XRAY": "PassThrough", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, 0.25),
        ({"TELEMETRY_XRAY": "passthrough", "OTEL_TRACES_SAMPLER_ARG": "many"}, 1.0),
        ({"TELEMETRY_XRAY": "passthrough", "OTEL_TRACES_SAMPLER": "always_off"}, None),
    ],
)
def test_our_own_sampler_decides_only_where_x_ray_passes_through_and_none_is_named(environ, share):
    assert Settings.from_environ(environ).sampled_share == share


@pytest.mark.parametrize(("share", "spans"), [(1.0, 2), (0.0, 0)])
@pytest.mark.parametrize("header", [{}, xray(0)])
def test_where_x_ray_passes_through_a_header_that_says_not_sampled_decides_nothing(header, share, spans, recorded_in):
    recording, found = recorded_in(Settings(sampled_share=share))
    with (
        recording,
        continued(header),
        telemetry.observe(catalog.PACKAGE_REQUEST),
        telemetry.observe(catalog.PLAN_PACKAGE),
    ):
        pass
    assert len(found.spans) == spans


def test_a_caller_that_samples_is_followed_where_x_ray_passes_through(recorded_in):
    recording, found = recorded_in(Settings(sampled_share=0.0))
    with recording, continued(xray(1)), telemetry.observe(catalog.PLAN_PACKAGE):
        pass
    assert len(found.spans) == 1


def test_the_environment_is_read_once_into_settings():
    found = Settings.from_environ(
        {
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
            "OTEL_PROPAGATORS": "tracecontext,baggage,xray-lambda",
            "AWS_REGION": "eu-west-1",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
            "TELEMETRY_LOG_LEVEL": "WARN",
            "TELEMETRY_LOG_FORMAT": "console",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        }
    )
    assert found == Settings(
        service="f",
        log_level="warning",
        console=True,
        traces_endpoint="http://collector:4318/v1/traces",
        in_lambda=True,
        resource=(
            ("cloud.provider", "aws"),
            ("cloud.platform", "aws_lambda"),
            ("cloud.region", "eu-west-1"),
            ("faas.name", "f"),
            ("aws.log.group.names", ("/aws/lambda/f",)),
            ("faas.max_memory", 3008 * 1024**2),
        ),
        propagators=("tracecontext", "xray"),
    )


@pytest.mark.parametrize("off", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "TRUE"}])
def test_traces_can_be_switched_off_by_the_standard_variables(off):
    assert Settings.from_environ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", **off}).traces_endpoint == ""
    assert Settings.from_environ({"TELEMETRY_LOG_LEVEL": "loud"}) == Settings()


@pytest.mark.parametrize(
    ("stage", "namespace"),
    [("prod", "EdgeModelPackager/prod"), ("", "EdgeModelPackager"), ("a b", "EdgeModelPackager")],
)
def test_a_stage_has_a_namespace_of_its_own_below_that_of_the_catalog(stage, namespace):
    found = Settings.from_environ({"TELEMETRY_STAGE": stage})
    assert catalog.VOCABULARY.in_stage(found.stage).namespace == namespace


@pytest.mark.parametrize(("header", "parent"), [(xray(1), "53995c3f42cd8ad8"), (xray(0), "53995c3f42cd8ad8"), ({}, "")])
def test_where_no_span_goes_anywhere_the_callers_own_is_handed_on_as_it_is(header, parent):
    """A span that nobody exports would leave what follows without a parent, and untraced."""
    observe = telemetry.observe
    with telemetry.to_stdout(Settings()), continued(header), observe(catalog.INVOKE_FUNCTION), observe(PUBLISH) as step:
        handed_on = headers_of(step)["X-Amzn-Trace-Id"]
    assert (handed_on == header["X-Amzn-Trace-Id"]) if header else ("Sampled=0" in handed_on)
    assert parent in handed_on


def test_ids_of_a_forked_process_are_its_own(recorded_in):
    recording, _ = recorded_in()
    with recording, telemetry.observe(catalog.PLAN_PACKAGE) as mine:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            with telemetry.observe(catalog.PLAN_PACKAGE) as theirs:
                os.write(writing, theirs.span_id.encode())
            os._exit(0)
        os.waitpid(child, 0)
        with telemetry.observe(catalog.PLAN_PACKAGE) as next_of_mine:
            assert os.read(reading, 16).decode() not in {mine.span_id, next_of_mine.span_id}
