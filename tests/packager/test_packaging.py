from __future__ import annotations

import json
import threading
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager import run
from packager.core.ports import TEMPORARY_PREFIX
from packager.deadline import ABORT_RESERVE_S, COMMIT_RESERVE_S, LONGEST_CALL_S
from packager.errors import (
    AccessDeniedError,
    ArtifactChangedError,
    ArtifactNotFoundError,
    ComponentRefusedError,
    ExtractionError,
    InsufficientStorageError,
    ManifestError,
    OutOfTimeError,
    PackagerError,
    RequestError,
    StoreError,
)
from packager.limits import retry
from packager.model.targets import SERVED_BY_COMPILED_ONNX, SERVED_BY_IMPORTED_ONNX
from packager.packaging import create_dda_manifest, package, package_component
from packager.settings import Settings
from packager.stores import s3_calls
from packager.stores.file import FileSource
from telemetry.engine.testing import recorded
from tests import archives, models
from tests.faulty_proxy import faulty_proxy, lost_answer, refuse, reset, stall, stall_after
from tests.packages import TARGETS, Model, content, ground
from tests.s3_server import client as client_of

MIB = 1 << 20
SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})
LARGE = Model({"compiled.so": 5000, "compiled.params": 10 * MIB})
STAGES = [{"type": "mochi"}]
on_disk = settings(suppress_health_check=list(HealthCheck))


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


@pytest.fixture
def limits(tmp_path):
    yield Settings(scratch_dir=tmp_path / "scratch")
    assert not list((tmp_path / "scratch").glob("*"))


@pytest.fixture
def without_pauses():
    pauses = mock.patch.multiple(retry, WAIT_INITIAL_S=0, WAIT_JITTER_S=0)
    with pauses, mock.patch.object(s3_calls, "FIRST_PAUSE_S", 0):
        yield


class Bucket:
    """A bucket with artifacts, and what lies below `out` in it."""

    def __init__(self, server, name):
        self.name = name
        self.endpoint_url = server.endpoint_url
        self.client = server.client()
        self.out = f"s3://{name}/out"

    def put(self, here, model=SMALL):
        """The URIs of a trained and a compiled artifact."""
        self.client.upload_file(here.trained, self.name, "trained.tar.gz")
        self.client.upload_file(here.compiled(model), self.name, "compiled.tar.gz")
        return f"s3://{self.name}/trained.tar.gz", {"arm64-cpu": f"s3://{self.name}/compiled.tar.gz"}

    def published(self):
        """Every object, but for the records of SHA-256, and every open upload."""
        objects = self.client.list_objects_v2(Bucket=self.name, Prefix="out").get("Contents", [])
        uploads = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return [each["Key"] for each in (*objects, *uploads) if "/sha256/" not in each["Key"]]

    def read(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture
def store(s3_server, bucket):
    return Bucket(s3_server, bucket)


# -- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": "fast"},
        {"strategy": "\x1b[2J"},
        {"output": ""},
        {"output": "ftp://host/x"},
        {"output": None},
        {"trained": None},
        {"trained": "https://user:secret@host/model"},
        {"compiled": {"toaster": "compiled.tar.gz"}},
        {"compiled": {"arm64-cpu": None}},
        {"compiled": {"arm64-cpu": 5}},
        {"imported_targets": ["arm64-cpu"]},
        {"compiled": {}, "imported_targets": ["toaster"]},
        {"compiled": {}, "imported_targets": [None]},
        {"client": "no client", "output": "s3://bucket"},
    ],
    ids=str,
)
def test_wrong_arguments_are_the_only_thing_that_is_raised_and_nothing_is_written(here, limits, wrong):
    asked = {"trained": here.trained, "compiled": here.each_compiled([SMALL]), "output": here.out, **wrong}
    with pytest.raises(RequestError) as raised:
        package(asked.pop("trained"), asked.pop("compiled"), asked.pop("output"), settings=limits, **asked)
    assert raised.value.next_step
    assert "secret" not in str(raised.value)
    assert here.published() == set()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
near_documents = st.fixed_dictionaries(
    {"components": st.lists(json_values | st.fixed_dictionaries({
        "target": st.sampled_from(TARGETS) | json_values,
        "status": st.sampled_from(["packaged", "already_there", "failed", "left"]) | json_values,
        "strategy": st.just("streaming") | json_values,
        "duration_s": st.just(1.5) | json_values,
        "uri": st.just("somewhere") | json_values,
        "sha256": st.just("00") | json_values,
        "size_bytes": st.just(5) | json_values,
        "files": st.just(3) | json_values,
    }), max_size=2)}
)  # fmt: skip


