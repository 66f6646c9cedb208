"""Folders for a deployment without the cloud, as Greengrass' own tools take them."""

from __future__ import annotations

import hashlib
import json
import shlex
from base64 import b64decode
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import packager
from packager.cli.commands import packager as command_line
from packager.device.recipe_check import check_recipe
from tests.packages import Model, ground
from tests.schemas import validate


@pytest.fixture
def here():
    with ground() as made:
        yield made


def component(here, seed=0):
    model = here.compiled(Model({"model.onnx": 3000}, seed=seed))
    (made,) = packager.package(model, {}, here.out, layout="files", name="n", version="1.0.0").components
    return made


@pytest.mark.parametrize("template", ["model", "onnxruntime", "tflite"])
def test_folders_are_what_a_local_deployment_looks_for(here, template):
    made = component(here)
    recipe = here.root / "recipe.yaml"
    recipe.write_bytes(CliRunner().invoke(command_line, ["recipe", "--show-template", template]).stdout_bytes)
    out = here.root / "to device"
    arguments = ["bundle-local", str(recipe), "--artifact", made.uri, "--output", str(out)]
    done = CliRunner().invoke(command_line, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    validate("bundle-local", document)
    command = shlex.split(document["commands"]["classic"])
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert command[:4] == ["sudo", "/greengrass/v2/bin/greengrass-cli", "deployment", "create"]
    name, _, version = options["--merge"].partition("=")
    local = yaml.safe_load((Path(options["--recipeDir"]) / f"{name}-{version}.yaml").read_text())
    assert (local["ComponentName"], local["ComponentVersion"]) == (name, version)
    assert check_recipe(local) == []
    (artifact,) = local["Manifests"][0]["Artifacts"]
    held = Path(options["--artifactDir"]) / name / version / Path(artifact["Uri"]).name
    assert hashlib.sha256(held.read_bytes()).digest() == b64decode(artifact["Digest"])
    assert held.read_bytes() == Path(made.uri).read_bytes()
    assert len([each for each in out.rglob("*") if each.is_file()]) == 2
    text = CliRunner().invoke(command_line, arguments)
    assert document["commands"]["classic"] in text.stdout
    assert document["commands"]["lite"] in text.stdout


def test_what_cannot_be_bundled_leaves_nothing(here):
    recipe, out = here.root / "recipe.yaml", here.root / "bundle"
    recipe.write_bytes(CliRunner().invoke(command_line, ["recipe", "--show-template", "model"]).stdout_bytes)
    damaged = here.root / "damaged.zip"
    damaged.write_bytes(Path(component(here).uri).read_bytes()[:-30])
    for given in (damaged, here.root / "none.zip"):
        done = CliRunner().invoke(command_line, ["bundle-local", str(recipe), "--artifact", given, "--output", out])
        assert done.exit_code == 1
    recipe.write_text(recipe.read_text().replace("Manifests", "Manifest"))
    whole = ["--artifact", component(here).uri, "--output", str(out), "--json"]
    done = CliRunner().invoke(command_line, ["bundle-local", str(recipe), *whole])
    assert done.exit_code == 2
    validate("bundle-local", json.loads(done.stdout))
    assert not out.exists()


@pytest.mark.parametrize("name", [".", "..", "..."])
def test_a_name_that_leads_out_of_the_folders_is_refused(here, name):
    recipe, out = here.root / "recipe.yaml", here.root / "bundle"
    template = CliRunner().invoke(command_line, ["recipe", "--show-template", "model"]).stdout
    recipe.write_text(template.replace("ComponentName: com.example.model", f"ComponentName: '{name}'"))
    whole = ["--artifact", component(here).uri, "--output", str(out)]
    done = CliRunner().invoke(command_line, ["bundle-local", str(recipe), *whole])
    assert done.exit_code == 2
    assert not out.exists()


@pytest.mark.parametrize("output", ["-", "x.zip", "s3://bucket/x", "https://host/x", "file"])
def test_an_output_that_is_no_local_folder_is_wrong_use_and_makes_none(here, output, monkeypatch):
    recipe = here.root / "recipe.yaml"
    recipe.write_bytes(CliRunner().invoke(command_line, ["recipe", "--show-template", "model"]).stdout_bytes)
    artifact = component(here).uri
    monkeypatch.chdir(here.root)
    Path("file").write_bytes(b"mine")
    held = set(here.root.iterdir())
    done = CliRunner().invoke(command_line, ["bundle-local", str(recipe), "--artifact", artifact, "--output", output])
    assert (done.exit_code, set(here.root.iterdir())) == (2, held)
    assert "Accepted: file:///folder, or a plain path of a folder." in done.stderr
    assert Path("file").read_bytes() == b"mine"
