from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.device.recipe import MAX_RECIPE_BYTES, Artifact, recipe, render
from packager.device.rules import COMPONENT_BUDGET_BYTES
from packager.errors import RequestError
from packager.model.targets import TARGETS, target

DIGEST = hashlib.sha256(b"the component")
STEM = "0123456789ab_greengrass_model_component"
URI = f"s3://bucket/prefix/model_artifacts/model-0123456789ab/{STEM}.zip"
ARTIFACT = Artifact(URI, DIGEST.hexdigest(), 1000)

component_names = st.from_regex(r"model-[A-Za-z0-9._-]{1,122}", fullmatch=True)
versions = st.integers(1, 999_999).map("{}.0.0".format)


def test_the_recipe_holds_what_greengrass_and_the_device_need():
    made = recipe(ARTIFACT, "model-line-3", "2.0.0", target("jetson-xavier-jp6"), "Line 3")
    lifecycle = made["Manifests"][0].pop("Lifecycle")
    assert made == {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "model-line-3",
        "ComponentVersion": "2.0.0",
        "ComponentType": "aws.greengrass.generic",
        "ComponentConfiguration": {
            "DefaultConfiguration": {"Autostart": False, "PYTHONPATH": "/usr/bin/python3.9", "ModelName": "Line 3"}
        },
        "ComponentDependencies": {
            "aws.edgeml.dda.LocalServer.arm64JP6": {"VersionRequirement": "^1.0.0", "DependencyType": "HARD"}
        },
        "Manifests": [
            {
                "Platform": {"os": "linux", "architecture": "aarch64"},
                "Artifacts": [
                    {
                        "Uri": URI,
                        "Digest": base64.b64encode(DIGEST.digest()).decode(),
                        "Algorithm": "SHA-256",
                        "Unarchive": "ZIP",
                        "Permission": {"Read": "ALL", "Execute": "ALL"},
                    }
                ],
            }
        ],
    }
    assert lifecycle["Startup"]["Script"].endswith(
        "python3 /aws_dda/model_convertor.py --unarchived_model_path "
        f"{{artifacts:decompressedPath}}/{STEM}/ --model_version 2.0.0 --model_name model-line-3"
    )
    assert lifecycle["Shutdown"]["Script"] == "python3 /aws_dda/convert_model_cleanup.py --model_name model-line-3"


@given(component_names, versions, st.sampled_from(sorted(TARGETS)), st.none() | st.text(max_size=200))
def test_every_valid_recipe_is_json_within_the_limit(name, version, target_name, model_name):
    made = recipe(ARTIFACT, name, version, target(target_name), model_name)
    rendered = render(made)
    assert json.loads(rendered) == made
    assert len(rendered) <= MAX_RECIPE_BYTES
    assert made["ComponentConfiguration"]["DefaultConfiguration"]["ModelName"] == (
        name if model_name is None else model_name
    )
    assert list(made["ComponentDependencies"]) == [TARGETS[target_name].dependency]


@given(component_names, versions)
def test_the_startup_script_is_valid_shell(name, version):
    script = recipe(ARTIFACT, name, version, target("x86_64-cpu"))["Manifests"][0]["Lifecycle"]["Startup"]["Script"]
    shell = shutil.which("sh")
    assert shell is not None
    subprocess.run([shell, "-n"], input=script.encode(), check=True)


def refused(field, artifact=ARTIFACT, name="model-a", version="1.0.0", model_name=None):
    with pytest.raises(RequestError) as caught:
        recipe(artifact, name, version, target("x86_64-cpu"), model_name)
    assert caught.value.field == field
    assert caught.value.next_step
    assert str(caught.value).isprintable()
    return caught.value


@given(
    st.text().filter(lambda name: not name.startswith("model-"))
    | st.sampled_from(
        ["model-", "model-é", "model-a b", "model-a\n", "model-a;reboot", "Model-a", "model-" + "a" * 123]
    )
)
def test_a_name_that_greengrass_refuses_is_refused(name):
    refused("name", name=name)


def test_the_longest_name_is_taken():
    assert recipe(ARTIFACT, "model-" + "a" * 122, "1.0.0", target("x86_64-cpu"))


@given(
    st.text()
    | st.sampled_from(
        ["0.0.0", "01.0.0", "1.0", "1.0.1", "1.1.0", "1.0.0\n", "1000000.0.0", "\N{ARABIC-INDIC DIGIT ONE}.0.0"]
    )
)
def test_a_version_of_another_form_is_refused(version):
    refused("version", version=version)


@pytest.mark.parametrize(
    "uri",
    [
        f"/models/{STEM}.zip",
        f"file:///models/{STEM}.zip",
        f"https://bucket.s3.amazonaws.com/{STEM}.zip",
        f"s3://{STEM}.zip",
        f"s3:///{STEM}.zip",
        "s3://bucket/model.zip",
        f"s3://bucket/{STEM}.tar.gz",
        f"s3://bucket/v1.2_{STEM}.zip",
        f"s3://bucket/$(reboot)_{STEM}.zip",
        f"s3://bucket/a b_{STEM}.zip",
        f"s3://bucket/{STEM}.zip?X-Amz-Signature=1",
        "",
    ],
)
def test_an_artifact_that_cannot_be_published_is_refused(uri):
    error = refused("uri", Artifact(uri, DIGEST.hexdigest(), 1000))
    if not uri.startswith("s3://"):
        assert "aws s3 cp" in error.next_step


@pytest.mark.parametrize("sha256", ["", "ab", DIGEST.hexdigest().upper(), base64.b64encode(DIGEST.digest()).decode()])
def test_a_digest_of_another_form_is_refused(sha256):
    refused("sha256", Artifact(URI, sha256, 1000))


def test_an_artifact_above_the_budget_is_refused():
    assert recipe(Artifact(URI, DIGEST.hexdigest(), COMPONENT_BUDGET_BYTES), "model-a", "1.0.0", target("x86_64-cpu"))
    error = refused("size_bytes", Artifact(URI, DIGEST.hexdigest(), COMPONENT_BUDGET_BYTES + 1))
    assert error.found == COMPONENT_BUDGET_BYTES + 1


def test_a_recipe_above_its_limit_is_refused():
    error = refused("model_name", model_name="n" * MAX_RECIPE_BYTES)
    assert error.found > error.limit == MAX_RECIPE_BYTES
