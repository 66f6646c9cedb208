"""Lying ZIPs and bombs through every command that reads a ZIP."""

from __future__ import annotations

import shutil

import pytest

from packager.device.check import check_component, published_artifact
from packager.device.compare import compare_components
from packager.device.recipe_template import shipped_template
from packager.device.unpacked import verify_unpacked
from packager.errors import ExtractionError, PackagerError
from packager.model.targets import TARGETS
from packager.packaging import package
from packager.publishing.local import bundle_local
from packager.publishing.publish import publish_component
from packager.settings import Settings
from packager.stores import Stores
from packager.stores.file import FileSource
from tests.hostile import zips
from tests.hostile.measured import measured

full = pytest.mark.reliability
FILE_NAME = "0123456789ab_greengrass_model_component.zip"
TARGET = "jetson-xavier"


@pytest.fixture
def here(tmp_path):
    """A place with a sound component, a recipe and an empty device beside the ZIP in question."""
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / FILE_NAME).write_bytes(zips.sound()["a plain one"])
    (tmp_path / "recipe.yaml").write_bytes(shipped_template("model"))
    (tmp_path / "device").mkdir()
    return tmp_path


def checked(path, _):
    return [each.rule for each in check_component(path, TARGET)]


def recipe(path, _):
    published_artifact(str(path), TARGETS[TARGET], Stores(), None)


def diffed(path, here):
    compare_components(FileSource(here / "sound" / FILE_NAME), FileSource(path), Settings(), digests=True)


def verified(path, here):
    verify_unpacked(here / "device", FileSource(path), Settings())


def bundled(path, here):
    bundle_local(str(here / "recipe.yaml"), str(path), here / "out")


def published(path, here):
    publish_component(str(here / "recipe.yaml"), str(path), "bucket", dry_run=True)


def packaged(path, here):
    named = {"layout": "files", "name": "n", "version": "1.0.0", "settings": Settings(max_attempts=1)}
    (made,) = package(str(path), {}, str(here / "out"), **named).components
    if made.error:
        raise made.error


COMMANDS = (checked, recipe, diffed, verified, bundled, packaged)
READ_EVERYTHING = (recipe, bundled, published)
"""What `check` calls damaged, these refuse: a recipe names bytes that a device must be able to unpack."""


def outcome(command, path, here):
    try:
        return command(path, here)
    except PackagerError as error:
        return error
    finally:
        shutil.rmtree(here / "out", ignore_errors=True)


@pytest.mark.parametrize("name", zips.lying())
def test_a_lying_zip_ends_every_command_in_words_and_no_recipe_is_made_of_a_damaged_one(here, name):
    path = here / FILE_NAME
    path.write_bytes(zips.lying()[name])
    found = {command: outcome(command, path, here) for command in COMMANDS}
    for error in found.values():
        if isinstance(error, PackagerError):
            assert str(error).isprintable()
            assert error.next_step
    if isinstance(found[checked], PackagerError):
        for command in READ_EVERYTHING:  # damage is told before AWS is asked
            assert isinstance(outcome(command, path, here), ExtractionError)
        assert isinstance(found[packaged], ExtractionError)
    left = {each.name for each in here.iterdir()}
    assert left == {"sound", "recipe.yaml", "device", FILE_NAME}


@pytest.mark.parametrize("into", ["the next entry", "the directory"])
def test_packed_bytes_that_run_into_what_follows_are_told_by_that(here, into):
    """Not by a checksum, which whoever makes such a ZIP can make fit."""
    path = here / FILE_NAME
    path.write_bytes(zips.lying()[f"a local header that is longer, up to {into}"])
    for command in (checked, packaged):
        assert outcome(command, path, here).figures["reason"] == "its packed bytes run into what follows it"


def told(command, path, here):
    """The rules that are broken, or the type of the error."""
    found = outcome(command, path, here)
    return [type(found).__name__] if isinstance(found, PackagerError) else found or []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", [pytest.param(each, marks=full) for each in zips.BOMBS])
def test_a_bomb_of_a_zip_takes_no_command_much_time_or_memory(here, name, command):
    path = here / FILE_NAME
    path.write_bytes(zips.BOMBS[name]())
    assert path.stat().st_size < 10 << 20
    found = measured(told, command, path, here)
    if command is checked:
        assert found.outcome, "a fault is found"
    assert isinstance(found.outcome, list), found.outcome
    found.assert_cheap()
