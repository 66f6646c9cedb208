from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import json
import shutil
import subprocess

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from packager.cli.commands import packager
from packager.device.recipe import Artifact, recipe
from packager.device.recipe_check import check_recipe
from packager.device.recipe_file import MAX_FILE_BYTES, read_recipe, render_json, render_yaml
from packager.device.recipe_reference import is_requirement
from packager.device.recipe_template import RecipeNames, fill_template, read_template
from packager.errors import RequestError
from packager.model.targets import target
from packager.settings import TEMPLATE_NAMES
from tests import models
from tests.end_to_end.test_command_line import packager as run

DIGEST = hashlib.sha256(b"the component")
STEM = "0123456789ab_greengrass_model_component"
ARTIFACT = Artifact(f"s3://bucket/prefix/{STEM}.zip", DIGEST.hexdigest(), 1000)
FILLED = {
    "Uri": ARTIFACT.uri,
    "Digest": base64.b64encode(DIGEST.digest()).decode(),
    "Algorithm": "SHA-256",
    "Unarchive": "ZIP",
    "Permission": {"Read": "ALL", "Execute": "ALL"},
}
VALID = {
    "RecipeFormatVersion": "2020-01-25",
    "ComponentName": "com.example.model",
    "ComponentVersion": "1.2.3-rc.1+5",
    "ComponentType": "aws.greengrass.generic",
    "ComponentDescription": "A model",
    "ComponentPublisher": "Us",
    "ComponentConfiguration": {"DefaultConfiguration": {"model": {"threads": 2}}},
    "ComponentDependencies": {"com.example.Base": {"VersionRequirement": "^1.0.0", "DependencyType": "SOFT"}},
    "Manifests": [
        {
            "Name": "Linux",
            "Platform": {"os": "linux", "architecture": "aarch64", "runtime": "*", "site": "plant-3"},
            "Lifecycle": {
                "Setenv": {"MODEL": "{artifacts:decompressedPath}/" + STEM},
                "install": {"Script": "echo ${HOME:-none} '{key: value}'", "Timeout": 60, "RequiresPrivilege": True},
                "run": "python3 {artifacts:decompressedPath}/" + STEM + "/main.py {configuration:/model/threads}",
            },
            "Artifacts": [FILLED],
        }
    ],
}


def rules(value) -> list[str]:
    return [each.rule for each in check_recipe(value)]


def filled(template, **names):
    return fill_template(template, ARTIFACT, RecipeNames(**names))


def test_a_recipe_that_both_nuclei_take_has_no_finding():
    assert check_recipe(VALID) == []


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_a_shipped_template_becomes_a_recipe_that_both_nuclei_take(name):
    template, is_json = read_template(name)
    made, findings = filled(template, name="com.example.mine", version="2.0.0", publisher="P", description="D")
    assert (is_json, findings, check_recipe(made)) == (False, [], [])
    assert yaml.safe_load(render_yaml(made)) == made == json.loads(render_json(made))
    (manifest,) = made["Manifests"]
    (artifact,) = manifest["Artifacts"]
    assert artifact == {**FILLED, "Permission": template["Manifests"][0]["Artifacts"][0]["Permission"]}
    assert "{artifacts:decompressedPath}/" + STEM in json.dumps(manifest["Lifecycle"])
    assert (made["ComponentName"], made["ComponentVersion"]) == ("com.example.mine", "2.0.0")
    assert (made["ComponentPublisher"], made["ComponentDescription"]) == ("P", "D")
    for phase in manifest["Lifecycle"].values():
        subprocess.run([shutil.which("sh"), "-n"], input=phase["Script"].encode(), check=True)


