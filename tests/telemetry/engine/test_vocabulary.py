"""The engine knows no product: another catalog gets its spans, metrics and log lines, without a word of this one."""

import ast
import json
import re
from pathlib import Path

import pytest

from telemetry.engine import standard
from telemetry.engine.configure import to_directory
from telemetry.engine.conformance import Conformance
from telemetry.engine.lambda_runtime import LambdaRuntime
from telemetry.engine.observing import context, log, observe
from telemetry.engine.operation import OTHER, Dimension, Metric, Operation, Property, Unit
from telemetry.engine.settings import Settings
from telemetry.engine.vocabulary import Vocabulary
from telemetry.engine.waterfall import collected_spans, read_spans, waterfall

ENGINE = Path(standard.__file__).parent
BREW = Operation(
    name="BrewTea",
    span="brew tea",
    meaning="One pot",
    metrics=(
        Metric("water_bytes", "WaterBytes", Unit.BYTES, "Water", "Sum"),
        Metric("steeped_s", "Steeped", Unit.SECONDS, "Time in the pot", "Maximum"),
    ),
    dimensions=(Dimension("kind", "Kind", ("green", OTHER), "Kind of tea"),),
    dimension_sets=(("kind",),),
    properties=(Property("pot", "Which pot", "server.address"),),
    label="kind",
)
HEALTH = Operation(
    "KitchenHealth",
    "kitchen health",
    "What was lost",
    standard.HEALTH_METRICS,
    properties=standard.HEALTH_PROPERTIES,
)
KITCHEN = Vocabulary(
    service="kitchen",
    version="2.0",
    namespace="Kitchen",
    prefix="kitchen.",
    rows=(BREW, HEALTH),
    health=HEALTH,
    context_keys=(Property("guest_id", "Who drinks", "enduser.id"),),
    operation_dimension="Step",
)


@pytest.fixture(autouse=True)
def conforming_lines():
    """Lines and spans of another product are not held against our catalog."""


def test_a_second_catalog_gets_its_spans_metrics_and_lines_and_none_of_ours(tmp_path):
    with to_directory(KITCHEN, tmp_path, Settings(stage="home")), collected_spans() as spans:
        with context(KITCHEN, guest_id="g-1"), observe(BREW, kind="green", pot="big", water_bytes=2048) as step:
            step.add(steeped_s=180)
            log("info", "kettle", heat="high")
        with pytest.raises(RuntimeError), observe(BREW, kind="chai"):
            raise RuntimeError("no water")
    lines = (tmp_path / "telemetry.jsonl").read_text().splitlines()
    assert Conformance(KITCHEN.in_stage("home")).check_lines(lines) == Conformance(KITCHEN).check_lines(lines) == []

    documents = [json.loads(line) for line in lines]
    emf = [document for document in documents if "_aws" in document]
    assert [document["Step"] for document in emf] == ["BrewTea", "BrewTea", "KitchenHealth"]
    (directive,) = emf[0]["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Kitchen/home", [["Step"], ["Step", "Kind"]])
    assert [(emf[0]["WaterBytes"], emf[0]["Steeped"]), emf[0]["guest_id"], emf[1]["Kind"]] == [
        (2048, 180),
        "g-1",
        "other",
    ]
    events = [document["event"] for document in documents if "_aws" not in document]
    assert events == ["kettle", "BrewTea", "BrewTea", "KitchenHealth"]

    text = (tmp_path / "spans.jsonl").read_text()
    (resource,) = json.loads(text.splitlines()[0])["resourceSpans"]
    (span,) = resource["scopeSpans"][0]["spans"]
    attributes = {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}
    assert attributes == {
        "kitchen.kind": "green",
        "server.address": "big",
        "enduser.id": "g-1",
        "kitchen.water_bytes": "2048",
        "kitchen.steeped_s": 180.0,
    }
    assert {"key": "service.name", "value": {"stringValue": "kitchen"}} in resource["resource"]["attributes"]
    assert [found.fields["kind"] for found in read_spans(KITCHEN, text.splitlines()[:2])] == ["green", "chai"]
    assert re.search("brew tea +█.* green water 2.0 KiB", waterfall(KITCHEN, spans))
    assert not re.search("packag|edge|model", text + "".join(lines), re.IGNORECASE)


def test_a_vocabulary_without_a_row_for_invocations_has_no_lambda_runtime():
    with pytest.raises(ValueError, match="no row for an invocation"):
        LambdaRuntime(KITCHEN)


@pytest.mark.parametrize("path", sorted(ENGINE.glob("*.py")), ids=lambda path: path.name)
def test_the_engine_imports_nothing_of_ours_and_has_no_word_of_the_product(path):
    text = path.read_text()
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom | ast.Import)]
    modules = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imported]
    ours = [name for name in modules if re.match(r"(telemetry|packager|dashboards|infra)\b", name)]
    assert [name for name in ours if not re.match(r"telemetry\.engine(\.|$)", name)] == []
    assert not re.search(r"packager|greengrass|sagemaker|artifact|training|usecase", text, re.IGNORECASE)
