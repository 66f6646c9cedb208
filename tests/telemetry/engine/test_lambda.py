"""Under the real runtime client: whatever happens to the function, what CloudWatch would have received is whole."""

import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import telemetry
from telemetry import catalog
from telemetry.check import check_lines
from telemetry.engine.lambda_runtime import LambdaRuntime, forget_peak, peak_memory_bytes
from telemetry.engine.settings import Settings
from telemetry.engine.testing import recorded
from tests.telemetry import collector as endpoints
from tests.telemetry.runtime_api import running

TRACE = "Root=1-5759e988-bd862e3fe1be46a99427279{};Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def function(tmp_path):
    with running(tmp_path) as found:
        yield found
        assert check_lines(found.lines) == []


def test_each_invocation_has_its_own_trace_count_and_measures(function):
    for number in range(3):
        assert function.invoke({"do": "work"}, trace=TRACE.format(number)) == ("response", {"did": "work"})
    found = function.emf("InvokeFunction")
    assert [line["ColdStart"] for line in found] == [1, 0, 0]
    assert [line["Invocations"] for line in found] == [1, 2, 3]
    assert [line["trace_id"] for line in found] == [f"5759e988bd862e3fe1be46a99427279{number}" for number in range(3)]
    assert [line["request_id"] for line in found] == ["request-1", "request-2", "request-3"]
    assert all(50_000 < line["TimeLeft"] <= 60_000 for line in found)
    assert all(10_000_000 < line["PeakMemoryBytes"] < 1_000_000_000 for line in found)
    assert {(line["trigger"], line["function_version"], line["log_stream"]) for line in found} == {
        ("direct", "7", "stream-1")
    }
    inner = function.emf("CreateManifest")
    assert [line["trace_id"] for line in inner] == [line["trace_id"] for line in found]
    assert len(function.emf("TelemetryHealth")) == 3


def test_a_failure_passes_through_and_the_next_invocation_works(function):
    kind, answer = function.invoke({"do": "fail"})
    assert (kind, answer["errorType"], answer["errorMessage"]) == ("error", "ValueError", "the work failed")
    assert function.invoke({"do": "work"})[0] == "response"
    assert [(line["Failure"], line.get("error_type")) for line in function.emf("InvokeFunction")] == [
        (1, "ValueError"),
        (0, None),
    ]


def test_logs_of_libraries_are_lines_of_the_same_form(function):
    function.invoke({"do": "log"}, trace=TRACE.format(1))
    (line,) = [found for found in function.documents if found.get("event") == "LibraryLog"]
    assert (line["message"], line["logger"], line["level"]) == ("a warning of a library", "some.library", "warning")
    assert line["request_id"] == "request-1"
    assert line["trace_id"] == function.emf("InvokeFunction")[0]["trace_id"]


