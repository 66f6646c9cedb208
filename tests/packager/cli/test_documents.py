"""Every document that a command prints with --json is of its published schema, in success and in failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import packager
from packager.cli.commands import packager as command_line
from tests.packages import Model, ground
from tests.schemas import SCHEMAS, validate

MODEL = Model({"compiled.so": 3000, "compiled.params": 2000, "a.json": 20, "compiled.meta": 10})
FILES = ("--layout", "files", "--name", "n", "--version", "1.0.0")


@pytest.fixture(scope="module")
def here():
    """Where the files of the documents lie: artifacts, a component, a recipe, folders; one of each is broken."""
    with ground() as made:
        model = made.compiled(MODEL)
        (made.root / "cut.tar.gz").write_bytes(MODEL.archive()[:900])
        (made.root / "recipe.yaml").write_bytes(run("recipe", "--show-template", "model").stdout_bytes)
        asked = ("package", *FILES, "--model", model, "--output", made.out, "--recipe", "model", "--json")
        document = json.loads(run(*asked).stdout)
        (made.root / "names.json").write_text(json.dumps({"model": model, "zip": document["components"][0]["uri"]}))
        (made.root / "unpacked").mkdir()
        (made.root / "unpacked" / "a.json").write_bytes(b"other")
        yield made


def run(*arguments):
    return CliRunner().invoke(command_line, [str(each) for each in arguments])


def commands(here):
    """For each command: argument lists, with the exit status that each has."""
    names = json.loads((here.root / "names.json").read_text())
    model, component, cut = names["model"], names["zip"], here.root / "cut.tar.gz"
    both = ("--trained", here.trained, "--compiled", f"arm64-cpu={model}", "--compiled", f"x86_64-cpu={cut}")
    new, recipe = here.root / "new", here.root / "recipe.yaml"
    to_cloud = ("--bucket", "no-such-bucket", "--artifact")
    return {
        "package": [
            (1, *both, "--output", new),
            (0, *FILES, "--model", model, "--output", here.out, "--recipe", "model"),
            (1, *FILES, "--model", cut, "--output", new, "--recipe", "model"),
            (2, "--trained", here.trained, "--compiled", "toaster=x", "--output", new),
        ],
        "plan": [
            (1, *both, "--output", new),
            (0, *FILES, "--model", model, "--output", new),
            (2, *FILES, "--model", model, "--output", "http://x/"),
        ],
        "inspect": [(0, model), (1, cut), (1, here.root / "none.tar.gz"), (2, "http://x/")],
        "check": [(0, component), (0, recipe), (1, cut), (1, component, "--strict"), (2, component, "--target", "x")],
        "diff": [(0, component, component, "--digests"), (3, component, cut)],
        "verify": [(1, here.root / "unpacked", component), (3, here.root / "unpacked", cut)],
        "bundle-local": [
            (0, recipe, "--artifact", component, "--output", new),
            (1, recipe, "--artifact", cut, "--output", new),
        ],
        "publish": [(1, recipe, *to_cloud, cut), (2, recipe, "--bucket", "no bucket", "--artifact", component)],
    }


NAMES = command_line.list_commands(None)


def test_every_command_with_a_document_has_a_schema_and_is_tried(here):
    with_document = {
        name for name in NAMES if any("--json" in option.opts for option in command_line.get_command(None, name).params)
    }
    assert set(commands(here)) == with_document
    assert {path.stem for path in SCHEMAS.glob("*.json")} == with_document | {"error", "finding"}


@pytest.mark.parametrize("name", sorted({*NAMES} - {"recipe"}))
def test_what_a_command_prints_is_of_its_schema(here, name):
    for status, *arguments in commands(here)[name]:
        done = run(name, *arguments, "--json")
        assert done.exit_code == status, (arguments, done.output)
        validate(name, json.loads(done.stdout))


def test_the_documents_of_the_library_are_those_of_the_commands(here):
    model = json.loads((here.root / "names.json").read_text())["model"]
    result = packager.package(model, {}, str(here.root / "library"), layout="files", name="n", version="1.0.0")
    validate("package", json.loads(json.dumps(result.as_dict())))
    assert Path(result.components[0].uri).is_file()
