"""Every command as people and scripts run it: in a process of its own, by the console script where that matters."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from packager.model.identity import FILE_NAME_ENDING
from packager.model.targets import SERVED_BY_COMPILED_ONNX, SERVED_BY_IMPORTED_ONNX
from tests import faulty_proxy as faults
from tests import models
from tests.recordings import assert_conforming
from tests.warm_command import warm_command

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGER = str(Path(sys.executable).with_name("packager"))
NEO_FILES = ["compiled.meta", "compiled.params", "compiled.so", "compiled_model.json", "libdlr.so"]
KEY = re.compile(rf"model_artifacts/model-([0-9a-f]{{12}})/\1_{re.escape(FILE_NAME_ENDING)}")
ESCAPE = "\x1b]0;title\x07\x08\x9b"


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def packager(*arguments: object, **environment: str) -> Done:
    done = Done(*warm_command()([*map(os.fspath, arguments)], environment))
    assert_conforming(arguments)
    return done


FIXTURES_BREAK = ["graph-type", "first-stage", "compiled-files", "library-machine"]
"""The rules that the portal's own fixtures break."""


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    models.trained(folder / "trained.tar.gz")
    models.neo(folder / "jetson.tar.gz", seed="jetson")
    models.neo(folder / "x86.tar.gz", seed="x86", machine=models.X86_64)
    models.onnx_export(folder / "onnx.tar.gz")
    models.imported_onnx(folder / "imported.tar.gz")
    whole = models.neo(folder / "whole.tar.gz", 1 << 20).read_bytes()
    (folder / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    _portal_fixtures(folder)
    return folder


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> Path:
    """A pruned model, small on the disk, that takes long enough to package for a signal to arrive."""
    block = b"".join(models.weights(64 << 10, "large")).ljust(models.BLOCK_BYTES, b"\0")
    weights = ("compiled.params", 256 * len(block), (block for _ in range(256)))
    return models.archive(tmp_path_factory.mktemp("large") / "large.tar.gz", [weights])


@pytest.fixture
def asked(artifacts) -> list[str]:
    """What packages one target."""
    return [
        "package",
        "--trained",
        f"{artifacts}/trained.tar.gz",
        "--compiled",
        f"jetson-xavier={artifacts}/jetson.tar.gz",
    ]


@pytest.fixture
def stored(s3_server, bucket, artifacts) -> str:
    """A bucket with the artifacts in it."""
    for path in artifacts.iterdir():
        s3_server.client().put_object(Bucket=bucket, Key=path.name, Body=path.read_bytes())
    return bucket


def _portal_fixtures(folder: Path) -> None:
    """As the portal's own tests make them: no type of the graph, and only two of the four compiled files."""
    manifest = json.dumps({"model_graph": {"stages": [{"type": "mochi"}]}, "input_shape": [1, 3, 224, 224]}).encode()
    trained = {
        "config.yaml": models.CONFIG,
        "export_artifacts/manifest.json": manifest,
        "export_artifacts/model.pt": b"weights",
    }
    compiled = {"compiled.so": b"code", "compiled.params": b"weights"}
    for name, files in {"portal-trained": trained, "portal-compiled": compiled}.items():
        models.archive(folder / f"{name}.tar.gz", [models.small(*each) for each in files.items()])


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def seen(folder: Path) -> list[str]:
    """The operations that telemetry recorded there."""
    lines = map(json.loads, (folder / "telemetry.jsonl").read_text().splitlines())
    return [line["Operation"] for line in lines if "_aws" in line]


# -- package ----------------------------------------------------------------------------------------------------------


def test_a_component_lies_under_its_key_and_holds_the_manifest_first_and_the_compiled_files_below_the_stage(
    asked, tmp_path
):
    done = packager(*asked, "--output", tmp_path / "out", "--json")
    assert (done.status, done.err) == (0, "")
    (name,) = files_below(tmp_path / "out")
    assert KEY.fullmatch(name)
    with zipfile.ZipFile(tmp_path / "out" / name) as component:
        assert component.namelist() == ["manifest.json", *(f"mochi/{each}" for each in NEO_FILES)]
        assert json.loads(component.read("manifest.json")) == done.document["manifest"]


def test_people_get_a_few_lines_and_nothing_on_standard_error_when_that_is_no_terminal(asked, tmp_path):
    done = packager(*asked, "--output", tmp_path)
    (name,) = files_below(tmp_path)
    sha256 = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    first, *rest = done.out.splitlines()
    assert first.startswith("jetson-xavier: packaged in ")
    assert rest == [f"    {tmp_path / name}", f"    SHA-256 {sha256}"]
    assert (done.status, done.err) == (0, "")


def test_the_json_document_has_every_key_and_true_figures(asked, tmp_path):
    document = packager(*asked, "--output", tmp_path, "--json").document
    (name,) = files_below(tmp_path)
    content = (tmp_path / name).read_bytes()
    (component,) = document["components"]
    assert component.pop("duration_s") >= 0
    assert component == {
        "target": "jetson-xavier",
        "status": "packaged",
        "uri": str(tmp_path / name),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "files": 1 + len(NEO_FILES),
        "strategy": "streaming",
        "warnings": [],
        "error": None,
    }
    assert document.keys() == {"components", "manifest", "peak_scratch_bytes", "left", "error"}
    assert (document["peak_scratch_bytes"], document["left"], document["error"]) == (0, [], None)


def test_one_target_that_fails_leaves_the_others_whole(asked, artifacts, tmp_path):
    done = packager(*asked, "--compiled", f"x86_64-cpu={artifacts}/cut.tar.gz", "--output", tmp_path, "--json")
    whole, failed = done.document["components"]
    assert done.status == 1
    assert (whole["status"], failed["status"]) == ("packaged", "failed")
    assert files_below(tmp_path) == [str(Path(whole["uri"]).relative_to(tmp_path))]
    assert failed["error"]["type"] == "ExtractionError"
    assert {"message", "next_step", "packed_bytes"} <= failed["error"].keys()
    assert failed["uri"] is failed["sha256"] is failed["size_bytes"] is None


def test_when_every_target_fails_nothing_is_written_and_people_read_why(artifacts, tmp_path):
    trained, cut = artifacts / "trained.tar.gz", artifacts / "cut.tar.gz"
    done = packager("package", "--trained", trained, "--compiled", f"arm64-cpu={cut}", "--output", tmp_path / "out")
    assert done.status == 1
    assert "arm64-cpu: FAILED" in done.out
    assert "ends too early" in done.out
    assert not (tmp_path / "out").exists()


def test_a_trained_artifact_that_cannot_be_read_is_the_error_of_the_whole(artifacts, tmp_path):
    compiled = f"arm64-cpu={artifacts}/jetson.tar.gz"
    done = packager(
        "package", "--trained", tmp_path / "none", "--compiled", compiled, "--output", tmp_path / "out", "--json"
    )
    assert done.status == 1
    assert [each["status"] for each in done.document["components"]] == ["failed"]
    assert done.document["components"][0]["error"]["type"] == "ArtifactNotFoundError"
    assert not (tmp_path / "out").exists()


def test_the_same_input_gives_the_same_bytes_under_the_same_key_wherever_it_goes(asked, tmp_path):
    for folder in ("one", "other"):
        assert packager(*asked, "--output", tmp_path / folder).status == 0
    (one,), (other,) = files_below(tmp_path / "one"), files_below(tmp_path / "other")
    assert one == other
    assert (tmp_path / "one" / one).read_bytes() == (tmp_path / "other" / other).read_bytes()


def test_files_and_file_uris_are_the_same(asked, artifacts, tmp_path):
    asked[2] = (artifacts / "trained.tar.gz").as_uri()
    asked[4] = f"jetson-xavier={(artifacts / 'jetson.tar.gz').as_uri()}"
    assert packager(*asked, "--output", tmp_path.as_uri(), "--json").status == 0
    plain = packager("package", "--trained", artifacts / "trained.tar.gz", *asked[3:], "--output", tmp_path, "--json")
    assert plain.document["components"][0]["status"] == "already_there"


def test_what_is_there_already_is_said_with_its_checksum_and_force_packages_it_again(asked, tmp_path):
    first, second, forced = (
        packager(*asked, "--output", tmp_path, "--json", *more).document["components"][0]
        for more in ([], [], ["--force"])
    )
    assert [each["status"] for each in (first, second, forced)] == ["packaged", "already_there", "packaged"]
    assert len({(each["uri"], each["sha256"], each["size_bytes"]) for each in (first, second, forced)}) == 1


def test_a_component_that_breaks_rules_is_packaged_with_warnings_and_refused_when_strict(artifacts, tmp_path):
    asked = ["package", "--trained", f"{artifacts}/portal-trained.tar.gz"]
    asked += ["--compiled", f"jetson-xavier={artifacts}/portal-compiled.tar.gz", "--json"]
    warned = packager(*asked, "--output", tmp_path / "out")
    (component,) = warned.document["components"]
    assert warned.status == 0
    assert [each["rule"] for each in component["warnings"]] == FIXTURES_BREAK
    refused = packager(*asked, "--output", tmp_path / "strict", "--strict")
    assert refused.status == 1
    error = refused.document["components"][0]["error"]
    assert error["type"] == "ComponentRefusedError"
    assert error["findings"] == component["warnings"]
    assert not (tmp_path / "strict").exists()


def test_one_onnx_export_serves_three_targets_with_one_component(artifacts, tmp_path):
    compiled = f"onnx={artifacts}/onnx.tar.gz"
    trained = artifacts / "trained.tar.gz"
    done = packager("package", "--trained", trained, "--compiled", compiled, "--output", tmp_path, "--json")
    components = done.document["components"]
    assert [each["target"] for each in components] == [each.name for each in SERVED_BY_COMPILED_ONNX]
    assert {each["uri"] for each in components} == {str(tmp_path / name) for name in files_below(tmp_path)}
    with zipfile.ZipFile(components[0]["uri"]) as component:
        assert component.namelist() == ["manifest.json", "mochi/model.onnx"]
        assert json.loads(component.read("manifest.json"))["runtime_artifact"] == "model.onnx"


def test_an_imported_onnx_model_serves_four_targets_or_those_that_are_named(artifacts, tmp_path):
    asked = ["package", "--trained", f"{artifacts}/imported.tar.gz", "--output", tmp_path, "--json"]
    every = packager(*asked).document["components"]
    assert [each["target"] for each in every] == [each.name for each in SERVED_BY_IMPORTED_ONNX]
    one = packager(*asked, "--target", "x86_64-cpu").document["components"]
    assert [(each["target"], each["uri"]) for each in one] == [("x86_64-cpu", every[0]["uri"])]


@pytest.mark.parametrize("strategy", ["streaming", "standard", "sequential", "partial"])
def test_every_strategy_gives_the_same_bytes_and_leaves_scratch_empty(asked, tmp_path, strategy):
    (tmp_path / "scratch").mkdir()
    auto = packager(*asked, "--output", tmp_path / "auto", "--json").document["components"][0]
    done = packager(
        *(*asked, "--output", tmp_path / "out", "--strategy", strategy, "--json"),
        SCRATCH_DIR=str(tmp_path / "scratch"),
    )
    (component,) = done.document["components"]
    assert (component["status"], component["strategy"]) == ("packaged", strategy)
    assert component["sha256"] == auto["sha256"]
    assert (done.document["peak_scratch_bytes"] > 0) == (strategy in {"standard", "sequential"})
    assert list((tmp_path / "scratch").iterdir()) == []


# -- plan -------------------------------------------------------------------------------------------------------------


def test_plan_says_what_every_strategy_would_take_and_writes_nothing(asked, artifacts, tmp_path):
    planned = packager("plan", *asked[1:], "--output", tmp_path / "out", "--json")
    (component,) = planned.document["components"]
    made = packager(*asked, "--output", tmp_path / "made", "--json").document["components"][0]
    assert (planned.status, planned.err) == (0, "")
    assert component["targets"] == ["jetson-xavier"]
    assert component["bytes_in"] == (artifacts / "jetson.tar.gz").stat().st_size
    assert component["files"] == len(NEO_FILES)
    assert made["size_bytes"] == pytest.approx(component["bytes_out"], rel=0.1)
    strategies = {each["name"]: each for each in planned.document["strategies"]}
    assert strategies.keys() == {"streaming", "standard", "sequential", "partial"}
    assert strategies["streaming"]["scratch_bytes"] == 0
    assert strategies["standard"]["scratch_bytes"] >= 0.9 * component["bytes_out"]  # packed
    assert planned.document["strategy"] == made["strategy"]
    assert planned.document["fits"] is True
    assert not (tmp_path / "out").exists()


def test_plan_tells_people_the_choice_and_the_reason(asked, tmp_path):
    done = packager("plan", *asked[1:], "--output", tmp_path / "out")
    assert "Strategy: streaming (no scratch and constant memory)" in done.out.splitlines()
    assert packager("plan", *asked[1:], "--compiled", "toaster=x", "--output", tmp_path).status == 2


# -- S3 ---------------------------------------------------------------------------------------------------------------


def test_s3_to_s3_gives_the_bytes_that_files_give_and_reads_nothing_the_second_time(
    asked, s3_server, stored, artifacts, tmp_path
):
    wanted = ["package", "--trained", f"s3://{stored}/trained.tar.gz"]
    wanted += ["--compiled", f"jetson-xavier=s3://{stored}/jetson.tar.gz"]
    wanted += ["--output", f"s3://{stored}/some/prefix", "--endpoint-url", s3_server.endpoint_url, "--json"]
    first = packager(*wanted, "--telemetry", tmp_path / "first").document["components"][0]
    second = packager(*wanted, "--telemetry", tmp_path / "second").document["components"][0]
    local = packager(*asked, "--output", tmp_path / "out", "--json").document["components"][0]
    prefix = f"s3://{stored}/some/prefix/"
    assert first["uri"].startswith(prefix)
    assert KEY.fullmatch(first["uri"].removeprefix(prefix))
    body = s3_server.client().get_object(Bucket=stored, Key=first["uri"].removeprefix(f"s3://{stored}/"))["Body"].read()
    assert hashlib.sha256(body).hexdigest() == first["sha256"] == second["sha256"] == local["sha256"]
    assert (first["status"], second["status"]) == ("packaged", "already_there")
    assert "ReadArtifact" in seen(tmp_path / "first")
    assert not {"ReadArtifact", "WriteComponent"} & set(seen(tmp_path / "second"))


ASKED_OF_S3 = {
    "S3_ENCRYPTION": ("aws:kms", "x-amz-server-side-encryption"),
    "S3_KMS_KEY_ID": ("alias/models", "x-amz-server-side-encryption-aws-kms-key-id"),
    "S3_BUCKET_KEY": ("true", "x-amz-server-side-encryption-bucket-key-enabled"),
    "S3_ACL": ("bucket-owner-full-control", "x-amz-acl"),
    "S3_STORAGE_CLASS": ("STANDARD_IA", "x-amz-storage-class"),
    "S3_TAGS": ("team=vision&stage=prod", "x-amz-tagging"),
}


def test_a_bucket_whose_policy_demands_what_enterprises_demand_takes_what_asks_for_it(
    s3_server, bucket, stored, tmp_path
):
    arguments = [
        "package",
        "--trained",
        f"s3://{stored}/trained.tar.gz",
        "--compiled",
        f"jetson-xavier=s3://{stored}/jetson.tar.gz",
    ]
    arguments += ["--output", f"s3://{bucket}/strict", "--force"]
    creating = {header: value for value, header in ASKED_OF_S3.values()}
    everywhere = {"x-amz-request-payer": "requester"}
    with faults.faulty_proxy(s3_server.endpoint_url) as proxy:
        for operation in ("PutObject", "CreateMultipartUpload"):
            proxy.break_next(
                operation,
                faults.refuse(403, "AccessDenied"),
                times=1000,
                where=faults.lacks({**creating, **everywhere}),
            )
        for operation in ("GetObject", "HeadObject", "UploadPart", "CompleteMultipartUpload"):
            proxy.break_next(operation, faults.refuse(403, "AccessDenied"), times=1000, where=faults.lacks(everywhere))
        arguments += ["--endpoint-url", proxy.endpoint_url, "--set", "S3_REQUESTER_PAYS=true"]
        refused = packager(*arguments)
        assert refused.status == 1
        assert "encryption" in refused.out
        given = [part for name, (value, _) in ASKED_OF_S3.items() for part in ("--set", f"{name}={value}")]
        done = packager(*arguments, *given)
        assert (done.status, done.err) == (0, "")


def test_a_limit_of_one_run_is_the_one_that_its_error_names(artifacts, tmp_path):
    arguments = ["inspect", str(artifacts / "trained.tar.gz"), "--json"]
    assert packager(*arguments).status == 0
    refused = packager(*arguments, "--set", "MAX_ARCHIVE_MEMBERS=1")
    assert refused.status == 1
    assert "MAX_ARCHIVE_MEMBERS = 1" in refused.document["findings"][0]["message"]
    for wrong in ("MAX_ARCHIVE_MEMBER=1", "MAX_ARCHIVE_MEMBERS", "MAX_ARCHIVE_MEMBERS=many", "S3_ACL=+", "PATH=/"):
        assert packager(*arguments, "--set", wrong).status == 2


def test_a_missing_object_or_bucket_is_a_failure_with_its_name(s3_server, stored, artifacts, tmp_path):
    for where in (f"s3://{stored}/none.tar.gz", "s3://no-such-bucket/jetson.tar.gz"):
        done = packager(
            *("package", "--trained", artifacts / "trained.tar.gz", "--compiled", f"jetson-xavier={where}"),
            *("--output", tmp_path, "--endpoint-url", s3_server.endpoint_url, "--json"),
        )
        assert done.status == 1
        assert done.document["components"][0]["error"]["type"] == "ArtifactNotFoundError"
        assert where in done.document["components"][0]["error"]["message"]


# -- what is seen while it runs ---------------------------------------------------------------------------------------


def on_a_terminal(*arguments: object) -> Done:
    """Run with standard error on a terminal, standard output in a pipe."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [PACKAGER, *map(os.fspath, arguments)],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other side was closed
                break
        out, _ = process.communicate()
    os.close(ours)
    return Done(process.returncode, out.decode(), shown.decode())


def test_people_at_a_terminal_see_a_bar_with_bytes_speed_and_time_left_and_results_stay_apart(
    artifacts, large, tmp_path
):
    asked = ["package", "--trained", artifacts / "trained.tar.gz", "--compiled", f"jetson-xavier={large}"]
    done = on_a_terminal(*asked, "--output", tmp_path, "--json")
    assert done.status == 0
    assert "jetson-xavier" in done.err
    assert re.search(r"\d+\.\d/\d+\.\d MiB", done.err)
    assert re.search(r"\d+\.\d MB/s", done.err)
    assert re.search(r"\d:\d\d:\d\d", done.err)
    assert done.document["components"][0]["status"] == "packaged"


def test_telemetry_and_the_tree_of_spans_are_written_where_they_were_asked_for(asked, tmp_path):
    done = packager(*asked, "--output", tmp_path / "out", "--telemetry", tmp_path / "telemetry", "--trace", "--json")
    assert done.document["components"][0]["status"] == "packaged"
    assert files_below(tmp_path / "telemetry") == ["spans.jsonl", "telemetry.jsonl"]
    assert done.err.startswith("package request ")
    assert "write component" in done.err
    operations = seen(tmp_path / "telemetry")
    for once in ("PackageRequest", "PackageTarget", "CreateManifest", "ZipComponent", "WriteComponent"):
        assert operations.count(once) == 1, once
    checked = subprocess.run(
        [sys.executable, "-m", "telemetry", "check", tmp_path / "telemetry" / "telemetry.jsonl"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


# -- signals ----------------------------------------------------------------------------------------------------------


def stopped(arguments: list[object], number: signal.Signals, *, once: Callable[[], bool]) -> Done:
    """Send the signal as soon as `once` holds."""
    with subprocess.Popen(
        [PACKAGER, *map(os.fspath, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background of a shell has them ignore SIGINT, and their children with them.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  no thread of ours is in the way
    ) as process:
        until = time.monotonic() + 60
        while not once():
            assert process.poll() is None, "it ended before the signal could be sent"
            assert time.monotonic() < until
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out.decode(), err.decode())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_file_and_no_folder(artifacts, large, tmp_path, number):
    out = tmp_path / "out"
    asked = ["package", "--trained", artifacts / "trained.tar.gz", "--compiled", f"jetson-xavier={large}"]
    done = stopped([*asked, "--output", out], number, once=lambda: out.is_dir() and any(out.iterdir()))
    assert done.status not in {0, 2}
    assert "Traceback" not in done.err
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_object_and_no_open_upload(s3_server, bucket, artifacts, large, number):
    client = s3_server.client()
    uploads = lambda: client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])  # noqa: E731  asked again and again
    asked = ["package", "--trained", artifacts / "trained.tar.gz", "--compiled", f"jetson-xavier={large}"]
    asked += ["--output", f"s3://{bucket}", "--endpoint-url", s3_server.endpoint_url]
    done = stopped(asked, number, once=lambda: bool(uploads()))
    assert done.status not in {0, 2}
    assert "Traceback" not in done.err
    assert uploads() == []
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


# -- wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"--compiled": "toaster={folder}/jetson.tar.gz"}, "There is no target 'toaster'."),
        ({"--compiled": "jetson-xavier"}, "is not of the form TARGET=URI"),
        ({"--compiled": "jetson-xavier="}, "is not of the form TARGET=URI"),
        ({"--trained": "ftp://example.org/model.tar.gz"}, "this kind of URI is not spoken here"),
        ({"--trained": "s3://bucket/"}, "it names no object"),
        ({"--trained": "s3://"}, "is no name of a bucket"),
        ({"--trained": ""}, "it is no path and no URI"),
        ({"--output": "https://example.org"}, "this kind of URI is not spoken here"),
        ({"--strategy": "fast"}, "'fast' is not one of"),
        ({"--target": "x86_64-cpu"}, "together with compiled artifacts"),
        ({"--target": "toaster", "--compiled": None}, "There is no target 'toaster'."),
        ({"--trained": None}, "Missing option '--trained'"),
        ({"--output": None}, "Missing option '--output'"),
        ({"--fast": "yes"}, "No such option"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_wrong_without_touching_anything(artifacts, tmp_path, changed, says):
    given = {
        "--trained": "{folder}/trained.tar.gz",
        "--compiled": "jetson-xavier={folder}/jetson.tar.gz",
        "--output": str(tmp_path / "out"),
        **changed,
    }
    arguments = [part for option, value in given.items() if value is not None for part in (option, value)]
    done = packager("package", *(each.replace("{folder}", str(artifacts)) for each in arguments))
    assert done.status == 2
    assert says in done.err
    assert done.out == ""
    assert not (tmp_path / "out").exists()


def test_a_target_named_twice_is_wrong_use(asked, artifacts, tmp_path):
    done = packager(*asked, "--compiled", f"jetson-xavier={artifacts}/x86.tar.gz", "--output", tmp_path / "out")
    assert done.status == 2
    assert "The target 'jetson-xavier' is named twice." in done.err


def test_wrong_use_is_in_the_document_that_machines_asked_for(asked, artifacts, tmp_path):
    done = packager(*asked, "--compiled", f"toaster={artifacts}/x86.tar.gz", "--output", tmp_path / "out", "--json")
    assert done.status == 2
    assert done.document["components"] == []
    assert done.document["error"]["type"] == "RequestError"
    assert "jetson-xavier" in done.document["error"]["known"]


def test_a_setting_that_cannot_be_used_is_wrong_use_and_named(asked, tmp_path):
    done = packager(*asked, "--output", tmp_path / "out", MAX_CONCURRENT_OPERATIONS="0")
    assert done.status == 2
    assert "MAX_CONCURRENT_OPERATIONS is 0; it must be at least 1." in done.err


@pytest.mark.parametrize(
    ("endpoint_url", "environment"),
    [("nonsense", {}), ("http://[", {}), ("http://127.0.0.1:1", {"AWS_PROFILE": "no-such-profile"})],
)
def test_a_client_of_s3_that_cannot_be_made_is_an_error_of_ours(endpoint_url, environment):
    done = packager("inspect", "s3://bucket/key", "--endpoint-url", endpoint_url, "--json", **environment)
    assert done.status in {1, 2}
    assert done.document["error"]["message"]
    assert "Traceback" not in done.err


def test_a_limit_of_the_settings_is_kept(asked, tmp_path):
    done = packager(*asked, "--output", tmp_path / "out", "--json", MAX_ARCHIVE_MEMBERS="3")
    assert done.status == 1
    error = done.document["components"][0]["error"]
    assert (error["type"], error["setting"], error["limit"]) == ("LimitExceededError", "MAX_ARCHIVE_MEMBERS", 3)


# -- inspect, check, recipe -------------------------------------------------------------------------------------------


def test_inspect_lists_members_and_sizes_and_ends_with_0_for_a_sound_archive(artifacts):
    done = packager("inspect", artifacts / "jetson.tar.gz")
    *members, total = done.out.splitlines()
    assert [line.split()[1:] for line in members] == [["file", name] for name in NEO_FILES]
    assert total.startswith("5 members, ")
    assert (done.status, done.err) == (0, "")


def test_inspect_gives_the_same_as_json_from_s3(artifacts, s3_server, stored):
    local = packager("inspect", artifacts / "jetson.tar.gz", "--json").document
    done = packager("inspect", f"s3://{stored}/jetson.tar.gz", "--endpoint-url", s3_server.endpoint_url, "--json")
    assert done.status == 0
    assert {**done.document, "uri": ""} == {**local, "uri": ""}
    assert local["packed_bytes"] == (artifacts / "jetson.tar.gz").stat().st_size
    assert local["files"] == len(NEO_FILES)


def test_inspect_ends_with_1_for_a_damaged_archive_and_shows_what_is_left_of_it(artifacts):
    done = packager("inspect", artifacts / "cut.tar.gz", "--json")
    assert done.status == 1
    assert [each["rule"] for each in done.document["findings"]] == ["ExtractionError"]
    assert [each["name"] for each in done.document["members"]] == NEO_FILES[:2]


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_what_is_not_there_is_a_failure_also_for_machines(tmp_path, command):
    done = packager(command, tmp_path / "none", "--json")
    assert done.status == 1
    assert done.document["error"]["type"] == "ArtifactNotFoundError"
    assert done.err.startswith("Error: ")


@pytest.fixture
def component(asked, tmp_path) -> Path:
    return Path(packager(*asked, "--output", tmp_path / "sound", "--json").document["components"][0]["uri"])


@pytest.fixture
def broken_component(artifacts, tmp_path) -> Path:
    asked = ["package", "--trained", f"{artifacts}/portal-trained.tar.gz"]
    asked += ["--compiled", f"jetson-xavier={artifacts}/portal-compiled.tar.gz", "--output", tmp_path / "broken"]
    return Path(packager(*asked, "--json").document["components"][0]["uri"])


def test_check_takes_what_a_device_takes(component):
    done = packager("check", component, "--target", "jetson-xavier", "--strict")
    assert (done.status, done.out, done.err) == (0, "A device would take this component.\n", "")


def test_check_names_every_broken_rule_once_and_fails_only_when_strict(broken_component):
    done = packager("check", broken_component)
    *findings, total = done.out.splitlines()
    assert [line.split(": ")[:2] for line in findings] == [["warning", rule] for rule in FIXTURES_BREAK]
    assert total == "4 rules are broken."
    assert done.status == 0
    assert packager("check", broken_component, "--strict").status == 1
    document = packager("check", broken_component, "--json").document
    assert [each["rule"] for each in document["findings"]] == FIXTURES_BREAK
    assert all(each["next_step"] for each in document["findings"])


def test_check_reads_a_component_in_s3_and_knows_what_a_target_needs(component, s3_server, bucket):
    s3_server.client().put_object(Bucket=bucket, Key=component.name, Body=component.read_bytes())
    asked = ["check", f"s3://{bucket}/{component.name}", "--endpoint-url", s3_server.endpoint_url, "--json"]
    assert packager(*asked).document["findings"] == []
    found = packager(*asked, "--target", "onnx-jetson-xavier-jp6").document["findings"]
    assert [each["rule"] for each in found] == ["target-runtime"]
    assert packager(*asked, "--target", "toaster").status == 2


def test_check_of_a_damaged_component_is_a_failure(component):
    content = bytearray(component.read_bytes())
    content[len(content) // 2] ^= 1
    component.write_bytes(content)
    done = packager("check", component)
    assert done.status == 1
    assert done.err.startswith("Error: ")
    assert done.out == ""


@pytest.fixture
def published(component, s3_server, bucket) -> tuple[object, ...]:
    """The options that name where a component is published, and reach it there."""
    s3_server.client().put_object(Bucket=bucket, Key=component.name, Body=component.read_bytes())
    return "--published-as", f"s3://{bucket}/{component.name}", "--endpoint-url", s3_server.endpoint_url


RECIPE = ("--name", "model-line-3", "--version", "2.0.0", "--target")


def test_recipe_is_what_greengrass_publishes(component, published):
    uri = published[1]
    done = packager("recipe", component, *RECIPE, "jetson-xavier-jp6", *published)
    assert done.status == 0
    artifact = done.document["Manifests"][0]["Artifacts"][0]
    assert artifact["Uri"] == uri
    assert base64.b64decode(artifact["Digest"]) == hashlib.sha256(component.read_bytes()).digest()
    assert "aws.edgeml.dda.LocalServer.arm64JP6" in done.document["ComponentDependencies"]


def test_recipe_of_a_component_in_s3_needs_no_second_name(component, s3_server, bucket):
    s3_server.client().put_object(Bucket=bucket, Key=component.name, Body=component.read_bytes())
    uri = f"s3://{bucket}/{component.name}"
    asked = ["recipe", uri, "--name", "model-a", "--version", "1.0.0", "--target", "arm64-cpu"]
    done = packager(*asked, "--endpoint-url", s3_server.endpoint_url)
    assert done.document["Manifests"][0]["Artifacts"][0]["Uri"] == uri


def test_recipe_refuses_a_damaged_component_and_one_of_another_kind(artifacts, component, published, tmp_path):
    damaged = tmp_path / component.name
    whole = component.read_bytes()
    damaged.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    done = packager("recipe", damaged, *RECIPE, "jetson-xavier", *published)
    assert (done.status, done.out) == (1, "")
    assert "is damaged" in done.err
    for target, says in (("x86_64-cpu", "not for amd64"), ("onnx-jetson-xavier-jp5", "ONNX")):
        done = packager("recipe", component, *RECIPE, target, *published)
        assert (done.status, done.out) == (2, "")
        assert f"not made for {target}" in done.err
        assert says in done.err
    asked = ["package", "--trained", f"{artifacts}/imported.tar.gz", "--output", tmp_path / "onnx", "--json"]
    onnx = packager(*asked).document["components"][0]["uri"]
    assert "which this target does not run" in packager("recipe", onnx, *RECIPE, "jetson-xavier", *published).err
    named = ["--layout", "files", "--name", "n", "--version", "1.0.0", "--prefix", "below"]
    files = packager("package", "--model", onnx, *named, "--output", tmp_path / "files", "--json").document[
        "components"
    ][0]["uri"]
    for target in ("jetson-xavier", "onnx-jetson-xavier-jp6"):
        done = packager("recipe", files, *RECIPE, target, *published)
        assert (done.status, done.out) == (2, "")
        assert "no readable manifest.json" in done.err


def test_recipe_refuses_a_place_with_nothing_or_something_else(component, published, s3_server, bucket):
    _, uri, *endpoint = published
    nothing = uri.replace(component.name, f"other/{component.name}")
    done = packager("recipe", component, *RECIPE, "jetson-xavier", "--published-as", nothing, *endpoint)
    assert (done.status, done.out) == (2, "")
    assert "There is nothing at" in done.err
    other = bytes(len(component.read_bytes()))
    s3_server.client().put_object(Bucket=bucket, Key=component.name, Body=other)
    done = packager("recipe", component, *RECIPE, "jetson-xavier", *published)
    assert (done.status, done.out) == (2, "")
    assert "Another file" in done.err


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"--name": "line-3"}, "Greengrass takes at most"),
        ({"--version": "1.2.3"}, "is not N.0.0"),
        ({"--target": "toaster"}, "There is no target 'toaster'."),
        ({"--published-as": "bucket/key"}, "is not an s3:// URI"),
        ({"--published-as": "s3://bucket/other.zip"}, "is not named"),
    ],
)
def test_recipe_refuses_what_greengrass_would_refuse(component, published, changed, says):
    options = dict(zip(published[::2], published[1::2], strict=True))
    given = {"--name": "model-line-3", "--version": "1.0.0", "--target": "jetson-xavier", **options, **changed}
    done = packager("recipe", component, *(part for option in given.items() for part in option))
    assert done.status == 2
    assert says in done.err
    assert done.out == ""


# -- untrusted text ---------------------------------------------------------------------------------------------------


def unprintable(text: str) -> set[str]:
    return {each for each in text if not each.isprintable() and each not in "\r\n"}


def test_control_characters_of_members_and_arguments_never_reach_a_terminal(asked, artifacts, tmp_path):
    hostile = models.archive(tmp_path / f"{ESCAPE}.tar.gz", [models.small(f"compiled{ESCAPE}.so", b"code")])
    portal = shutil.copy(artifacts / "portal-trained.tar.gz", tmp_path / f"trained{ESCAPE}.tar.gz")
    every = [
        ["inspect", hostile],
        ["inspect", hostile, "--json"],
        ["inspect", tmp_path / f"none{ESCAPE}"],
        ["check", hostile],
        ["check", hostile, "--target", ESCAPE],
        ["recipe", hostile, "--name", ESCAPE, "--version", ESCAPE, "--target", ESCAPE],
        ["package", "--trained", portal, "--compiled", f"jetson-xavier={hostile}", "--output", tmp_path / ESCAPE],
        ["package", "--trained", portal, "--compiled", f"{ESCAPE}={hostile}", "--output", tmp_path / ESCAPE],
        [*asked, "--output", f"s3://{ESCAPE}"],
        [*asked, "--output", tmp_path / ESCAPE, "--json", "--trace"],
        ["package", ESCAPE],
        [ESCAPE],
    ]
    for arguments in every:
        done = packager(*arguments)
        assert not unprintable(done.out + done.err), (arguments, done)


def test_control_characters_of_the_output_never_reach_a_terminal(asked, tmp_path):
    assert not unprintable(packager(*asked, "--output", tmp_path / ESCAPE).out)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["package", "--help"], ["plan", "-h"], ["inspect", "-h"], ["check", "-h"]]
)
def test_help_is_a_result(arguments):
    done = packager(*arguments)
    assert done.status == 0
    assert done.out.startswith("Usage: packager")
    assert done.err == ""


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version  # noqa: PLC0415  only here

    shown = subprocess.run([PACKAGER, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.split()[-1] == version("edge-model-packager")
    assert shown == packager("--version").out


def test_the_console_script_itself_packages(asked, tmp_path):
    done = subprocess.run([PACKAGER, *asked, "--output", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("jetson-xavier: packaged in ")