@contextlib.contextmanager
def stopped(process):
    """Stop every thread of the process between two instructions, as a freeze does."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


FREEZER = Path("/sys/fs/cgroup/freezer")
MEMORY = Path("/sys/fs/cgroup/memory")


@contextlib.contextmanager
def cgroup(parent):
    if os.geteuid() != 0 or not (parent / "tasks").exists():
        pytest.skip(f"needs root and the version 1 control group at {parent}")
    group = parent / f"telemetry-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs a writable control group at {parent}: {error}")
    try:
        yield group
    finally:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            if time.monotonic() > deadline:
                break


@contextlib.contextmanager
def frozen(process):
    with cgroup(FREEZER) as group:
        (group / "tasks").write_text(str(process.pid))
        (group / "freezer.state").write_text("FROZEN")
        deadline = time.monotonic() + 10
        while (group / "freezer.state").read_text().strip() != "FROZEN" and time.monotonic() < deadline:
            pass
        try:
            yield
        finally:
            (group / "freezer.state").write_text("THAWED")
            (FREEZER / "tasks").write_text(str(process.pid))


@pytest.mark.parametrize("freeze", [stopped, pytest.param(frozen, marks=pytest.mark.needs_root)])
def test_a_function_that_was_frozen_stamps_the_time_after_the_thaw_and_its_own_trace(freeze, function):
    function.invoke({"do": "work"}, trace=TRACE.format(1))
    before = len(function.lines)
    with freeze(function.process):
        assert len(function.lines) == before
        thawed_ms = int(time.time() * 1000)
    function.invoke({"do": "work"}, trace=TRACE.format(2))
    first, second = function.emf("InvokeFunction")
    assert first["_aws"]["Timestamp"] <= thawed_ms <= second["_aws"]["Timestamp"]
    assert second["trace_id"].endswith("2")


def test_a_function_that_is_killed_leaves_every_finished_step(function):
    function.invoke({"do": "work"})
    assert function.invoke({"do": "die"}) is None
    assert len(function.emf("CreateManifest")) == 2
    assert len(function.emf("InvokeFunction")) == 1
    assert function.output.endswith("\n")


@pytest.mark.needs_root
def test_a_function_that_is_killed_by_memory_leaves_every_finished_step(tmp_path):
    with cgroup(MEMORY) as group:
        (group / "memory.limit_in_bytes").write_text(str(150 * 1024**2))
        with running(tmp_path, tasks=group / "tasks") as function:
            function.invoke({"do": "work"})
            assert function.invoke({"do": "eat"}) is None
            assert function.process.returncode == -signal.SIGKILL
        assert len(function.emf("CreateManifest")) == 2
        assert check_lines(function.lines) == []


def test_a_function_out_of_time_has_reported_its_open_steps_before_the_clock_kills_it(tmp_path):
    with endpoints.swallowing() as endpoint:
        with running(tmp_path, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint) as function:
            function.invoke({"do": "work"})
            assert function.invoke({"do": "hang"}, time_s=1.2) is None
        open_steps = [found for found in function.documents if found.get("outcome") == "incomplete"]
        assert [found["Operation"] for found in open_steps if "Operation" in found] == [
            "ReadArtifact",
            "PackageRequest",
            "InvokeFunction",
        ]
        assert function.emf("ReadArtifact")[0]["BytesRead"] == 77
        cut = function.emf("InvokeFunction")[1]
        assert (cut["error_type"], cut["Invocations"], cut["ColdStart"]) == ("Incomplete", 2, 0)
        assert 0 < cut["TimeLeft"] < 1200
        assert cut["PeakMemoryBytes"] > 10_000_000
        # Of the first: its two steps and the health line. Of the second: its four, and both health lines until then.
        assert [found["SpansLost"] for found in function.emf("TelemetryHealth")] == [0, 3, 0, 6]
        assert check_lines(function.lines) == []


def test_spans_reach_the_endpoint_at_the_end_of_each_invocation(tmp_path):
    with endpoints.collecting() as (endpoint, collector):
        with running(tmp_path, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint) as function:
            for number in range(2):
                function.invoke({"do": "work"}, trace=TRACE.format(number))
            assert len([span for span in collector.spans if span.name == "invoke function"]) == 2
        assert collector.resource["faas.name"] == "tiny"
        assert {span.parent_span_id.hex() for span in collector.spans if span.name == "invoke function"} == {
            "53995c3f42cd8ad8"
        }


ENDS = """
import sys, telemetry
from telemetry import catalog
from telemetry.aws_lambda import invocation
class Context:
    aws_request_id, function_version, log_stream_name = "r", "1", "s"
    def get_remaining_time_in_millis(self): return 1000
def abandoned():
    with telemetry.to_stdout(), telemetry.observe(catalog.PLAN_PACKAGE):
        yield
if sys.argv[1] == "invocation":
    with invocation({}, Context()), telemetry.observe(catalog.PLAN_PACKAGE): pass
else:
    kept = abandoned()
    next(kept)