def mappings(value, at=()):
    """Every mapping in a recipe whose keys the reference fixes, by the keys that lead there."""
    fixed = {"ComponentDependencies", "DefaultConfiguration", "Setenv"}
    if isinstance(value, dict):
        if not at or at[-1] not in fixed:
            yield at
        for key, inner in value.items():
            if key not in {"DefaultConfiguration", "Setenv"}:
                yield from mappings(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from mappings(inner, (*at, number))


@given(st.data())
def test_a_misspelled_key_anywhere_is_found_and_the_right_one_named(data):
    broken = copy.deepcopy(VALID)
    inner = broken
    for key in data.draw(st.sampled_from(list(mappings(VALID)))):
        inner = inner[key]
    key = data.draw(st.sampled_from([each for each in inner if each not in {"os", "run", "site"}]))
    at = data.draw(st.integers(1, len(key) - 2))
    inner[key[:at] + "7" + key[at + 1 :]] = inner.pop(key)
    found = [each for each in check_recipe(broken) if each.rule == "recipe-keys"]
    assert [each.next_step for each in found] == [f"Did you mean {key}?"]


@pytest.mark.parametrize(
    ("where", "value", "rule", "step"),
    [
        (["RecipeFormatVersion"], "2020-01-26", "recipe-values", "2020-01-25"),
        (["ComponentName"], "a b", "recipe-values", "Letters"),
        (["ComponentName"], "a" * 129, "recipe-values", "Letters"),
        (["ComponentVersion"], 1.0, "recipe-values", "quotes"),
        (["ComponentVersion"], "1.0", "recipe-values", "semantic"),
        (["Manifests"], [], "recipe-values", "manifest"),
        (["Manifests", 0, "Platform", "os"], "linuks", "recipe-platforms", "linux"),
        (["Manifests", 0, "Platform", "architecture"], "arm64", "recipe-platforms", "amd64"),
        (["Manifests", 0, "Platform", "architecture"], "x86_64", "recipe-platforms", "x86"),
        (["Manifests", 0, "Lifecycle", "startup"], "true", "recipe-values", "Keep one"),
        (["Manifests", 0, "Lifecycle", "install"], {"Timeout": 1}, "recipe-values", "runs"),
        (["Manifests", 0, "Lifecycle", "install", "Timeout"], -1, "recipe-values", "whole"),
        (["Manifests", 0, "Artifacts", 0, "Unarchive"], "TAR", "recipe-values", "ZIP, NONE"),
        (["Manifests", 0, "Artifacts", 0, "Algorithm"], "MD5", "recipe-values", "SHA-256"),
        (["ComponentDependencies", "com.example.Base", "VersionRequirement"], "nonsense", "recipe-values", "^1.0.0"),
        (["ComponentDependencies", "com.example.Base", "VersionRequirement"], None, "recipe-values", "^1.0.0"),
        (["Manifests", 0, "Artifacts", 0, "Permission", "Read"], "all", "recipe-values", "ALL"),
        (["Manifests", 0, "Lifecycle", "run"], "{artifact:path}", "recipe-macros", "{artifacts:path}"),
        (["Manifests", 0, "Lifecycle", "run"], "{artifacts:Path}", "recipe-macros", "{artifacts:path}"),
        (["Manifests", 0, "Lifecycle", "run"], "{configuration:/model/thread}", "recipe-macros", "threads"),
        (["Manifests", 0, "Lifecycle", "run"], "{configuration:model}", "recipe-macros", "/model"),
        (["Manifests", 0, "Lifecycle", "run"], "{com.example.Bas:artifacts:path}", "recipe-macros", "com.example.Base"),
        (["Manifests", 0, "Lifecycle", "run"], "{artifacts:decompressedPath}/other/x", "recipe-macros", STEM),
        (["Manifests", 0, "Platform", "runtime"], None, "lite-runtime", 'runtime: "*"'),
        (["Manifests", 0, "Lifecycle", "shutdown"], "true", "lite-phases", "SIGTERM"),
        (["Manifests", 0, "Lifecycle", "install", "Skipif"], "onpath sh", "lite-skipif", "script"),
        (["Manifests", 0, "Lifecycle", "run"], "{com.example.Base:artifacts:path}", "lite-macros", "configuration"),
        (["Manifests", 0, "Lifecycle"], {}, "lite-phases", "install"),
        (["ComponentDescription"], "two\nlines", "lite-description", "line"),
        (["ComponentConfiguration", "DefaultConfiguration", "x"], "y" * 16_000, "recipe-size", "scripts"),
    ],
    ids=lambda each: each if isinstance(each, str) and len(each) < 40 else None,
)
def test_each_place_that_breaks_the_reference_is_one_finding_with_the_way_out(where, value, rule, step):
    broken = copy.deepcopy(VALID)
    inner = broken
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    (found,) = (each for each in check_recipe(broken) if each.rule == rule)
    assert step in found.next_step
    assert ("Nucleus lite" in found.message) == rule.startswith("lite-")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *dict.fromkeys(
            ("^1.0.0", ">=2.0.0 <3.0.0", "~2.1", "*", "1.x", "1.0.0 - 2.0.0", ">=1.0.0 || <0.5.0"), True
        ).items(),
        *dict.fromkeys(("", "latest", "1.2.3.4", "^", "1..2", ">=", "1.0.0;", "1 " * 200), False).items(),
    ],
)
def test_a_requirement_is_of_the_form_that_npm_gave_it(text, is_one):
    assert is_requirement(text) == is_one


