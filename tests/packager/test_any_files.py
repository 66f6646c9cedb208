"""The layout `files`: the files of any model, as they are, in a component."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.cli.commands import packager as command_line
from packager.device.compare import compare_components
from packager.device.recipe_template import read_template
from packager.device.unpacked import verify_unpacked
from packager.errors import ComponentRefusedError, ExtractionError, PackagerError, RequestError, UnsafeArchiveError
from packager.handler import handler
from packager.packaging import package
from packager.plan import plan
from packager.publishing.local import bundle_local
from packager.settings import FILES_LAYOUT, Settings, from_process_environment
from packager.stores import Stores, s3_client
from packager.stores.file import FileSource
from telemetry.engine.testing import recorded
from tests import archives
from tests.archive_strategies import paths, tars
from tests.packager.test_handler import Context
from tests.packages import Model, ground
from tests.schemas import validate

STRATEGIES = ("streaming", "standard", "sequential", "partial", "auto")
MODEL = Model({"model.onnx": 9000, "labels.txt": 20, "tokenizer/vocab.json": 3 << 20}, {"copy.onnx": "model.onnx"})
NAMED = {"layout": FILES_LAYOUT, "name": "com.example.Detector", "version": "1.2.0"}
few = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def make(here, model, **options):
    """The one result of packaging a model's files."""
    limits = Settings(scratch_dir=here.root / "scratch")
    result = package(model, {}, here.out, **{**NAMED, "force": True, "settings": limits, **options})
    assert result.manifest is None
    [made] = result.components
    assert result.error is None or made.error is result.error
    return made


def written(here, data, name="model.tar.gz"):
    path = here.root / name
    path.write_bytes(data)
    return str(path)


def files_of(uri):
    with zipfile.ZipFile(uri) as made:
        assert made.testzip() is None
        return {name: made.read(name) for name in made.namelist()}