@on_disk
@given(json_values | near_documents)
def test_any_json_as_an_earlier_result_is_a_request_error_or_works(previous):
    with ground() as here, suppress(RequestError):
        result = package(here.trained, here.each_compiled([SMALL]), here.out, previous=previous)
        assert [each.target for each in result.components] == ["jetson-xavier"]
        assert result.succeeded
        json.dumps(result.as_dict())


def test_a_duration_beyond_all_numbers_in_an_earlier_result_is_a_request_error(here):
    done = {"target": "arm64-cpu", "status": "packaged", "strategy": "streaming", "duration_s": 10**400}
    done |= {"uri": "somewhere", "sha256": "00", "size_bytes": 1, "files": 1}
    with pytest.raises(RequestError):
        package(here.trained, here.each_compiled([SMALL]), here.out, previous={"components": [done]})


# -- what comes out ---------------------------------------------------------------------------------------------------


def test_what_is_there_is_left_alone_and_force_makes_the_same_bytes_again(here, limits):
    compiled = here.each_compiled([SMALL])
    first, second, forced = (
        package(here.trained, compiled, here.out, settings=limits, force=force).components[0]
        for force in (False, False, True)
    )
    assert [each.status for each in (first, second, forced)] == ["packaged", "already_there", "packaged"]
    assert len({(each.uri, each.sha256, each.size_bytes) for each in (first, second, forced)}) == 1
    assert (first.files, second.files) == (5, None)
    assert here.published() == {first.uri}


def test_what_is_there_is_left_alone_though_its_identity_is_known_last(here, limits, monkeypatch):
    everything_was_read = threading.Event()
    hashed = FileSource._hashed

    def last(source):
        assert str(here.trained) == source.uri or everything_was_read.wait(60)
        return hashed(source)

    def seen(state):
        if state.phase == "packaging" and state.bytes_done == state.bytes_total:
            everything_was_read.set()

    monkeypatch.setattr(FileSource, "_hashed", last)
    statuses = []
    for _ in range(2):
        everything_was_read.clear()
        result = package(here.trained, here.each_compiled([SMALL]), here.out, settings=limits, on_progress=seen)
        statuses.append(result.components[0].status)
    assert statuses == ["packaged", "already_there"]


@pytest.mark.parametrize("strategy", ["streaming", "standard", "sequential", "partial", "auto"])
def test_every_strategy_gives_the_bytes_of_the_plain_reference(here, limits, strategy):
    result = package(here.trained, here.each_compiled([LARGE, SMALL]), here.out, strategy=strategy, settings=limits)
    for model, component in zip([LARGE, SMALL], result.components, strict=True):
        assert Path(component.uri).read_bytes() == model.component(result)
        assert component.strategy == {"auto": "streaming"}.get(strategy, strategy)


def test_one_onnx_export_becomes_one_component_for_three_targets(here, limits):
    compiled = {"onnx": str(models.onnx_export(here.root / "onnx.tar.gz"))}
    with recorded() as records:
        result = package(here.trained, compiled, here.out, settings=limits)
    assert [each.target for each in result.components] == [each.name for each in SERVED_BY_COMPILED_ONNX]
    assert here.published() == {each.uri for each in result.components}
    assert [each.row for each in records].count("PackageTarget") == 1
    [uri] = here.published()
    with zipfile.ZipFile(uri) as component:
        assert json.loads(component.read("manifest.json"))["runtime_artifact"] == "model.onnx"


def test_a_target_that_two_artifacts_serve_has_two_results_so_that_no_failure_hides(here, limits):
    compiled = {
        "onnx": str(models.onnx_export(here.root / "onnx.tar.gz")),
        "onnx-jetson-xavier-jp5": str(here.root / "none.tar.gz"),
    }
    result = package(here.trained, compiled, here.out, settings=limits)
    assert [(each.target, each.status) for each in result.components] == [
        ("onnx-jetson-xavier-jp5", "packaged"),
        ("onnx-jetson-xavier-jp6", "packaged"),
        ("onnx-jetson-xavier-jp7", "packaged"),
        ("onnx-jetson-xavier-jp5", "failed"),
    ]
    assert not result.succeeded


def test_an_imported_onnx_model_serves_four_targets_or_each_named_one_once(here, limits):
    imported = str(models.imported_onnx(here.root / "imported.tar.gz"))
    every = package(imported, {}, here.out, settings=limits).components
    assert [each.target for each in every] == [each.name for each in SERVED_BY_IMPORTED_ONNX]
    named = package(imported, {}, here.out, imported_targets=["x86_64-cpu", "x86_64-cpu"], settings=limits).components
    assert [(each.target, each.uri) for each in named] == [("x86_64-cpu", every[0].uri)]


