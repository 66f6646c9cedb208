from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager import plan as module
from packager.device import rules
from packager.errors import ArtifactNotFoundError, ExtractionError, RequestError
from packager.limits.strategy import STRATEGIES
from packager.packaging import package
from packager.plan import plan
from packager.settings import Settings
from telemetry.engine.testing import recorded
from tests import archives, models
from tests.containers import PACKERS
from tests.packages import BLOCK_BYTES, TARGETS, Model, ground

SMALL = Model({f"compiled.{suffix}": 30_000 for suffix in ("so", "params", "json", "meta")})
LINKED = Model({"compiled.so": 30_000}, {"linked.so": "compiled.so"})


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def tight(here, blocks):
    limit_bytes = blocks * BLOCK_BYTES
    return Settings(
        scratch_dir=here.root / "scratch", storage_critical_bytes=limit_bytes, storage_warning_bytes=limit_bytes
    )


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(1, 60_000), st.booleans()), min_size=1, max_size=3),
    st.integers(1, 60),
    st.sampled_from(["auto", *STRATEGIES]),
)
def test_what_is_planned_is_what_package_does(shapes, scratch_blocks, strategy):
    each_model = [
        Model({"compiled.so": size, "compiled.meta": 10}, {"linked": "compiled.so"} if links else {}, seed)
        for seed, (size, links) in enumerate(shapes)
    ]
    with ground() as here:
        limits = tight(here, scratch_blocks)
        compiled = here.each_compiled(each_model)
        planned = plan(here.trained, compiled, here.out, strategy=strategy, settings=limits)
        result = package(here.trained, compiled, here.out, strategy=strategy, settings=limits)
        assert here.published() == {each.uri for each in result.components if each.uri}
        if planned.strategy == "partial":
            assert any(each.uri for each in result.components)
        elif planned.strategy:
            assert result.succeeded, (planned, result)
        if not any(each.links for each in each_model):
            assert planned.fits == result.succeeded
        for model, component, done in zip(each_model, planned.components, result.components, strict=True):
            assert component.bytes_in == Path(component.uri).stat().st_size
            assert component.bytes_unpacked == sum(map(len, model.with_links.values()))
            if done.size_bytes:
                assert component.files == done.files - 1
                assert component.bytes_out == done.size_bytes


def test_a_plan_writes_nothing_and_reads_each_artifact_once(here):
    compiled = here.each_compiled([SMALL, SMALL])
    with recorded() as records:
        planned = plan(here.trained, compiled, here.out, settings=tight(here, 1000))
    assert planned.fits
    assert sorted(path.name for path in here.root.iterdir()) == [
        "compiled-0.tar.gz",
        "compiled-1.tar.gz",
        "trained.tar.gz",
    ]
    read = [each.fields["source"] for each in records if each.row == "ReadArtifact"]
    assert sorted(read) == sorted([here.trained, *compiled.values()])
    rows = [each.row for each in records]
    assert rows.count("PlanPackage") == 1
    assert not {"PackageTarget", "WriteComponent", "ReserveStorage"} & set(rows)


def test_every_strategy_is_listed_with_what_it_takes_or_why_not(here):
    planned = plan(here.trained, here.each_compiled([SMALL, SMALL]), here.out, settings=tight(here, 50))
    by_name = {each.name: each for each in planned.strategies}
    assert list(by_name) == list(STRATEGIES)
    one_bytes = SMALL.staged_bytes
    assert {name: each.scratch_bytes for name, each in by_name.items()} == {
        "streaming": 0,
        "standard": 2 * one_bytes,
        "sequential": one_bytes,
        "partial": 0,
    }
    assert [name for name, each in by_name.items() if each.refused] == ["standard"]
    assert "of scratch" in by_name["standard"].refused
    assert planned.strategy == "streaming"


