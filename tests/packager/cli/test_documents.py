"""Every document that a command prints with --json is of its published schema, in success and in failure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
import yaml
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
        "recipe": [
            (1, cut, "--template", recipe),
            (2, component, "--template", recipe, "--target", "arm64-cpu"),
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


@pytest.mark.parametrize("name", sorted(NAMES))
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


def wrong_uses(name):
    """Argument lists that the command refuses: what it needs is missing, unknown, too much, or of no such form."""
    command = command_line.get_command(click.Context(command_line), name)
    yield []
    yield ["--no-such-option"]
    yield ["--json=1"]
    yield ["a", "b", "c"]
    yield ["--set", "FOO=1"]
    yield ["--set", "MAX_ATTEMPTS=none", *("x" for each in command.params if each.param_type_name == "argument")]
    for option in command.params:
        if option.param_type_name == "option" and not option.is_flag:
            yield [option.opts[0]]
        if hasattr(option.type, "choices") or hasattr(option.type, "min"):
            yield [option.opts[0], "no-such-value"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_wrong_use_of_a_command_is_its_document_and_names_what_is_wrong(name):
    for arguments in wrong_uses(name):
        done = run(name, "--json", *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        document = json.loads(done.stdout)
        validate(name, document)
        assert document["error"]["type"] in {"RequestError", "SettingsError"}
        assert document["error"]["next_step"]
        assert "Error: " in done.stderr
        assert run(name, *arguments).stdout == ""


@pytest.mark.parametrize("arguments", [["--json"], ["no-such-command", "--json"], ["--no-such-option", "--json"]])
def test_wrong_use_of_no_command_is_a_document_too(arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    validate("error", json.loads(done.stdout))


def test_a_value_or_a_name_that_looks_like_the_option_asks_for_no_document():
    assert run("inspect", "--no-such-option", "--", "--json").stdout == ""


STREAMLESS = [
    ("diff", "-", "x"),
    ("diff", "x", "-"),
    ("verify", "-", "x"),
    ("verify", "x", "-"),
    ("recipe", "-"),
    ("recipe", "x", "--template", "model", "--published-as", "-"),
    ("publish", "x", "--artifact", "-", "--bucket", "b"),
    ("publish", "x", "--artifact", "x", "--bucket", "-"),
    ("bundle-local", "x", "--artifact", "-", "--output", "o"),
    ("bundle-local", "x", "--artifact", "x", "--output", "-"),
    ("package", *FILES, "--model", "x", "--output", "o", "--telemetry", "-"),
    ("package", *FILES, "--model", "x", "--output", "o", "--report", "-"),
    ("package", "--trained", "-", "--output", "o"),
    ("package", "--trained", "x", "--compiled", "arm64-cpu=-", "--output", "o"),
    ("plan", *FILES, "--model", "-", "--output", "o"),
    ("plan", *FILES, "--model", "x", "--output", "-"),
]


@pytest.mark.parametrize("arguments", STREAMLESS, ids=" ".join)
def test_a_dash_is_wrong_use_where_nothing_can_be_piped(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Path("x").write_bytes(b"{}")
    done = run(*arguments, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["type"]) == (2, "RequestError"), done.output
    assert {path.name for path in tmp_path.iterdir()} == {"x"}


def test_a_setting_that_is_not_known_names_the_nearest():
    for given, near in (("FOO=1", ""), ("max_attempt=1", "MAX_ATTEMPTS"), ("MAX_RATIO=1", "_RATIO")):
        said = " ".join(run("inspect", "x", "--set", given).stderr.split())
        assert re.search(rf"'{given[:-2]}' is no setting; the nearest is \w*{near}", said)


def test_the_document_of_a_recipe_holds_it_as_it_is_published(here, s3_server, bucket):
    there = ("--endpoint-url", s3_server.endpoint_url)
    names = json.loads((here.root / "names.json").read_text())
    asked = ("package", *FILES, "--model", names["model"], "--output", f"s3://{bucket}", *there, "--json")
    uri = json.loads(run(*asked).stdout)["components"][0]["uri"]
    named = ("--template", here.root / "recipe.yaml", "--name", "n", "--version", "1.0.0")
    written = run("recipe", uri, *named, *there)
    document = json.loads(run("recipe", uri, *named, *there, "--json").stdout)
    validate("recipe", document)
    assert document["recipe"] == yaml.safe_load(written.stdout)