def expected(packed):
    """The files of a tar as Python's own reader has them, in its order."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if content := archive.extractfile(member) if member.isreg() or member.islnk() else None:
                found["/".join(part for part in member.name.split("/") if part not in {"", "."})] = content.read()
    return found


@few
@given(tars(), st.just("") | paths.filter(lambda path: len(path) <= 500))
def test_a_component_holds_the_files_of_the_archive_in_order_by_every_strategy(packed, prefix):
    with ground() as here:
        uri = written(here, archives.gz(packed))
        files = expected(packed)
        made = [make(here, uri, prefix=prefix, strategy=each) for each in STRATEGIES[1:]]
        if not files:
            assert {type(each.error) for each in made} == {ExtractionError}
            assert here.published() == set()
            return
        assert {each.error for each in made} == {None}
        below = f"{prefix}/" if prefix else ""
        assert [*files_of(made[0].uri).items()] == [(below + name, content) for name, content in files.items()]
        assert len({(each.uri, each.sha256, each.files) for each in made}) == 1


def test_strategies_agree_on_a_model_with_a_large_file_and_the_plan_knows_its_size(here):
    uri = here.compiled(Model(MODEL.sizes_bytes))
    made = [make(here, uri, strategy=each) for each in STRATEGIES]
    assert {each.target for each in made} == {"com.example.Detector=1.2.0"}
    assert len({each.sha256 for each in made}) == 1
    linked = here.compiled(MODEL)
    for model, count in ((uri, 3), (linked, 4)):
        planned = plan(model, {}, here.out, **NAMED, prefix="a/b")
        done = make(here, model, prefix="a/b")
        [component] = planned.components
        assert (component.files, done.files, planned.fits) == (count, count, True)
        assert abs(done.size_bytes - component.bytes_out) <= 20 * (count - 3)  # about right, where there are links


@pytest.mark.parametrize(
    "kind",
    [
        "outside: '../evil'",
        "outside: '\\uff0e\\uff0e/evil'",
        *(each for each in archives.unsafe() if ":" not in each),
        "a file that says 2**60 bytes",
    ],
)
def test_hostile_archives_are_refused_as_in_every_layout(here, kind):
    data = {**archives.unsafe(), **archives.bombs()}[kind]
    assert isinstance(make(here, written(here, data), prefix="p").error, ExtractionError)
    assert here.published() == set()


def test_a_path_that_the_prefix_makes_too_long_is_refused(here):
    deep = "/".join(["d" * 200] * 14)
    made = make(here, written(here, archives.gz(archives.tar([(deep, b"x")]))), prefix="/".join(["p" * 100] * 3))
    assert isinstance(made.error, UnsafeArchiveError)


def test_only_the_rules_of_greengrass_are_asked(here):
    names = ("manifest.json", "model.py", "lib.so", "inference_runtimes.py")
    uri = written(here, archives.gz(archives.tar([(each, b"not what the server component takes") for each in names])))
    for _ in range(2):  # made, and found
        made = make(here, uri, strict=True, force=False)
        assert (made.error, made.warnings) == (None, ())
    assert made.status == "already_there"
    compiled = {"arm64-cpu": uri}
    refused = package(here.trained, compiled, here.out, strict=True).components[0].error
    assert isinstance(refused, ComponentRefusedError)


def test_files_choices_and_prefix_decide_the_key_and_name_and_version_do_not(here):
    uri = here.compiled(Model(MODEL.sizes_bytes))
    keys = [
        make(here, uri, **options).uri
        for options in (
            {},
            {"name": "other", "version": "9.9.9-rc.1+build"},
            {"prefix": "a"},
            {"prefix": "./a/"},
            {"exclude": ["*.txt"]},
            {"exclude": ["*.txt"], "prefix": "a"},
        )
    ]
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": None}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": "a\n"}, "name"),
        ({"version": None}, "version"),
        ({"version": "1.0"}, "version"),
        ({"version": "01.0.0"}, "version"),
        ({"version": "1.0.0-"}, "version"),
        ({"version": f"1.0.0-{'x' * 60}"}, "version"),
        ({"prefix": "../up"}, "prefix"),
        ({"prefix": "/abs"}, "prefix"),
        ({"prefix": "x" * 600}, "prefix"),
        ({"prefix": 1}, "prefix"),
        ({"layout": "zip"}, "layout"),
        ({"layout": "model"}, "layout"),
        ({"model_file": "a.onnx"}, "layout"),
        ({"imported_targets": ["x86_64-cpu"]}, "layout"),
        ({"prepared": True}, "layout"),
    ],
)
def test_what_greengrass_would_not_take_is_wrong_use(here, wrong, field):
    with pytest.raises(RequestError) as refused:
        package("no-such.tar.gz", {}, here.out, **{**NAMED, **wrong})
    assert refused.value.figures["field"] == field
    assert refused.value.next_step


def event(here, **changed):
    asked = {**NAMED, "model": here.compiled(Model(MODEL.sizes_bytes)), "output": here.out, "prefix": "m"}
    return {name: value for name, value in {**asked, **changed}.items() if value is not ...}


def test_an_event_packages_any_files_with_exclusions(here, monkeypatch):
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    reply = handler(event(here, options={"exclude": ["*.txt"]}), Context())
    assert reply["statusCode"] == 200
    [made] = reply["components"]
    assert made["target"] == "com.example.Detector=1.2.0"
    assert [*files_of(made["uri"])] == ["m/model.onnx", "m/tokenizer/vocab.json"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"model": ...}, "model"),
        ({"name": ...}, "name"),
        ({"version": 1}, "version"),
        ({"trained": "s3://b/k"}, "trained"),
        ({"compiled": []}, "compiled"),
        ({"manifest": "prepare"}, "manifest"),
        ({"layout": "model"}, "model"),
        ({"layout": "tar"}, "layout"),
        ({"layout": 1}, "layout"),
        ({"prefix": "../x"}, "prefix"),
    ],
)
def test_a_machine_that_asks_for_something_else_is_told_the_field(here, changed, field):
    reply = handler(event(here, **changed), Context())
    assert (reply["statusCode"], reply["error"]["field"]) == (400, field)


def run(*arguments):
    from click.testing import CliRunner  # noqa: PLC0415  only these tests need it

    done = CliRunner().invoke(command_line, [str(each) for each in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_the_command_packages_any_files_with_a_prefix_and_exclusions(here):
    uri = here.compiled(Model(MODEL.sizes_bytes))
    asked = ("--layout", "files", "--model", uri, "--name", "n", "--version", "1.0.0", "--output", here.out)
    done = run("package", *asked, "--json", "--exclude", "tokenizer", "--prefix", "p/q")
    assert done.exit_code == 0
    assert [*files_of(json.loads(done.stdout)["components"][0]["uri"])] == ["p/q/model.onnx", "p/q/labels.txt"]
    assert run("plan", *asked).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--layout", "files", "--name", "n", "--version", "1.0.0"],
        ["--layout", "files", "--trained", "m", "--name", "n", "--version", "1.0.0"],
        ["--layout", "files", "--model", "m", "--name", "n"],
        ["--model", "m"],
        ["--trained", "m", "--name", "n"],
        [],
    ],
)
def test_options_of_the_other_layout_are_wrong_use(here, arguments):
    done = run("package", *arguments, "--output", here.out)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert not Path(here.out).exists()


def test_any_files_beyond_a_limit_are_refused_with_the_name_of_the_setting(here):
    uri = here.compiled(Model(MODEL.sizes_bytes))
    for limit in ({"max_members": 2}, {"max_unpacked_bytes": 1 << 20}, {"max_names_bytes": 100}):
        made = make(here, uri, settings=Settings(**limit))
        assert isinstance(made.error, PackagerError)
        assert "MAX_" in made.error.message
    assert here.published() == set()


@pytest.mark.parametrize("where", ["folder", "prefix"])
def test_a_model_of_many_files_is_read_in_one_step(here, s3_server, bucket, where):
    count = 30
    folder = here.root / "many"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.bin").write_bytes(bytes([number]) * 100)
        s3_server.client().upload_file(str(folder / f"{number:03}.bin"), bucket, f"many/{number:03}.bin")
    model = {"folder": str(folder), "prefix": f"s3://{bucket}/many/"}[where]
    with recorded() as records:
        made = make(here, model, stores=Stores(s3_server.client()))
    assert (made.error, made.files) == (None, count)
    [read] = [each for each in records if each.row == "ReadArtifact"]
    assert (read.fields["bytes_read"], read.fields["requests"], read.fields["store"]) == (
        100 * count,
        count,
        {"folder": "file", "prefix": "s3"}[where],
    )
    [identified] = [each for each in records if each.row == "IdentifyArtifact"]
    assert identified.fields["bytes_hashed"] == {"folder": 100 * count, "prefix": 0}[where]


@pytest.mark.parametrize("below", ["", "components", "a/b"])
@pytest.mark.parametrize("where", ["folder", "prefix"])
def test_an_output_among_the_files_of_the_model_is_refused_unless_it_is_left_out(here, s3_server, bucket, where, below):
    client = s3_server.client()
    folder = here.root / "m"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"weights")
    client.put_object(Bucket=bucket, Key="m/a.bin", Body=b"weights")
    model = {"folder": f"{folder}/", "prefix": f"s3://{bucket}/m/"}[where]
    arguments = {**NAMED, "stores": Stores(client)}
    for call in (package, plan):
        with pytest.raises(RequestError) as refused:
            call(model, {}, model + below, **arguments)
        assert refused.value.field == "output"
    left_out = below.partition("/")[0] or "model_artifacts"
    made = [package(model, {}, model + below, exclude=[left_out], **arguments).components[0] for _ in range(3)]
    assert {(each.error, each.sha256) for each in made} == {(None, made[0].sha256)}
    beside = package(model, {}, model.rstrip("/") + "-out", **arguments).components[0]
    assert beside.error is None


# -- the recipe beside a component -------------------------------------------------------------------------------------

TEMPLATE = {
    "RecipeFormatVersion": "2020-01-25",
    "ComponentPublisher": "Me",
    "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"run": "ls @COMPONENT_PATH@"}}],
}


def artifact_of(recipe):
    (artifact,) = recipe["Manifests"][0]["Artifacts"]
    return artifact


@pytest.mark.parametrize("template", ["model", "onnxruntime", "own.json", "s3"])
def test_the_library_writes_the_recipe_beside_the_component_and_again_when_that_is_there(
    here, s3_server, bucket, template
):
    stores = Stores(s3_server.client())
    written(here, json.dumps(TEMPLATE).encode(), "own.json")
    s3_server.client().put_object(Bucket=bucket, Key="own.json", Body=json.dumps(TEMPLATE).encode())
    named = {"own.json": str(here.root / "own.json"), "s3": f"s3://{bucket}/own.json"}.get(template, template)
    model = written(here, MODEL.archive())
    for output, status in ((here.out, "packaged"), (f"s3://{bucket}/out", "packaged"), (here.out, "already_there")):
        result = package(model, {}, output, **NAMED, recipe=named, stores=stores)
        assert (result.error, result.components[0].status) == (None, status)
        name = f"com.example.Detector-1.2.0.{'json' if template in {'own.json', 's3'} else 'yaml'}"
        assert result.recipe.uri == f"{result.components[0].uri.rpartition('/')[0]}/{name}"
        recipe, _ = read_template(result.recipe.uri, stores)
        assert (recipe["ComponentName"], recipe["ComponentVersion"]) == ("com.example.Detector", "1.2.0")
        expected_uri = result.components[0].uri if output.startswith("s3") else f"s3://BUCKET_NAME/{name}"
        assert artifact_of(recipe)["Uri"].partition("/")[0] == expected_uri.partition("/")[0]
        document = json.loads(json.dumps(result.as_dict()))
        validate("package", document)
        assert document["recipe"] == result.recipe.uri


def test_a_recipe_that_cannot_be_is_refused_before_anything_is_read(here):
    written(here, json.dumps(TEMPLATE | {"Manifest": []}).encode(), "broken.json")
    for wrong in ("no-such-template", str(here.root / "broken.json"), "s3://", "ftp://x/y", "", "-"):
        with pytest.raises(RequestError):
            package("no-such-model", {}, here.out, **NAMED, recipe=wrong)
    with pytest.raises(RequestError, match="does not belong to the layout model"):
        package(here.trained, {"arm64-cpu": "x"}, here.out, recipe="model")


def test_a_recipe_that_cannot_be_written_is_the_error_of_the_result_and_the_component_stays(here):
    model = written(here, MODEL.archive())
    (made,) = package(model, {}, here.out, **NAMED).components
    Path(made.uri).with_name("com.example.Detector-1.2.0.yaml").mkdir()
    result = package(model, {}, here.out, **NAMED, recipe="model")
    assert (result.succeeded, result.recipe_failed, result.components[0].uri) == (False, True, made.uri)
    assert result.error.next_step
    validate("package", json.loads(json.dumps(result.as_dict())))
    failed = package(written(here, b"no model", "m.tar"), {}, here.out, **NAMED, recipe="model")
    assert (failed.recipe.uri, failed.recipe_failed) == (None, False)


@pytest.mark.parametrize("template", ["tflite", "s3://{}/own.json"])
def test_an_event_of_machines_writes_the_recipe_too(here, s3_server, bucket, monkeypatch, template):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint_url)
    monkeypatch.setattr(s3_client, "_clients", {})
    client = s3_server.client()
    client.put_object(Bucket=bucket, Key="m.tar.gz", Body=MODEL.archive())
    client.put_object(Bucket=bucket, Key="own.json", Body=json.dumps(TEMPLATE).encode())
    event = {**NAMED, "model": f"s3://{bucket}/m.tar.gz", "output": f"s3://{bucket}/out"}
    reply = handler({**event, "recipe": template.format(bucket)}, Context())
    assert (reply["statusCode"], reply["error"]) == (200, None)
    key = reply["recipe"].removeprefix(f"s3://{bucket}/")
    assert (
        artifact_of(yaml.safe_load(client.get_object(Bucket=bucket, Key=key)["Body"].read()))["Uri"]
        == (reply["components"][0]["uri"])
    )
    validate("package", {name: value for name, value in reply.items() if name != "statusCode"})


@pytest.mark.parametrize("recipe", ["", "nothing", "model.yaml", 5, ["model"], {"a": 1}, "/etc/passwd", "s3://"])
def test_an_event_whose_recipe_is_none_is_a_4xx_that_names_the_field(monkeypatch, recipe):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    from_process_environment.cache_clear()
    event = {**NAMED, "model": "s3://bucket/m.tar.gz", "output": "s3://bucket/out", "recipe": recipe}
    reply = handler(event, Context())
    from_process_environment.cache_clear()
    assert reply["statusCode"] == 400, reply
    assert reply["error"]["type"] == "RequestError"


# -- what is observed of the way to the device -------------------------------------------------------------------------


def test_bundles_comparisons_and_verifications_are_one_observed_step_each(here):
    made = make(here, written(here, MODEL.archive()))
    other = make(here, written(here, Model({"model.onnx": 8000}).archive(), "other.tar.gz"))
    unpacked = here.root / "unpacked"
    for name, data in files_of(made.uri).items():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(data)
    (unpacked / "labels.txt").write_bytes(b"other")
    recipe = written(
        here, json.dumps(TEMPLATE | {"ComponentName": "n", "ComponentVersion": "1.0.0"}).encode(), "r.json"
    )
    with recorded() as records:
        bundle_local(recipe, made.uri, here.root / "bundle")
        compared = compare_components(FileSource(Path(made.uri)), FileSource(Path(other.uri)), Settings())
        verified = verify_unpacked(unpacked, FileSource(Path(made.uri)), Settings())
    steps = {each.row: each for each in records}
    assert steps["BundleLocal"].fields["bytes_out"] == made.size_bytes
    assert steps["BundleLocal"].fields["sha256"] == made.sha256
    assert steps["CompareComponents"].fields["differences"] == compared.files_in_all > 0
    fields = steps["VerifyUnpacked"].fields
    assert (fields["files"], fields["differences"]) == (verified.files, 1)
    assert fields["bytes_read"] == verified.bytes_compared