def test_a_hard_link_asks_for_staging_and_a_disk_too_small_for_it_for_more_space(here):
    compiled = here.each_compiled([LINKED])
    roomy = plan(here.trained, compiled, here.out, settings=tight(here, 100))
    assert (roomy.strategy, roomy.fits) == ("standard", True)
    assert "earlier bytes" in next(each.refused for each in roomy.strategies if each.name == "streaming")
    small = plan(here.trained, compiled, here.out, settings=tight(here, 1))
    assert (small.strategy, small.fits) == ("", False)
    assert str(LINKED.staged_bytes) in small.reason
    asked = plan(here.trained, compiled, here.out, strategy="streaming", settings=tight(here, 100))
    assert (asked.strategy, asked.fits) == ("", False)
    assert "standard" in asked.reason


def test_a_damaged_artifact_is_a_finding_of_its_component_and_the_plan_does_not_fit(here):
    compiled = here.each_compiled([SMALL, SMALL])
    Path(compiled["arm64-cpu"]).write_bytes(SMALL.archive()[:-30])
    planned = plan(here.trained, compiled, here.out, settings=tight(here, 1000))
    sound, damaged = planned.components
    assert (sound.findings, [each.rule for each in damaged.findings]) == ((), ["ExtractionError"])
    assert not planned.fits
    assert "ExtractionError" in "\n".join(planned.lines())


def test_an_imported_model_and_an_export_say_every_target_they_serve(here):
    imported = plan(str(models.imported_onnx(here.root / "imported.tar.gz")), {}, here.out)
    assert imported.components[0].targets == (
        "jetson-xavier-jp5",
        "jetson-xavier-jp6",
        "jetson-xavier-jp7",
        "x86_64-cpu",
    )
    export = plan(here.trained, {"onnx": str(models.onnx_export(here.root / "onnx.tar.gz"))}, here.out)
    assert len(export.components[0].targets) == 3


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"strategy": "fast"}, RequestError),
        ({"output": "ftp://host"}, RequestError),
        ({"trained": "none.tar.gz"}, ArtifactNotFoundError),
        ({"compiled": {"arm64-cpu": "none.tar.gz"}}, ArtifactNotFoundError),
        ({"compiled": {"toaster": "none.tar.gz"}}, RequestError),
    ],
    ids=str,
)
def test_what_cannot_be_planned_is_an_error_of_its_kind(here, changed, error):
    asked = {"trained": here.trained, "compiled": here.each_compiled([SMALL]), "output": here.out, **changed}
    with pytest.raises(error):
        plan(asked.pop("trained"), asked.pop("compiled"), asked.pop("output"), **asked)


def test_a_trained_artifact_that_is_no_use_is_an_error(here):
    path = here.root / "cut.tar.gz"
    path.write_bytes(archives.trained_model()[:-20])
    with pytest.raises(ExtractionError):
        plan(str(path), here.each_compiled([SMALL]), here.out)


def test_budgets_of_greengrass_and_of_devices_are_warned_about_before_anything_is_made(here, monkeypatch):
    compiled = here.each_compiled([SMALL])
    assert plan(here.trained, compiled, here.out).warnings == ()
    monkeypatch.setattr(module, "COMPONENT_BUDGET_BYTES", 120_000)
    monkeypatch.setattr(module, "DEVICE_STORE_BYTES", 200_000)
    planned = plan(here.trained, compiled, here.out)
    assert [(each.rule, each.subject) for each in planned.warnings] == [
        ("component-size", TARGETS[0]),
        ("device-store", TARGETS[0]),
    ]
    assert planned.fits


def test_its_document_is_json_and_its_lines_say_the_same(here):
    planned = plan(here.trained, here.each_compiled([SMALL]), here.out, settings=tight(here, 1000))
    document = json.loads(json.dumps(planned.as_dict()))
    assert document["strategy"] == "streaming"
    assert document["fits"] is True
    assert document["components"][0]["bytes_unpacked"] == 120_000
    lines = list(planned.lines())
    assert lines[0].startswith("jetson-xavier: ")
    assert lines[-2] == f"Strategy: streaming ({planned.reason})"