"""


@pytest.mark.parametrize("kept", ["invocation", "generator"])
@pytest.mark.parametrize("kind", ["refusing", "swallowing", "collecting"])
def test_a_process_ends_whatever_its_endpoint_does(kept, kind):
    open_endpoint = {
        "refusing": lambda: contextlib.nullcontext(endpoints.refusing()),
        "swallowing": endpoints.swallowing,
        "collecting": endpoints.collecting,
    }[kind]
    with open_endpoint() as given:
        endpoint = given if isinstance(given, str) else given[0]
        environ = os.environ | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint}
        command = [sys.executable, "-c", ENDS, kept]
        done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert "PlanPackage" in done.stdout
    assert check_lines(done.stdout.splitlines()) == []


# In this process, without the runtime client.


class Context:
    aws_request_id = "request-0"
    function_version = "1"
    log_stream_name = "stream"
    invoked_function_arn = ""

    def get_remaining_time_in_millis(self):
        return 1234


@pytest.fixture
def runtime(capfd):
    fresh = LambdaRuntime(catalog.VOCABULARY)
    yield fresh
    fresh.close()
    assert check_lines(capfd.readouterr().out.splitlines()) == []


@pytest.mark.parametrize(
    "event", [None, [], "text", {}, {"headers": None}, {"headers": {"X-Amzn-Trace-Id": 7}}, {"trace_header": {"a": 1}}]
)
def test_no_event_however_strange_stops_the_work(event, runtime):
    with recorded() as records, runtime.invocation(event, Context()) as here:
        here.add(trigger="event")
    assert [record.row for record in records] == ["InvokeFunction", "TelemetryHealth"]
    assert records[0].fields["time_left_ms"] == 1234
    assert records[0].context == {"request_id": "request-0"}


def test_a_broken_context_stops_nothing(runtime):
    with pytest.raises(AssertionError, match="end of the invocation could not be measured"):  # noqa: SIM117  the recording must end first
        with recorded() as records, runtime.invocation({}, object()):
            pass
    assert [record.outcome for record in records] == ["success", "success"]


def test_a_context_of_which_every_part_raises_stops_nothing(runtime):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError(name)

    with pytest.raises(AssertionError, match="the context could not be read: RuntimeError: function_version"):  # noqa: SIM117  the recording must end first
        with recorded() as records, runtime.invocation({}, Broken()):
            pass
    assert [record.outcome for record in records] == ["success", "success"]


def test_the_header_of_an_api_request_is_continued_where_lambda_traces_nothing(runtime):
    with runtime.invocation({"headers": {"x-amzn-trace-id": TRACE.format(5)}}, Context()) as here:
        assert here.trace_id == "5759e988bd862e3fe1be46a994272795"


def test_a_request_that_another_invocation_handed_over_is_linked(runtime, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoints.refusing())
    event = {"trace_header": TRACE.format(5)}
    with runtime.invocation(event, Context()), telemetry.observe(catalog.PACKAGE_TARGET) as target:
        (state,) = target.states.values()
        assert [format(link.context.trace_id, "032x") for link in state.links] == ["5759e988bd862e3fe1be46a994272795"]


@pytest.mark.parametrize("kind", [endpoints.swallowing, endpoints.crawling])
def test_a_bad_endpoint_costs_the_end_of_an_invocation_at_most_300_ms(kind, runtime):
    took = []
    with kind() as endpoint:
        settings = Settings(traces_endpoint=endpoint, dead_after=1000)
        while len(took) < 20 and min(took, default=1) >= 0.3:  # on a busy machine a thread may wait for its turn
            with runtime.invocation({}, Context(), settings):
                began = time.perf_counter()
            took.append(time.perf_counter() - began)
    assert min(took) < 0.3, took


EVENTS = [
    ({"httpMethod": "POST"}, 2),
    ({"version": "2.0", "requestContext": {"http": {}}}, 2),
    ({"trained": "s3://b/k"}, 2),
    (None, 2),
    ({"Records": []}, 2),
    ({"Records": [{"eventSource": "aws:sqs"}]}, 5),
    ({"detail-type": "x", "source": "aws.sagemaker", "detail": {}}, 5),
]


@pytest.mark.parametrize(("event", "kind"), EVENTS)
def test_who_waits_for_an_answer_is_served_and_who_does_not_is_a_producer(event, kind, runtime, monkeypatch):
    with endpoints.collecting() as (endpoint, collector):
        settings = Settings(traces_endpoint=endpoint, flush_s=60)
        with runtime.invocation(event, Context(), settings):
            pass
        runtime.close()  # while somebody listens: it sends what is left
    assert [span.kind for span in collector.spans if span.name == "invoke function"] == [kind]


ARN = "arn:aws:lambda:eu-west-1:123456789012:function:tiny"


@pytest.mark.parametrize(
    ("arn", "about"),
    [
        (ARN, {"cloud.account.id": "123456789012", "cloud.resource_id": ARN}),
        (f"{ARN}:live", {"cloud.account.id": "123456789012", "cloud.resource_id": f"{ARN}:1"}),
        ("", {}),
    ],
)
def test_the_resource_is_the_version_that_runs_and_the_span_says_which_alias_was_invoked(arn, about, runtime):
    context = Context()
    context.invoked_function_arn = arn
    with endpoints.collecting() as (endpoint, collector):
        with runtime.invocation({}, context, Settings(traces_endpoint=endpoint, flush_s=60)):
            runtime.last_words()
        runtime.close()  # while somebody listens: it sends what is left
    assert about.items() <= collector.resource.items()
    (span,) = [span for span in collector.spans if span.name == "invoke function"]
    assert {pair.key: pair.value.string_value for pair in span.attributes}["aws.lambda.invoked_arn"] == arn


def test_the_health_line_carries_the_ids_of_its_request_also_as_last_words(runtime, capfd):
    with runtime.invocation({"headers": {"x-amzn-trace-id": TRACE.format(5)}}, Context()):
        guard = threading.Thread(target=runtime.last_words)
        guard.start()
        guard.join()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    health = [line for line in lines if line.get("Operation") == "TelemetryHealth"]
    assert [(line["request_id"], line["trace_id"]) for line in health] == [
        ("request-0", "5759e988bd862e3fe1be46a994272795")
    ] * 2


def test_three_invocations_that_are_sampled_out_post_nothing(runtime):
    event = {"headers": {"x-amzn-trace-id": TRACE.format(5).replace("Sampled=1", "Sampled=0")}}
    with endpoints.collecting() as (endpoint, collector):
        for _ in range(3):
            with (
                runtime.invocation(event, Context(), Settings(traces_endpoint=endpoint)),
                telemetry.observe(catalog.PLAN_PACKAGE),
            ):
                pass
    assert collector.bodies == []


def test_peak_memory_is_that_of_the_present_invocation():
    forget_peak()
    before = peak_memory_bytes()
    with mmap.mmap(-1, 50_000_000) as kept:  # pages of its own, where malloc could give some that are resident already
        kept.write(bytes(50_000_000))
    assert peak_memory_bytes() >= before + 40_000_000