def test_keys_in_another_case_are_for_nucleus_classic_alone():
    lower = json.loads(json.dumps(VALID).replace('"Script"', '"script"').replace('"run"', '"Run"'))
    assert rules(lower) == ["lite-keys", "lite-keys"]
    ours = recipe(ARTIFACT, "model-a", "1.0.0", target("jetson-xavier"))
    assert rules(ours) == ["lite-runtime"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(plain, st.sampled_from(["Manifests", "Lifecycle", "ComponentDependencies", "ComponentConfiguration"]), plain)
def test_no_value_is_too_strange_to_be_checked_or_filled(value, key, inner):
    for each in (value, {**VALID, key: inner}, {key: inner}, {**VALID, "Manifests": [inner]}):
        for finding in check_recipe(each):
            assert finding.message.isprintable()
        with contextlib.suppress(RequestError):
            filled(each)


@given(plain)
def test_what_is_written_as_yaml_or_json_is_read_as_it_was(value):
    made = {"ComponentConfiguration": value}
    assert read_recipe(render_json(made), "recipe.json") == (made, True)
    assert read_recipe(render_yaml(made), "recipe.yaml") == (made, False)


@given(st.from_regex(r"[-+]?[0-9.:_eExXoO]{1,8}|true|no|~|null|\.nan|=|<<", fullmatch=True))
def test_a_text_that_looks_like_something_else_stays_a_text(text):
    made = {"ComponentVersion": text}
    assert read_recipe(render_yaml(made), "recipe.yaml") == (made, False)
    assert yaml.safe_load(render_yaml(made)) == made


def test_yaml_is_read_as_greengrass_reads_it():
    text = b"a: 2020-01-25\nb: yes\nc: 1:30\nd: true\ne: 0.5\nf: 3\ng:\nh: '1'\ni: 0755\n"
    assert read_recipe(text, "r.yaml") == (
        {"a": "2020-01-25", "b": "yes", "c": "1:30", "d": True, "e": 0.5, "f": 3, "g": None, "h": "1", "i": "0755"},
        False,
    )


@pytest.mark.parametrize(
    "data",
    [
        b"a: &x [1]\nb: *x\n",
        b"a: !!python/object:os.system x\n",
        b"a: 1\na: 2\n",
        b"1: 2\n",
        b"? [a]\n: b\n",
        b"\xff",
        b"a: [\n",
        b"a: 1\n---\nb: 2\n",
        b"[" * 5000,
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b"a: 1e999\n",
        b"{" * 5000,
        b" " * (MAX_FILE_BYTES + 1),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_with_its_name(data):
    with pytest.raises(RequestError, match=r"mine\.yaml"):
        read_recipe(data, "mine.yaml")


def test_everything_else_in_a_template_stays_and_other_artifacts_too():
    other = {"Uri": "s3://bucket/code.zip", "Unarchive": "ZIP"}
    template = copy.deepcopy(VALID)
    template["Manifests"][0]["Artifacts"] = [other, {"Unarchive": "NONE"}]
    template["Manifests"][0]["Lifecycle"] = {"run": "cat @COMPONENT_NAME@ @COMPONENT_VERSION@ me@example.com"}
    made, _ = filled(template)
    expected = copy.deepcopy(template)
    expected["Manifests"][0]["Artifacts"][1] = {**FILLED, "Unarchive": "NONE"}
    expected["Manifests"][0]["Lifecycle"] = {"run": "cat com.example.model 1.2.3-rc.1+5 me@example.com"}
    assert made == expected


def test_without_an_open_artifact_it_is_added_to_each_manifest():
    template = copy.deepcopy(VALID)
    del template["Manifests"][0]["Artifacts"]
    template["Manifests"].append({"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"run": "true"}})
    made, _ = filled(template)
    assert [each["Artifacts"] for each in made["Manifests"]] == [[FILLED], [FILLED]]
    assert filled(made)[0] == made


def test_a_placeholder_that_stands_for_nothing_is_refused():
    template = copy.deepcopy(VALID)
    template["Manifests"][0]["Lifecycle"] = {"run": "cat @COMPONENT_PAHT@/x"}
    with pytest.raises(RequestError, match="Did you mean @COMPONENT_PATH@"):
        filled(template)


def test_the_command_fills_templates_checks_recipes_and_says_what_lite_passes_over(tmp_path):
    component = tmp_path / "model.zip"
    shutil.make_archive(str(component)[:-4], "zip", models.trained(tmp_path / "in" / "t.tar.gz").parent)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**VALID, "Manifest": []}))
    at = ["--published-as", "s3://bucket/model.zip"]

    done = run("recipe", component, "--template", "tflite", *at, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.status == 0, done.err
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(done.out)
    for path, status in ((recipe_file, 0), (wrong, 1)):
        checked = CliRunner().invoke(packager, ["check", "--strict", str(path)])
        assert checked.exit_code == status, checked.output
    assert "Did you mean Manifests?" in checked.output
    for bad in (
        ["--template", str(wrong)],
        ["--template", "tflit"],
        ["--target", "x"],
        [],
        ["--template", "model", "--target", "x"],
    ):
        assert CliRunner().invoke(packager, ["recipe", str(component), *bad]).exit_code in {1, 2}
    shown = CliRunner().invoke(packager, ["recipe", "--show-template", "model"])
    assert (shown.exit_code, read_recipe(shown.stdout_bytes, "model")[1]) == (0, False)