def test_progress_is_told_by_target_and_never_goes_back(here):
    states = []
    compiled = here.each_compiled([Model({"compiled.so": 5 << 20}), SMALL])
    plan(here.trained, compiled, here.out, on_progress=states.append)
    for target, uri in compiled.items():
        done = [each.bytes_done for each in states if each.target == target]
        assert done == sorted(done)
        assert 0 < done[-1] <= Path(uri).stat().st_size


@pytest.mark.parametrize("level", [1, 9, "zeros"])
def test_the_planned_size_is_the_size_however_the_artifact_was_packed(here, level):
    weights = bytes(2 << 20) if level == "zeros" else b"".join(models.weights(2 << 20, "plan"))
    whole = archives.tar([*archives.compiled_files(), ("deep/weights", weights)])
    path = here.root / "model.tar.gz"
    path.write_bytes(archives.gz(whole, levels=(1 if level == "zeros" else level,)))
    compiled = {"jetson-xavier": str(path)}
    done = package(here.trained, compiled, here.out).components[0]
    assert plan(here.trained, compiled, here.out).components[0].bytes_out == done.size_bytes


def test_several_models_and_refused_members_are_findings(here):
    path = here.root / "export.tar.gz"
    path.write_bytes(archives.gz(archives.tar([("a.onnx", b"1"), ("b.onnx", b"2")])))
    asked = here.trained, {"onnx": str(path)}, here.out
    assert [each.rule for each in plan(*asked).components[0].findings] == ["RequestError"]
    assert plan(*asked, model_file="b.onnx").fits
    assert plan(*asked, exclude=["a*"]).fits
    path.write_bytes(archives.gz(archives.tar([("../a", b"1"), ("b", b"2"), ("/c", b"3")])))
    component = plan(here.trained, {"arm64-cpu": str(path)}, here.out).components[0]
    assert ([each.subject for each in component.findings], component.files) == (["../a", "/c"], 1)


RANDOM = Random(7)
CONTENTS = {
    "many small files": [(f"d/{number}", RANDOM.randbytes(number % 90)) for number in range(500)],
    "what does not compress": [("a", RANDOM.randbytes(3 << 20)), ("b", RANDOM.randbytes(70_000))],
    "what compresses well": [("zeros", bytes(5 << 20)), ("text", b"word " * 50_000)],
    "weights": [("weights", b"".join(models.weights(2 << 20, "plan")))],
    "nothing but an empty file": [("empty", b"")],
}


def as_zip(files, root):
    with zipfile.ZipFile(root / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return root / "m.zip"


def as_folder(files, root):
    for name, data in files:
        path = root / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "m"


def as_tar(kind, files, root):
    (root / f"m.{kind}").write_bytes(PACKERS[kind](archives.tar(files)))
    return root / f"m.{kind}"


CONTAINERS = {
    "zip": as_zip,
    "folder": as_folder,
    **{kind: partial(as_tar, kind) for kind in ("tar", "tar.gz", "tar.xz")},
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_budget_holds_in_the_result_where_it_holds_in_the_plan(here, content, container, monkeypatch):
    """In every layout and container the planned size is the size, to the byte."""
    model = str(CONTAINERS[container](CONTENTS[content], here.root))
    asked = [(model, {}, here.out, {"layout": "files", "name": "n", "version": "1.0.0"})]
    if container == "tar.gz":
        (here.root / "compiled").mkdir()
        compiled = as_tar("tar.gz", [*archives.compiled_files(), *CONTENTS[content]], here.root / "compiled")
        asked.append((here.trained, {"jetson-xavier": str(compiled)}, here.out, {}))
    for *arguments, named in asked:
        (done,) = package(*arguments, **named).components
        for budget, wrong in ((done.size_bytes, False), (done.size_bytes - 1, True)):
            monkeypatch.setattr(module, "COMPONENT_BUDGET_BYTES", budget)
            monkeypatch.setattr(rules, "COMPONENT_BUDGET_BYTES", budget)
            planned = plan(*arguments, **named)
            assert planned.components[0].bytes_out == done.size_bytes
            assert ("component-size" in {each.rule for each in planned.warnings}) is wrong
            (again,) = package(*arguments, force=True, **named).components
            assert ("component-size" in {each.rule for each in again.warnings}) is wrong
