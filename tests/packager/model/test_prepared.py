from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from packager.errors import ArtifactNotFoundError, ExtractionError, ManifestError, OutOfTimeError
from packager.model.prepared import PreparedManifest
from packager.model.trained import TrainedArtifact
from packager.packaging import package, prepare_manifest
from packager.settings import Settings
from packager.stores import Stores
from telemetry import Recorder, attached
from telemetry.engine.testing import recorded
from tests import archives
from tests.packages import TARGETS, Model, ground

SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def trained_with(extra, **how):
    """A trained artifact whose graph holds a value of any kind."""
    stage = {"type": "mochi", "input_shape": [1, 3, 8, 8], "extra": extra}
    graph = {"model_graph_type": "single_stage_model_graph", "stages": [stage]}
    files = [
        ("config.yaml", b"dataset:\n  image_width: 8\n  image_height: 8\n"),
        ("export_artifacts/manifest.json", json.dumps({"model_graph": graph}, **how).encode()),
        ("export_artifacts/model.pt", b"weights"),
    ]
    return archives.gz(archives.tar(files))


def packaged(here, out, **more):
    """Bytes and key of the components of two targets."""
    compiled = {target: here.compiled(SMALL) for target in TARGETS[:2]}
    result = package(here.trained, compiled, out, **more)
    assert result.succeeded
    paths = [Path(each.uri) for each in result.components]
    return [(path.relative_to(out), path.read_bytes()) for path in paths], result


def rows(records, name):
    return [each for each in records if each.row == name]


@given(extra=json_values)
@example(extra={"\ud800": [1e300, -0.0, 12345678901234567890, "é\u2028\x7f"]})
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_key_and_bytes_are_the_same_with_a_prepared_manifest_and_without(extra):
    with ground() as here:
        (here.root / "trained.tar.gz").write_bytes(trained_with(extra))
        without, first = packaged(here, str(here.root / "without"))
        out = str(here.root / "with")
        kept = prepare_manifest(here.trained, out)
        with recorded() as records:
            with_, second = packaged(here, out, prepared=True)
        assert with_ == without
        assert second.manifest == first.manifest == json.loads(Path(kept).read_text())
        assert rows(records, "CreateManifest") == []


def test_however_many_targets_the_trained_artifact_is_read_once(here):
    with recorded() as records:
        prepare_manifest(here.trained, here.out)
        for target in TARGETS:
            result = package(here.trained, {target: here.compiled(SMALL)}, here.out, prepared=True)
            assert result.succeeded
    read = [each.fields["source"] for each in rows(records, "ReadArtifact")]
    assert read.count(here.trained) == 1
    assert len(rows(records, "CreateManifest")) == 1


def test_preparing_again_and_packaging_again_reads_nothing(s3_server, bucket, here):
    client = s3_server.client()
    client.upload_file(here.trained, bucket, "trained.tar.gz")
    client.upload_file(here.compiled(SMALL), bucket, "compiled.tar.gz")
    asked = []
    client.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))
    uri, out = f"s3://{bucket}/trained.tar.gz", f"s3://{bucket}/out"
    compiled = {"arm64-cpu": f"s3://{bucket}/compiled.tar.gz"}
    kept = prepare_manifest(uri, out, client=client)
    first = package(uri, compiled, out, client=client, prepared=True)
    asked.clear()
    assert prepare_manifest(uri, out, stores=Stores(client)) == kept
    # What is kept is small, and looked at: it is made again when it is not whole.
    assert asked == ["HeadObject"] * 3 + ["GetObject"]
    asked.clear()
    again = package(uri, compiled, out, client=client, prepared=True)
    assert [each.status for each in again.components] == ["already_there"]
    assert again.components[0].uri == first.components[0].uri
    assert set(asked) == {"HeadObject", "ListMultipartUploads"}
    head = client.head_object(Bucket=bucket, Key=kept.partition(f"{bucket}/")[2])
    assert head["ContentType"] == "application/json"


def test_an_artifact_that_was_replaced_since_is_read_itself(here):
    prepare_manifest(here.trained, here.out)
    Path(here.trained).write_bytes(trained_with("new"))
    _, result = packaged(here, here.out, prepared=True)
    assert result.manifest["model_graph"]["stages"][0]["extra"] == "new"


class Heard(Recorder):
    def __init__(self):
        self.events = []

    def event(self, level, name, keys):
        self.events.append((level, name, keys))


def written(here, content):
    """Put something where the manifest is kept, with an identity and a SHA-256 that fit."""
    sink = Stores().sink(here.out)
    model = TrainedArtifact(Stores().source(here.trained), Settings())
    with sink.open(PreparedManifest(model, sink, Stores().source)._name) as upload:
        upload.write(content)
        return Path(upload.commit().uri)