EXPORT = {"sub/model.onnx": b"graph", "sub/w/layer 1": b"w", "sub/model.onnx.data": b"w", "sub/labels.txt": b"l"}


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
@pytest.mark.parametrize("imported", [True, False])
def test_a_model_that_is_parted_from_what_may_be_its_external_data_is_warned_of_by_name(
    here, limits, imported, strategy
):
    above = "export_artifacts/" if imported else ""
    files = {f"{above}{name}": data for name, data in {**EXPORT, "other/weights.bin": b"w"}.items()}
    path = here.root / "model.tar.gz"
    if imported:
        manifest = json.dumps({**models.MANIFEST, "runtime": "onnx", "runtime_artifact": "model.onnx"}).encode()
        files |= {"config.yaml": models.CONFIG, "export_artifacts/manifest.json": manifest}
    path.write_bytes(archives.gz(archives.tar(files.items())))
    trained, compiled = (str(path), {}) if imported else (here.trained, {"onnx": str(path)})
    made = package(trained, compiled, here.out, strategy=strategy, settings=limits).components[0]
    assert made.error is None
    (warning,) = [each for each in made.warnings if each.rule == "external-data"]
    assert f"'{above}sub/w/layer 1', '{above}sub/model.onnx.data'. " in warning.message


def test_a_model_at_the_top_keeps_its_external_data_beside_it_and_nothing_is_said(here, limits):
    path = here.root / "model.tar.gz"
    path.write_bytes(archives.gz(archives.tar([("model.onnx", b"graph"), ("model.onnx.data", b"w")])))
    made = package(here.trained, {"onnx": str(path)}, here.out, settings=limits).components[0]
    assert "external-data" not in {each.rule for each in made.warnings}
    with zipfile.ZipFile(made.uri) as component:
        assert {"mochi/model.onnx", "mochi/model.onnx.data"} < set(component.namelist())


@pytest.mark.parametrize("imported", [True, False])
def test_an_imported_model_with_compiled_artifacts_or_a_trained_one_without_says_what_to_name(here, limits, imported):
    trained = str(models.imported_onnx(here.root / "imported.tar.gz")) if imported else here.trained
    compiled = here.each_compiled([SMALL]) if imported else {}
    for component in package(trained, compiled, here.out, settings=limits).components:
        assert isinstance(component.error, RequestError)
        assert component.error.field == "compiled"
    assert here.published() == set()


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
@pytest.mark.parametrize("members", [[], [("folder/", b"")]], ids=["no member", "a folder"])
def test_an_artifact_without_a_file_is_refused(here, limits, members, strategy):
    path = here.root / "empty.tar.gz"
    path.write_bytes(archives.gz(b"".join(archives.header(b"folder/", kind=b"5") for _ in members) + archives.END))
    result = package(here.trained, {"arm64-cpu": str(path)}, here.out, strategy=strategy, settings=limits)
    assert isinstance(result.components[0].error, ExtractionError)
    assert here.published() == set()


@pytest.mark.parametrize("place", ["bucket", "folder"])
def test_strict_refuses_what_was_made_when_nobody_was_strict(here, limits, store, place):
    only_a_library = Model({"compiled.so": 3000})
    artifacts = {
        "bucket": lambda: (*store.put(here, only_a_library), store.out),
        "folder": lambda: (here.trained, here.each_compiled([only_a_library]), here.out),
    }[place]()
    asked = {"endpoint_url": store.endpoint_url, "settings": limits}
    assert package(*artifacts, **asked).succeeded
    again = package(*artifacts, strict=True, **asked)
    assert isinstance(again.components[0].error, ComponentRefusedError)


def test_strict_refuses_a_component_that_a_device_would_not_take_before_it_is_visible(here, limits):
    compiled = here.each_compiled([Model({"compiled.so": 100})])
    warned = package(here.trained, compiled, str(here.root / "lax"), settings=limits).components[0]
    strict = package(here.trained, compiled, here.out, strict=True, settings=limits).components[0]
    assert [each.rule for each in warned.warnings] == ["compiled-files"]
    assert isinstance(strict.error, ComponentRefusedError)
    assert here.published() == set()


