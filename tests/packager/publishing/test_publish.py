"""Publishing to a Greengrass held to botocore's model: what is asked, in which order, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import packager
from packager import ArtifactNotFoundError, PublishError, RequestError, publish_component
from packager.cli.commands import packager as command_line
from packager.stores import s3_client
from telemetry.engine.testing import recorded
from tests.greengrass_api import greengrass_api, sha256_in_s3
from tests.packages import Model, ground
from tests.schemas import validate

DEVICE_PAGE = Path(__file__).parents[3] / "docs" / "device.md"
TEMPLATE = """
RecipeFormatVersion: "2020-01-25"
ComponentName: com.example.Detector
ComponentVersion: "1.0.0"
ComponentPublisher: Me
Manifests:
  - Platform: {os: linux, runtime: "*"}
    Lifecycle:
      install: {Script: test -d "@COMPONENT_PATH@", Timeout: 30}
"""


@pytest.fixture
def here():
    with ground() as made:
        (made.root / "recipe.yaml").write_text(TEMPLATE)
        yield made


@pytest.fixture
def cloud(s3_server, monkeypatch):
    monkeypatch.setattr(s3_client, "_clients", {})  # one that is kept would still speak to the server before
    for name in ("S3", "STS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", s3_server.endpoint_url)
    with greengrass_api(digest_of=sha256_in_s3(s3_server.client())) as api:
        monkeypatch.setenv("AWS_ENDPOINT_URL_GREENGRASSV2", api.endpoint_url)
        yield api


def zip_of(here, seed=0, size=3000):
    model = here.compiled(Model({"model.onnx": size}, seed=seed))
    (made,) = packager.package(model, {}, here.out, layout="files", name="n", version="1.0.0").components
    assert made.error is None
    return made


def published(here, bucket, made, **options):
    return publish_component(str(here.root / "recipe.yaml"), made.uri, bucket, **options)


def test_a_version_is_uploaded_created_and_waited_for_and_not_made_twice(here, bucket, cloud, s3_server):
    made = zip_of(here)
    told = []
    done = published(here, bucket, made, on_progress=told.append)
    name = Path(made.uri).name
    uri = f"s3://{bucket}/com.example.Detector/1.0.0/{name}"
    arn = "arn:aws:greengrass:us-east-1:123456789012:components:com.example.Detector:versions:1.0.0"
    artifact = {"uri": uri, "sha256": made.sha256, "size_bytes": made.size_bytes}
    document = done.as_dict()
    recipe = document.pop("recipe")
    assert document == {
        "component": {"name": "com.example.Detector", "version": "1.0.0", "arn": arn},
        "state": "DEPLOYABLE",
        "artifact": artifact,
        "uploads": True,
        "creates": True,
        "dry_run": False,
        "warnings": [],
    }
    assert recipe["Manifests"][0]["Lifecycle"]["install"]["Script"] == (
        f'test -d "{{artifacts:decompressedPath}}/{name.removesuffix(".zip")}"'
    )
    body = s3_server.client().get_object(Bucket=bucket, Key=uri.removeprefix(f"s3://{bucket}/"))["Body"].read()
    assert body == Path(made.uri).read_bytes()
    assert cloud.calls == ["GetComponent", "CreateComponentVersion", *["DescribeComponent"] * 3]
    assert [each.phase for each in told] == ["uploading", "publishing", "publishing", "done"]
    again = published(here, bucket, made)
    assert (again.uploads, again.creates, again.state) == (False, False, "DEPLOYABLE")


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(here, bucket, cloud, s3_server):
    done = published(here, bucket, zip_of(here), dry_run=True)
    assert (done.uploads, done.creates, done.state, done.dry_run) == (True, True, None, True)
    assert cloud.calls == ["GetComponent"]
    assert s3_server.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_bucket_that_is_not_there_is_said_before_anything_is_done(here, cloud, dry_run):
    with pytest.raises(ArtifactNotFoundError, match="no-such-bucket"):
        published(here, "no-such-bucket", zip_of(here), dry_run=dry_run)
    assert set(cloud.calls) == {"GetComponent"}


def test_an_object_that_somebody_removed_is_uploaded_again(here, bucket, cloud, s3_server):
    made = zip_of(here)
    first = published(here, bucket, made)
    uri = first.finished.artifact.uri.removeprefix(f"s3://{bucket}/")
    s3_server.client().delete_object(Bucket=bucket, Key=uri)
    would = published(here, bucket, made, dry_run=True)
    assert (would.uploads, would.creates) == (True, False)
    published(here, bucket, made)
    assert s3_server.client().head_object(Bucket=bucket, Key=uri)["ContentLength"] == made.size_bytes


MALFORMED = [
    "",
    "-",
    "s3://",
    "s3:///x",
    "a",
    "b/../x",
    "{}/../x",
    "{}/./x",
    "{}//x",
    "{}/x//",
    "{}/a b",
    "{}/a?b",
    "{}/a#b",
]
MALFORMED += ["a..b", "ab-", "ab.", "https://b.s3.amazonaws.com/", "no bucket", "{}?x", "b\0b", "{}/é", "{}/a\nb"]


@pytest.mark.parametrize("scheme", ["", "s3://"])
@pytest.mark.parametrize("form", MALFORMED, ids=ascii)
def test_what_is_no_bucket_is_refused_by_name_before_aws_is_asked(here, bucket, cloud, form, scheme):
    with pytest.raises(RequestError) as refused:
        published(here, scheme + form.format(bucket), zip_of(here), dry_run=True)
    assert cloud.calls == []
    assert refused.value.next_step


def test_publishing_is_one_observed_step(here, bucket, cloud):
    made = zip_of(here)
    with recorded() as records:
        published(here, bucket, made)
        published(here, bucket, made)
    first, again = (each.fields for each in records if each.row == "PublishComponent")
    assert (first["bytes_out"], first["created"], first["sha256"]) == (made.size_bytes, 1, made.sha256)
    assert (again["bytes_out"], again["created"]) == (0, 0)


def test_the_same_version_with_other_bytes_or_another_recipe_is_refused_before_anything_is_written(
    here, bucket, cloud, s3_server
):
    published(here, bucket, zip_of(here))
    before = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    cloud.calls.clear()
    with pytest.raises(RequestError, match="is published already, with other bytes") as refused:
        published(here, bucket, zip_of(here, seed=1))
    assert refused.value.field == "ComponentVersion"
    changed = here.root / "recipe.yaml"
    changed.write_text(TEMPLATE.replace("Timeout: 30", "Timeout: 31"))
    with pytest.raises(RequestError, match=r"another recipe: Manifests.0..Lifecycle.install.Timeout differs"):
        published(here, bucket, zip_of(here))
    assert set(cloud.calls) == {"GetComponent"}
    assert s3_server.client().list_objects_v2(Bucket=bucket)["Contents"] == before


def test_a_finished_recipe_of_other_bytes_is_refused_before_aws_is_asked(here, bucket, cloud):
    recipe = published(here, bucket, zip_of(here), dry_run=True).finished.recipe
    cloud.calls.clear()
    finished = here.root / "recipe.yaml"
    finished.write_text(json.dumps(recipe))
    with pytest.raises(RequestError, match="The recipe speaks of other bytes"):
        published(here, bucket, zip_of(here, seed=1))
    assert cloud.calls == []
    assert published(here, bucket, zip_of(here)).finished.recipe == recipe


def test_a_recipe_written_by_hand_keeps_its_place_in_the_bucket_and_gets_the_bucket_otherwise(here, bucket, cloud):
    made = zip_of(here)
    named = f"s3://{{}}/mine/{Path(made.uri).name}"
    for where, expected in ((bucket, named.format(bucket)), ("BUCKET_NAME", "com.example.Detector/1.0.0")):
        entry = {"Uri": named.format(where), "Unarchive": "ZIP"}
        recipe = {"Manifests": [{"Platform": {"os": "linux"}, "Artifacts": [entry]}]}
        names = {"RecipeFormatVersion": "2020-01-25", "ComponentName": "com.example.Detector"}
        (here.root / "recipe.yaml").write_text(json.dumps({**names, "ComponentVersion": "1.0.0", **recipe}))
        done = published(here, bucket, made, dry_run=True)
        assert expected in done.finished.artifact.uri
        (artifact,) = done.finished.recipe["Manifests"][0]["Artifacts"]
        assert artifact["Uri"] == done.finished.artifact.uri


def test_a_file_at_the_place_of_the_zip_is_held_against_it(here, bucket, cloud, s3_server):
    made = zip_of(here)
    key = f"com.example.Detector/1.0.0/{Path(made.uri).name}"
    s3_server.client().put_object(Bucket=bucket, Key=key, Body=b"x" * made.size_bytes)
    with pytest.raises(RequestError, match="Another file than the ZIP is at"):
        published(here, bucket, made)
    assert cloud.calls == ["GetComponent"]
    s3_server.client().upload_file(made.uri, bucket, key)
    assert not published(here, bucket, made).uploads


def test_what_greengrass_says_of_a_version_that_failed_is_said(here, bucket, cloud):
    cloud.digest_of = lambda uri: {}[uri]
    with pytest.raises(PublishError, match="cannot be accessed") as failed:
        published(here, bucket, zip_of(here))
    assert failed.value.state == "FAILED"
    assert "delete-component --arn arn:aws:greengrass:" in failed.value.next_step
    with pytest.raises(PublishError, match="cannot be accessed"):
        published(here, bucket, zip_of(here))
    assert cloud.calls.count("CreateComponentVersion") == 1


def test_waiting_ends_with_the_state_and_goes_on_at_the_next_call(here, bucket, cloud):
    cloud.states = ["REQUESTED"]
    with pytest.raises(PublishError, match="still REQUESTED") as late:
        published(here, bucket, zip_of(here), wait_s=0.3)
    assert late.value.next_step == "Run the same again: it goes on waiting."
    next(iter(cloud.versions.values())).states[:] = ["DEPLOYABLE"]
    assert published(here, bucket, zip_of(here)).state == "DEPLOYABLE"


def test_a_busy_service_is_asked_again_and_one_that_refuses_names_the_right(here, bucket, cloud):
    cloud.refusals = {"CreateComponentVersion": ["ThrottlingException", "InternalServerException"]}
    assert published(here, bucket, zip_of(here)).state == "DEPLOYABLE"
    cloud.refusals = {"GetComponent": ["AccessDeniedException"]}
    with pytest.raises(PublishError) as denied:
        published(here, bucket, zip_of(here))
    assert denied.value.next_step.startswith("Allow greengrass:GetComponent on arn:aws:greengrass:us-east-1:")


def test_somebody_who_creates_the_same_version_at_the_same_time_is_no_failure(here, bucket, cloud):
    made = zip_of(here)
    create = cloud.create_component_version

    def create_late(asked):
        create(asked)
        return create(asked)

    cloud.create_component_version = create_late
    assert published(here, bucket, made).state == "DEPLOYABLE"


def test_the_documented_rights_are_those_that_are_used(here, bucket, cloud):
    published(here, bucket, zip_of(here))
    (policy,) = re.findall(r"```json\n(\{\s*\"Version\".*?)```", DEVICE_PAGE.read_text(), flags=re.DOTALL)
    allowed = {action for statement in json.loads(policy)["Statement"] for action in statement["Action"]}
    used = {f"greengrass:{each}" for each in cloud.calls}
    assert {each for each in allowed if each.startswith("greengrass:")} == used
    assert {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListBucket"} <= allowed


def test_the_command_prints_text_or_a_document_of_the_schema(here, bucket, cloud):
    made = zip_of(here)
    arguments = ["publish", str(here.root / "recipe.yaml"), "--artifact", made.uri, "--bucket", bucket]
    text = CliRunner().invoke(command_line, [*arguments, "--dry-run"])
    assert (text.exit_code, "would be uploaded" in text.stdout, "would be created" in text.stdout) == (0, True, True)
    done = CliRunner().invoke(command_line, [*arguments, "--json"])
    validate("publish", json.loads(done.stdout))
    cloud.refusals = {"GetComponent": ["AccessDeniedException"]}
    failed = CliRunner().invoke(command_line, [*arguments, "--json"])
    assert failed.exit_code == 1
    validate("publish", json.loads(failed.stdout))
    wrong = CliRunner().invoke(command_line, [*arguments[:-1], "no/bucket:here"])
    assert wrong.exit_code == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ("AWS_ENDPOINT_URL_GREENGRASSV2", "no url", "ValueError"),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9", "EndpointConnectionError"),
    ],
)
def test_a_service_that_cannot_be_reached_is_said(here, bucket, cloud, monkeypatch, wrong):
    variable, value, code = wrong
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(PublishError) as failed:
        published(here, bucket, zip_of(here))
    assert failed.value.code == code
    assert cloud.calls == []


@pytest.mark.parametrize("recipe", [b"[]", b"5", b"no JSON", b'{"Manifests": 5}', b'{"Manifests": [{"Artifacts": 5}]}'])
def test_whatever_greengrass_says_is_there_is_another_version_or_no_answer(here, bucket, cloud, recipe):
    made = zip_of(here)
    cloud.get_component = lambda _: {"recipeOutputFormat": "JSON", "recipe": recipe}
    with pytest.raises((RequestError, PublishError)):
        published(here, bucket, made)
    assert set(cloud.calls) == {"GetComponent"}