GRAPH = {"model_graph_type": "single_stage_model_graph", "stages": [{"type": "mochi"}]}
DATASET = {"image_width": 8, "image_height": 8}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"model_graph": ',
        b"\xff" * 10,
        b"[" * 100_000,
        json.dumps({"model_graph": GRAPH}).encode(),
        json.dumps({"model_graph": {**GRAPH, "stages": [{"type": "../up"}]}, "dataset": DATASET}).encode(),
        json.dumps({"model_graph": GRAPH, "dataset": {**DATASET, "image_width": -1}}).encode(),
        json.dumps({"model_graph": GRAPH, "dataset": DATASET, "runtime": "onnx"}).encode(),
        b'{"model_graph": {}, "model_graph": {}}',
    ],
)
def test_what_is_no_manifest_is_not_used_and_made_again(here, content):
    path = written(here, content)
    with recorded() as records:
        _, result = packaged(here, here.out, prepared=True)
    assert result.manifest["dataset"] == DATASET
    assert len(rows(records, "CreateManifest")) == 1
    assert prepare_manifest(here.trained, here.out) == str(path)
    assert json.loads(path.read_text()) == result.manifest


def test_one_that_was_changed_or_belongs_to_another_artifact_is_not_used(s3_server, bucket, here):
    client = s3_server.client()
    client.upload_file(here.trained, bucket, "trained.tar.gz")
    uri, out = f"s3://{bucket}/trained.tar.gz", f"s3://{bucket}/out"
    key = prepare_manifest(uri, out, stores=Stores(client)).removeprefix(f"s3://{bucket}/")
    kept = client.head_object(Bucket=bucket, Key=key)["Metadata"]
    foreign = json.dumps({"model_graph": GRAPH, "dataset": DATASET, "compilable_models": []}).encode()
    its_own = {name: hashlib.sha256(foreign).hexdigest() if name.endswith("sha256") else kept[name] for name in kept}
    another = {name: value if name.endswith("sha256") else "0" * 64 for name, value in its_own.items()}
    for metadata in (kept, another):
        client.put_object(Bucket=bucket, Key=key, Body=foreign, Metadata=metadata)
        result = package(uri, {"arm64-cpu": here.compiled(SMALL)}, out, client=client, prepared=True, force=True)
        assert result.manifest["compilable_models"]


@pytest.mark.parametrize("name", ["max_manifest_bytes", "max_manifest_values"])
def test_one_beyond_a_limit_is_neither_kept_nor_used_and_the_reason_is_logged(here, name):
    kept = Path(prepare_manifest(here.trained, here.out))
    large = json.dumps({"model_graph": GRAPH, "dataset": DATASET, "more": [0] * 500}).encode()
    written(here, large)
    least = {"max_manifest_bytes": len(large) - 1, "max_manifest_values": 499}[name]
    limits = Settings(**{name: least})
    heard = Heard()
    with attached(heard), recorded() as records:
        _, result = packaged(here, here.out, prepared=True, settings=limits)
    assert result.succeeded
    assert len(rows(records, "CreateManifest")) == 1
    assert heard.events[0][:2] == ("warning", "kept manifest not used")
    assert f"{name.upper()} = {least}" in heard.events[0][2]["error"]
    kept.unlink()
    Path(here.trained).write_bytes(trained_with([0] * 600))
    with pytest.raises(ManifestError, match=name.upper()):
        prepare_manifest(here.trained, str(here.root / "elsewhere"), settings=limits)
    assert not (here.root / "elsewhere").exists()


def test_one_that_grows_beyond_the_limit_when_it_is_written_again_is_not_kept(here):
    Path(here.trained).write_bytes(trained_with("\u6a21" * 300, ensure_ascii=False))
    assert prepare_manifest(here.trained, here.out, settings=Settings(max_manifest_bytes=1500)) is None


def test_where_nothing_can_be_kept_targets_read_the_artifact_themselves(here):
    Path(here.out).write_text("a file, no folder")
    with recorded():
        assert prepare_manifest(here.trained, f"{here.out}/below") is None


def test_an_artifact_without_a_manifest_is_an_error_and_nothing_is_kept(here):
    path = Path(here.trained)
    path.write_bytes(archives.gz(archives.tar([("config.yaml", b"dataset: {}")])))
    with pytest.raises(ManifestError):
        prepare_manifest(str(path), here.out)
    path.write_bytes(trained_with(1)[:-20])
    with pytest.raises(ExtractionError):
        prepare_manifest(str(path), here.out)
    with pytest.raises(ArtifactNotFoundError):
        prepare_manifest(str(here.root / "nothing"), here.out)
    assert not Path(here.out).exists()


def test_preparing_ends_when_the_time_is_nearly_up(here):
    with pytest.raises(OutOfTimeError):
        prepare_manifest(here.trained, here.out, time_left_s=lambda: 1.0)
    assert prepare_manifest(here.trained, here.out, time_left_s=lambda: math.inf)