@pytest.mark.parametrize("strategy", ["auto", "standard", "partial"])
def test_one_target_that_fails_leaves_the_others_whole(here, limits, strategy):
    compiled = here.each_compiled([SMALL, SMALL, SMALL])
    compiled["jetson-xavier"] = str(here.root / "none.tar.gz")
    Path(compiled["arm64-cpu"]).write_bytes(SMALL.archive()[:-20])
    result = package(here.trained, compiled, here.out, strategy=strategy, settings=limits)
    missing, cut, whole = result.components
    assert (type(missing.error), type(cut.error), whole.error) == (ArtifactNotFoundError, ExtractionError, None)
    assert here.published() == {whole.uri}


# -- the customer's two halves ----------------------------------------------------------------------------------------


def test_the_two_halves_make_the_component_that_the_whole_makes(here, limits):
    uri = here.compiled(SMALL)
    manifest, name = create_dda_manifest(here.trained, "pytorch")
    whole = package(here.trained, {"arm64-cpu": uri}, str(here.root / "whole"), settings=limits)
    assert (manifest, name) == (whole.manifest, "model.pt")
    with recorded() as records:
        half = package_component("training-1", "arm64-cpu", uri, manifest, output=here.out, settings=limits)
    assert Path(half).read_bytes() == Path(whole.components[0].uri).read_bytes()
    assert {each.context.get("training_id") for each in records if each.row == "PackageTarget"} == {"training-1"}


def test_the_output_is_the_bucket_of_the_use_case(here, limits, s3_server, bucket):
    client = s3_server.client()
    manifest, _ = create_dda_manifest(here.trained)
    usecase = {"s3_bucket": bucket}
    uri = package_component("t", "arm64-cpu", here.compiled(SMALL), manifest, client, usecase, settings=limits)
    assert uri.startswith(f"s3://{bucket}/model_artifacts/model-")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"usecase": None}, RequestError),
        ({"usecase": {"s3_bucket": 5}}, RequestError),
        ({"usecase": {"s3_bucket": ""}}, RequestError),
        ({"target": "toaster"}, RequestError),
        ({"target": None}, RequestError),
        ({"dda_manifest": None}, RequestError),
        ({"dda_manifest": ["model_graph"]}, RequestError),
        ({"dda_manifest": {}}, ManifestError),
        ({"dda_manifest": {"model_graph": {"stages": STAGES}, "number": float("nan")}}, PackagerError),
        ({"dda_manifest": {"model_graph": {"stages": STAGES}, "object": {1, 2}}}, PackagerError),
        ({"compiled_model_s3": "none.tar.gz"}, ArtifactNotFoundError),
        ({"compiled_model_s3": None}, RequestError),
        ({"strategy": "fast"}, RequestError),
    ],
    ids=str,
)
def test_a_half_that_fails_raises_an_error_of_the_packager_and_writes_nothing(here, limits, changed, error):
    asked = {
        "training_id": "t",
        "target": "arm64-cpu",
        "compiled_model_s3": here.compiled(SMALL),
        "dda_manifest": {"model_graph": {"stages": STAGES}},
        **changed,
    }
    output = None if "usecase" in changed else here.out
    with pytest.raises(error):
        package_component(**asked, output=output, settings=limits)
    assert here.published() == set()


@on_disk
@given(json_values | st.dictionaries(st.sampled_from(["model_graph", "runtime", "dataset"]), json_values))
def test_any_json_as_a_manifest_is_an_error_of_the_packager_or_becomes_the_manifest(manifest):
    with ground() as here:
        try:
            uri = package_component("t", "arm64-cpu", here.compiled(SMALL), manifest, output=here.out)
        except PackagerError:
            assert here.published() == set()
        else:
            with zipfile.ZipFile(uri) as component:
                assert json.loads(component.read("manifest.json")) == manifest


@pytest.mark.parametrize("broken", ["an empty file", "half a gzip", "no end mark", "rubbish behind"])
def test_a_trained_artifact_that_is_no_use_fails_both_ways_with_the_same_error(here, limits, broken):
    path = here.root / "broken.tar.gz"
    path.write_bytes(archives.damaged()[broken])
    with pytest.raises(ExtractionError) as raised:
        create_dda_manifest(str(path))
    result = package(str(path), here.each_compiled([SMALL]), here.out, settings=limits)
    assert str(result.error) == str(result.components[0].error) == str(raised.value)
    assert here.published() == set()


