"""Standard input and output in place of files: the same component, or an error that says what to do."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import yaml

import packager
from tests.packages import Model, content, ground, tar

PROGRAM = Path(sys.executable).with_name("packager")
MODEL = Model({"model.onnx": 900_000, "labels.txt": 20})
NAMED = ("--layout", "files", "--name", "com.example.n", "--version", "1.0.0")
FORMS = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "tar": bytes}


@pytest.fixture
def here():
    with ground() as made:
        yield made


def run(*arguments, piped=b"", cwd=None):
    command = [str(each) for each in (PROGRAM, *arguments)]
    return subprocess.run(command, input=piped, capture_output=True, check=False, timeout=60, cwd=cwd)


def component_of(here, archive):
    path = here.root / "model.tar"
    path.write_bytes(archive)
    (made,) = packager.package(
        str(path), {}, str(here.root / "from-file"), layout="files", name="com.example.n", version="1.0.0"
    ).components
    return made


@pytest.mark.parametrize("form", FORMS)
def test_what_is_piped_in_and_out_is_the_component_that_the_file_gives(here, form):
    archive = FORMS[form](tar(MODEL.files))
    expected = component_of(here, archive)
    out = run("package", *NAMED, "--model", "-", "--output", "-", "--json", piped=archive)
    assert out.returncode == 0, out.stderr
    assert out.stdout == Path(expected.uri).read_bytes()
    (made,) = json.loads(out.stderr)["components"]
    assert (made["uri"], made["sha256"], made["size_bytes"]) == ("-", expected.sha256, expected.size_bytes)
    stored = run("package", *NAMED, "--model", "-", "--output", here.out, "--json", piped=archive)
    (made,) = json.loads(stored.stdout)["components"]
    assert made["sha256"] == expected.sha256
    assert Path(made["uri"]).relative_to(here.out) == Path(expected.uri).relative_to(here.root / "from-file")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("piped_bytes", [100_000, 3 << 20])
def test_a_signal_while_the_pipe_is_silent_ends_it_and_leaves_nothing(here, number, piped_bytes):
    archive = tar({"model.onnx": content(8 << 20)})
    command = [PROGRAM, "package", *NAMED, "--model", "-", "--output", here.out]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(archive[:piped_bytes])
        process.stdin.flush()
        for _ in range(600):
            if any(Path(here.out).rglob("*.zip")):
                break
            time.sleep(0.05)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) == 128 + number, said
    assert b"Traceback" not in said
    assert [path for path in Path(here.out).rglob("*") if path.is_file()] == []


def test_a_component_that_fails_half_way_is_no_zip_and_one_error(here):
    archive = MODEL.archive()
    out = run("package", *NAMED, "--model", "-", "--output", "-", piped=archive[:-20])
    assert out.returncode == 1
    assert not zipfile.is_zipfile(BytesIO(out.stdout))
    assert b"Traceback" not in out.stderr
    again = run("package", *NAMED, "--model", "-", "--output", here.out, piped=archive[:-20])
    assert again.returncode == 1
    assert here.published() == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "-", "--output", "s3://bucket"], "cannot go to S3"),
        (["--model", "-", "--recipe", "-", "--output", "out"], "cannot be both"),
        (["--model", "m.tar.gz", "--recipe", "model", "--output", "-"], "no recipe beside it"),
    ],
)
def test_streams_that_cannot_be_are_wrong_use(here, arguments, said):
    done = run("package", *NAMED, *arguments, cwd=here.root)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.decode().split())


@pytest.mark.parametrize("piped", [b"", b"no archive at all", MODEL.files["model.onnx"]])
def test_what_is_no_tar_is_refused_from_a_pipe(here, piped):
    done = run("package", *NAMED, "--model", "-", "--output", here.out, piped=piped)
    assert done.returncode == 1
    assert b"Write it to a file first" in done.stderr + done.stdout
    assert here.published() == set()


def test_strategies_that_read_twice_say_so_and_end(here):
    done = run("package", *NAMED, "--model", "-", "--output", here.out, "--strategy", "standard", piped=MODEL.archive())
    assert done.returncode == 1
    assert b"Standard input cannot be read twice" in done.stdout


@pytest.mark.parametrize("closed", ["--model - --output out <&-", "--model m.tar.gz --output - >&-"])
def test_a_stream_that_is_closed_is_wrong_use(here, closed):
    (here.root / "m.tar.gz").write_bytes(MODEL.archive())
    command = f"{PROGRAM} package {' '.join(NAMED)} {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=here.root, stderr=subprocess.PIPE, check=False, timeout=60)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("reader", ["> /dev/full", "| head -c 10 > /dev/null; exit ${PIPESTATUS[0]}"])
def test_a_reader_that_takes_no_more_is_one_error(here, reader):
    (here.root / "m.tar.gz").write_bytes(MODEL.archive())
    command = f"{PROGRAM} package {' '.join(NAMED)} --model m.tar.gz --output - {reader}"
    done = subprocess.run(["bash", "-c", command], cwd=here.root, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count(b"Standard output cannot be written") == 1
    assert b"Traceback" not in done.stderr


def test_a_trained_artifact_and_a_plan_take_no_pipe(here):
    trained = run("package", "--trained", "-", "--compiled", "arm64-cpu=x", "--output", here.out)
    planned = run("plan", *NAMED, "--model", "-", "--output", here.out)
    assert (trained.returncode, planned.returncode) == (2, 2)


def test_what_is_no_tar_gz_is_named_when_it_is_inspected_from_a_pipe():
    done = run("inspect", "-", piped=lzma.compress(tar(MODEL.files)))
    assert (done.returncode, b"xz" in done.stdout) == (1, True)
    assert b"empty" not in done.stdout


def test_archives_and_recipes_are_looked_at_from_a_pipe(here):
    listed = run("inspect", "-", piped=MODEL.archive())
    assert listed.returncode == 0, listed.stderr
    assert b"model.onnx" in listed.stdout
    template = run("recipe", "--show-template", "model").stdout
    assert (
        run("check", "-", piped=template.replace(b"Manifests", b"Manifest")).stdout.count(b"warning: recipe-keys") == 1
    )
    assert run("check", "-", piped=b"[]").stdout.endswith(b"\n1 rule is broken.\n")
    made = component_of(here, tar(MODEL.files))
    refused = run("bundle-local", "-", "--artifact", made.uri, "--output", here.root / "bundle", piped=b"[]")
    assert refused.stderr.startswith(b"Error: The recipe breaks its reference at 1 place: ")
    out = run("bundle-local", "-", "--artifact", made.uri, "--output", here.root / "bundle", piped=template)
    assert out.returncode == 0, out.stderr


def test_a_recipe_is_written_beside_the_component_in_the_format_of_the_template(here, s3_server, bucket):
    model = here.root / "model.tar.gz"
    model.write_bytes(MODEL.archive())
    asked = ("package", *NAMED, "--model", model, "--recipe", "onnxruntime")
    local = json.loads(run(*asked, "--output", here.out, "--json").stdout)
    (component,) = local["components"]
    recipe = yaml.safe_load(Path(local["recipe"]).read_text())
    assert Path(local["recipe"]) == Path(component["uri"]).with_name("com.example.n-1.0.0.yaml")
    assert (recipe["ComponentName"], recipe["ComponentVersion"]) == ("com.example.n", "1.0.0")
    endpoint = ("--endpoint-url", s3_server.endpoint_url)
    remote = json.loads(run(*asked, "--output", f"s3://{bucket}/p", *endpoint, "--json").stdout)
    key = remote["recipe"].removeprefix(f"s3://{bucket}/")
    body = s3_server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    (artifact,) = yaml.safe_load(body)["Manifests"][0]["Artifacts"]
    assert artifact["Uri"] == remote["components"][0]["uri"]
    assert run("check", local["recipe"], "--strict").returncode == 0


def test_a_template_of_which_no_recipe_can_come_is_refused_before_anything_is_packaged(here):
    model = here.root / "model.tar.gz"
    model.write_bytes(MODEL.archive())
    (here.root / "broken.yaml").write_text("RecipeFormatVersion: '2020-01-25'\nManifest: []\n")
    for template in (here.root / "broken.yaml", here.root / "none.yaml"):
        done = run("package", *NAMED, "--model", model, "--recipe", template, "--output", here.out)
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr
    assert here.published() == set()


def test_a_component_of_files_is_checked_by_the_rules_of_greengrass_alone(here):
    made = component_of(here, tar(MODEL.files))
    assert run("check", made.uri, "--strict").returncode == 1
    alone = run("check", made.uri, "--layout", "files", "--strict")
    assert (alone.returncode, alone.stdout) == (0, b"A device would take this component.\n")
    assert run("check", made.uri, "--layout", "files", "--target", "arm64-cpu").returncode == 2


def gone():
    """The end to write to of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("opened", [gone, lambda: os.open("/dev/full", os.O_WRONLY)], ids=["gone", "full"])
@pytest.mark.parametrize("errors", [subprocess.PIPE, subprocess.STDOUT], ids=["errors-apart", "errors-too"])
def test_a_comparison_that_nobody_could_read_is_not_told_as_a_difference(here, opened, errors):
    uri = component_of(here, tar(MODEL.files)).uri
    with zipfile.ZipFile(uri) as component:
        component.extractall(here.root / "unpacked")
    for compared in (["diff", uri, uri], ["verify", here.root / "unpacked", uri, "--json"], ["diff", uri, "absent"]):
        stdout = opened()
        done = subprocess.run([PROGRAM, *compared], stdout=stdout, stderr=errors, check=False, timeout=60)
        os.close(stdout)
        assert done.returncode == 3, (compared, done.stderr)
        assert b"Traceback" not in (done.stderr or b"")