# -- progress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
def test_progress_never_goes_back_within_a_phase_and_ends_with_done(here, limits, strategy):
    states = []
    package(
        here.trained,
        here.each_compiled([LARGE]),
        here.out,
        strategy=strategy,
        settings=limits,
        on_progress=states.append,
    )
    phases = list(dict.fromkeys(each.phase for each in states))
    staged = ["listing", "staging"]
    expected = ["identifying", "reading_manifest", "packaging", "done"]
    if strategy == "standard":
        expected = ["listing", "identifying", "reading_manifest", "staging", "packaging", "done"]
    assert phases == expected
    for phase in phases:
        of_phase = [each for each in states if each.phase == phase]
        # The choice of a strategy and the staging each list the archive once.
        halves = [of_phase] if phase != "listing" else [of_phase[: len(of_phase) // 2], of_phase[len(of_phase) // 2 :]]
        for half in halves:
            assert [each.bytes_done for each in half] == sorted(each.bytes_done for each in half)
            assert [each.files_done for each in half] == sorted(each.files_done for each in half)
        assert all(0 <= each.bytes_done <= each.bytes_total for each in of_phase)
    packaging_states = [each for each in states if each.phase == "packaging"]
    assert len(packaging_states) > 5
    assert packaging_states[-1].bytes_done == packaging_states[-1].bytes_total
    assert any(each.remaining_s for each in packaging_states)
    assert all(each.remaining_s is None or each.remaining_s >= 0 for each in states)
    assert {each.target for each in states if each.phase != "reading_manifest"} == {"jetson-xavier"}
    assert any(each.scratch_bytes for each in states) == (phases[0] in staged)
    assert (states[-1].cleaned_up, states[-1].files_done, states[-1].files_total) == (True, 3, 3)


PHASES = ("listing", "identifying", "reading_manifest", "staging", "packaging")


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_callback_that_raises_ends_that_target_alone(here, limits, phase, strategy):
    def refuse_arm(state):
        if state.target == "arm64-cpu" and state.phase == phase:
            raise LookupError("enough")

    seen = []
    compiled = here.each_compiled([LARGE, SMALL])
    result = package(
        here.trained,
        compiled,
        here.out,
        strategy=strategy,
        settings=limits,
        on_progress=lambda state: (seen.append(state.phase), refuse_arm(state)),
    )
    whole, ended = result.components
    assert whole.status == "packaged"
    # What is shared belongs to no target; streaming lists and stages nothing.
    if phase in seen and phase != "reading_manifest":
        assert ended.status == "failed"
        assert ended.error.cause == "LookupError"
        assert isinstance(ended.error.__cause__, LookupError)
        assert here.published() == {whole.uri}
    else:
        assert ended.status == "packaged"


def test_a_callback_that_raises_when_all_is_done_comes_too_late_to_end_it(here, limits):
    def refuse_the_end(state):
        if state.phase == "done":
            raise LookupError("enough")

    result = package(here.trained, here.each_compiled([SMALL]), here.out, settings=limits, on_progress=refuse_the_end)
    assert [each.status for each in result.components] == ["packaged"]
    assert here.published() == {result.components[0].uri}


def test_callbacks_come_one_at_a_time(here, limits):
    inside = threading.Lock()

    def told(_):
        assert inside.acquire(blocking=False)
        inside.release()

    compiled = here.each_compiled([SMALL] * 4)
    roomy = Settings(scratch_dir=limits.scratch_dir, max_concurrent_operations=4)
    assert package(here.trained, compiled, here.out, settings=roomy, on_progress=told).succeeded


# -- time -------------------------------------------------------------------------------------------------------------


class Clock:
    """Time that only passes when a target is done, or when it is told to."""

    def __init__(self, left_s, target_s=10.0):
        self.left_s = left_s + ABORT_RESERVE_S
        self.target_s = target_s

    def __call__(self):
        return self.left_s

    def told(self, state):
        if state.phase == "done":
            self.left_s -= self.target_s


def visible(here):
    return {path for path in here.published() if TEMPORARY_PREFIX not in path}


@settings(on_disk, max_examples=40)
@given(st.integers(1, 5), st.lists(st.integers(0, 45), min_size=1, max_size=6))
def test_calls_with_too_little_time_do_what_fits_name_what_is_left_and_repeat_nothing(count, budgets_s):
    each_model = [Model({"compiled.so": 40_000}, seed=seed) for seed in range(count)]
    names = list(TARGETS[:count])
    with ground() as here:
        compiled = here.each_compiled(each_model)
        target_bytes = max(Path(uri).stat().st_size for uri in compiled.values())
        document, done, read = None, 0, Counter()
        for budget_s in [*budgets_s, 1000]:
            clock = Clock(budget_s)
            before = visible(here)
            with recorded() as records, mock.patch.object(run, "PLANNED_BYTES_PER_S", target_bytes / 10):
                result = package(
                    here.trained,
                    compiled,
                    here.out,
                    strategy="partial",
                    on_progress=clock.told,
                    time_left_s=clock,
                    previous=document,
                )
            done = min(count, done + (budget_s // 10))
            assert [each.status == "left" for each in result.components] == [False] * done + [True] * (count - done)
            assert [each.target for each in result.components] == names
            assert result.left == tuple(names[done:])
            assert all(isinstance(each.error, OutOfTimeError) for each in result.components[done:])
            assert visible(here) == {each.uri for each in result.components[:done]} >= before
            read += Counter(each.fields["source"] for each in records if each.row == "ReadArtifact")
            document = json.loads(json.dumps(result.as_dict()))
        assert result.succeeded
        assert {uri: read[uri] for uri in compiled.values()} == dict.fromkeys(compiled.values(), 1)
        for model, component in zip(each_model, result.components, strict=True):
            with zipfile.ZipFile(component.uri) as file:
                assert file.read("mochi/compiled.so") == model.files["compiled.so"]


@pytest.mark.parametrize("strategy", ["auto", "standard", "partial"])
@pytest.mark.parametrize("phase", PHASES)
def test_time_that_runs_out_in_any_phase_leaves_the_target_for_the_next_call_without_a_trace(
    here, limits, phase, strategy
):
    clock = Clock(1000)

    def run_out(state):
        if state.phase == phase:
            clock.left_s = 0

    compiled = here.each_compiled([LARGE])
    asked = {"strategy": strategy, "settings": limits, "time_left_s": clock}
    result = package(here.trained, compiled, here.out, on_progress=run_out, **asked)
    if clock.left_s:
        assert result.succeeded  # that phase does not come in this strategy
        return
    assert (result.error, result.left) == (None, ("jetson-xavier",))
    assert isinstance(result.components[0].error, OutOfTimeError)
    assert here.published() == set()
    clock.left_s = 1000
    again = package(here.trained, compiled, here.out, previous=result.as_dict(), **asked)
    assert again.succeeded
    assert Path(again.components[0].uri).read_bytes() == LARGE.component(again)


class Stalling:
    """A clock that stands still until S3 leaves a request unanswered, and then shows what is left."""

    def __init__(self, proxy, operation, left_s, fault=stall()):  # noqa: B008  it keeps nothing
        self.proxy, self.operation, self.left_s = proxy, operation, left_s
        proxy.break_next(operation, fault, times=1000)

    def __call__(self):
        return self.left_s if self.proxy.asked(self.operation) else LONGEST_CALL_S


@pytest.mark.parametrize(
    ("operation", "fault", "strategy"),
    [
        ("ListMultipartUploads", stall(), "streaming"),
        ("HeadObject", stall(), "streaming"),
        ("GetObject", stall(), "streaming"),
        ("GetObject", stall_after(1000), "streaming"),
        ("GetObject", stall(), "standard"),
        ("GetObject", stall_after(1000), "standard"),
        ("CreateMultipartUpload", stall(), "streaming"),
        ("UploadPart", stall(), "streaming"),
        ("CompleteMultipartUpload", stall(), "streaming"),
        ("PutObject", stall(), "streaming"),
    ],
)
def test_whatever_s3_does_not_answer_the_work_stops_in_time_and_leaves_no_trace(
    here, limits, store, *, operation, fault, strategy
):
    artifacts = *store.put(here, SMALL if operation == "PutObject" else LARGE), store.out
    commits = operation in {"CompleteMultipartUpload", "PutObject"}
    with faulty_proxy(store.endpoint_url) as proxy:
        clock = Stalling(proxy, operation, COMMIT_RESERVE_S if commits else ABORT_RESERVE_S, fault)
        asked = {"strategy": strategy, "settings": limits, "client": client_of(proxy.endpoint_url)}
        result = package(*artifacts, time_left_s=clock, **asked)
        assert (result.error, result.left) == (None, ("arm64-cpu",))
        assert isinstance(result.components[0].error, OutOfTimeError)
        assert len(proxy.asked(operation)) <= 2  # two ranges, two parts; none a second time
        assert store.published() == []
        proxy.forget()
        assert package(*artifacts, previous=result.as_dict(), **asked).succeeded


def test_an_upload_that_cannot_be_removed_in_time_is_told_and_hides_nothing(here, limits, store):
    trained, compiled = store.put(here, LARGE)
    with faulty_proxy(store.endpoint_url) as proxy:
        proxy.break_next("UploadPart", refuse(403, "AccessDenied"), times=9)
        clock = Stalling(proxy, "AbortMultipartUpload", 0)
        client = client_of(proxy.endpoint_url)
        result = package(trained, compiled, store.out, settings=limits, time_left_s=clock, client=client)
    [component] = result.components
    assert isinstance(component.error, AccessDeniedError)
    assert any("was not removed" in note for note in component.error.__notes__)


def test_a_component_that_is_there_is_no_failure_when_its_sha256_cannot_be_kept_in_time(here, limits, store):
    trained, compiled = store.put(here, LARGE)
    with faulty_proxy(store.endpoint_url) as proxy:
        clock = Stalling(proxy, "PutObject", 0)
        client = client_of(proxy.endpoint_url)
        result = package(trained, compiled, store.out, settings=limits, time_left_s=clock, client=client)
    assert result.succeeded
    assert len(store.published()) == 1


def test_what_earlier_calls_did_is_kept_when_a_call_cannot_begin(here, tmp_path):
    compiled = here.each_compiled([SMALL, LARGE])
    first = package(here.trained, {"jetson-xavier": compiled["jetson-xavier"]}, here.out)
    tight = Settings(scratch_dir=tmp_path / "scratch", storage_critical_bytes=4096, storage_warning_bytes=4096)
    result = package(here.trained, compiled, here.out, strategy="standard", settings=tight, previous=first.as_dict())
    assert [each.status for each in result.components] == ["packaged", "failed"]
    assert result.components[0].uri == first.components[0].uri
    assert isinstance(result.error, InsufficientStorageError)
    assert result.components[1].error is result.error
    assert here.published() == {first.components[0].uri}


def test_a_call_with_nothing_left_to_do_reads_nothing(here, limits):
    compiled = here.each_compiled([SMALL])
    first = package(here.trained, compiled, here.out, settings=limits)
    with recorded() as records:
        second = package(here.trained, compiled, here.out, settings=limits, previous=first.as_dict())
    assert [each.as_dict() for each in second.components] == [each.as_dict() for each in first.components]
    assert not {"ReadArtifact", "PackageTarget", "IdentifyArtifact"} & {each.row for each in records}


# -- faults of the store ----------------------------------------------------------------------------------------------


FAULTS = [
    ("HeadObject", reset()),
    ("GetObject", refuse(503, "SlowDown")),
    ("GetObject", reset()),
    ("CreateMultipartUpload", refuse(500, "InternalError")),
    ("UploadPart", refuse(503, "ServiceUnavailable")),
    ("UploadPart", lost_answer()),
    ("CompleteMultipartUpload", refuse(500, "InternalError")),
]


@pytest.mark.usefixtures("without_pauses")
@pytest.mark.parametrize(("operation", "fault"), FAULTS, ids=[f"{name} {at}" for at, (name, _) in enumerate(FAULTS)])
def test_a_store_that_fails_longer_than_one_attempt_bears_is_asked_again_and_what_fails_for_good_leaves_nothing(
    here, limits, store, operation, fault
):
    trained, compiled = store.put(here, LARGE)
    with faulty_proxy(store.endpoint_url) as proxy:
        asked = {"settings": limits, "client": client_of(proxy.endpoint_url)}
        proxy.break_next(operation, fault, times=100_000)
        failed = package(trained, compiled, store.out, **asked)
        [component] = failed.components
        assert isinstance(component.error, StoreError)
        assert any("3 of 3" in note for note in component.error.__notes__)
        assert store.published() == []
        proxy.forget()
        # Two ranges or parts are asked for at a time; an artifact's size is asked for in vain before its turn comes.
        proxy.break_next(operation, fault, times=(4 if operation == "HeadObject" else 2) * s3_calls.ATTEMPTS)
        with recorded() as records:
            result = package(trained, compiled, store.out, **asked)
    [component] = result.components
    assert component.error is None
    assert "RetryTarget" in {each.row for each in records}
    [key] = store.published()
    assert store.read(key) == LARGE.component(result)


@pytest.mark.usefixtures("without_pauses")
def test_a_refusal_that_cannot_pass_is_not_asked_again(here, limits, store):
    trained, compiled = store.put(here)
    with faulty_proxy(store.endpoint_url) as proxy:
        proxy.break_next("PutObject", refuse(403, "AccessDenied"), times=1000)
        result = package(trained, compiled, store.out, settings=limits, client=client_of(proxy.endpoint_url))
        assert len(proxy.asked("PutObject")) == 1
    assert result.components[0].error.code == "AccessDenied"
    assert store.published() == []


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
@pytest.mark.parametrize("grows", [False, True])
def test_a_file_that_is_changed_while_it_is_read_is_not_published(here, limits, strategy, grows):
    compiled = here.each_compiled([LARGE])
    replaced = []

    def replace(state):
        if state.phase in {"packaging", "staging"} and state.bytes_done and not replaced:
            replaced.append(Path(compiled["jetson-xavier"]))
            with replaced[0].open("ab" if grows else "wb") as file:
                file.write(SMALL.archive())

    result = package(here.trained, compiled, here.out, strategy=strategy, settings=limits, on_progress=replace)
    assert replaced
    # Bytes of another file are damage, when they are met before the end is.
    assert isinstance(result.components[0].error, (ArtifactChangedError, ExtractionError))
    assert here.published() == set()


def test_an_object_that_is_replaced_while_it_is_read_is_not_published(here, limits, store):
    trained, compiled = store.put(here, Model({"compiled.so": 30 * MIB}))
    replaced = []

    def replace(state):
        if state.phase == "packaging" and state.bytes_done and not replaced:
            replaced.append(store.client.put_object(Bucket=store.name, Key="compiled.tar.gz", Body=SMALL.archive()))

    result = package(trained, compiled, store.out, settings=limits, client=store.client, on_progress=replace)
    assert replaced
    assert isinstance(result.components[0].error, ArtifactChangedError)
    assert store.published() == []


# -- clients of callers -----------------------------------------------------------------------------------------------


class WholeFiles:
    """A client that knows only whole files."""

    def __init__(self, client):
        self.upload_file = client.upload_file
        self.download_file = client.download_file


@pytest.mark.parametrize("kind", [lambda client: client, WholeFiles], ids=["boto3", "whole files only"])
def test_a_callers_client_is_used_for_everything(here, limits, store, kind, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    trained, compiled = store.put(here)
    result = package(trained, compiled, store.out, settings=limits, client=kind(store.client))
    [component] = result.components
    assert component.error is None
    key = component.uri.removeprefix(f"s3://{store.name}/")
    assert store.read(key) == SMALL.component(result)
    manifest, _ = create_dda_manifest(trained, s3_client=kind(store.client))
    assert manifest == result.manifest


# -- telemetry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
@pytest.mark.parametrize("fails", [False, True])
def test_every_operation_is_recorded_once_with_its_figures_whatever_its_end(here, limits, strategy, fails):
    compiled = here.each_compiled([SMALL])
    if fails:
        Path(compiled["jetson-xavier"]).write_bytes(archives.gz(archives.member() + archives.padded(b"x") * 2))
    with recorded() as records:
        result = package(here.trained, compiled, here.out, strategy=strategy, settings=limits)
    assert result.succeeded != fails
    by_row = {each.row: each for each in records}
    once = Counter(each.row for each in records)
    expected = ["PackageRequest", "PackageTarget", "ChooseStrategy"]
    expected += ["CreateManifest"] if not (fails and strategy == "standard") else []
    if strategy == "standard":
        expected += [] if fails else ["ExtractArchive", "ReserveStorage", "WriteComponent", "ZipComponent"]
    else:
        expected += ["WriteComponent", "ZipComponent"]
    assert {name: once[name] for name in expected} == dict.fromkeys(expected, 1)
    for name in set(expected) & {"PackageRequest", "PackageTarget", "WriteComponent", "ZipComponent", "ExtractArchive"}:
        fields = by_row[name].fields
        assert {f"storage_{when}_bytes" for when in ("before", "peak", "after")} <= fields.keys(), name
    assert by_row["PackageRequest"].fields["targets_failed"] == int(fails)
    assert by_row["PackageTarget"].outcome == ("failure" if fails else "success")
    if not fails:
        target = by_row["PackageTarget"].fields
        assert target["bytes_in"] == Path(compiled["jetson-xavier"]).stat().st_size
        assert (
            target["bytes_out"] == result.components[0].size_bytes == by_row["WriteComponent"].fields["bytes_written"]
        )
        assert (target["files"], target["already_there"], target["strategy"]) == (5, 0, strategy)
        assert target["sha256"] == result.components[0].sha256
        assert by_row["PackageRequest"].fields["bytes_out"] == target["bytes_out"]


def test_content_is_not_in_any_record(here, limits):
    secret = content(50).hex().encode()
    path = here.root / "secret.tar.gz"
    path.write_bytes(archives.gz(archives.tar([("compiled.so", secret)])))
    with recorded() as records:
        package(here.trained, {"arm64-cpu": str(path)}, here.out, settings=limits)
    assert secret.decode() not in repr(records)
