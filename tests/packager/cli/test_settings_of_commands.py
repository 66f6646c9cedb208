"""Every setting of every command: a bad value is refused before any work, a limit is named where it is exceeded."""

from __future__ import annotations

import lzma
from dataclasses import fields

import pytest
from click import Context
from click.testing import CliRunner

from packager.cli.commands import packager as command_line
from packager.settings import Settings
from packager.stores.s3_options import S3Options
from tests import archives
from tests.archives import END, gz, member, pax
from tests.containers import zstd
from tests.hostile import zips
from tests.packages import ground

ZIP = "0123456789ab_greengrass_model_component.zip"
FILES = ("--layout", "files", "--name", "n", "--version", "1.0.0")
COMMANDS = {
    "inspect": ("trained.tar.gz",),
    "package": ("--trained", "trained.tar.gz", "--compiled", "jetson-xavier=compiled.tar.gz", "--output", "out"),
    "package files": ("--model", ZIP, *FILES, "--output", "out"),
    "package xz": ("--model", "model.tar.xz", *FILES, "--output", "out"),
    "package zstd": ("--model", "model.tar.zst", *FILES, "--output", "out"),
    "plan": ("--trained", "trained.tar.gz", "--compiled", "jetson-xavier=compiled.tar.gz", "--output", "out"),
    "check": (ZIP, "--target", "jetson-xavier"),
    "recipe": (ZIP, "--name", "model-a", "--version", "1.0.0", "--target", "jetson-xavier"),
    "diff": (f"other/{ZIP}", ZIP),
    "verify": ("unpacked", ZIP),
    "publish": ("recipe.yaml", "--artifact", ZIP, "--bucket", "bucket", "--dry-run"),
    "bundle-local": ("recipe.yaml", "--artifact", ZIP, "--output", "out"),
}
NUMBERS = [each for each in fields(Settings) if type(each.default) is int]
LIMITS = {each.metadata["variable"] for each in NUMBERS if each.metadata["variable"].startswith("MAX_")}


@pytest.fixture
def here(monkeypatch):
    with ground() as made:
        monkeypatch.chdir(made.root)
        yield made


def run(command, *more):
    return CliRunner().invoke(command_line, [command.split()[0], *COMMANDS[command], *more])


def test_every_command_is_tried():
    assert {each.split()[0] for each in COMMANDS} == {*command_line.list_commands(Context(command_line))}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_value_is_refused_by_its_name_before_any_work(here, command, monkeypatch):
    """Nothing of what the command names is there: whoever looked for it first would say so."""
    for each in (*fields(Settings), *fields(S3Options)):
        variable, bad = each.metadata["variable"], "" if each.name == "scratch_dir" else "\t-?"
        by_option = run(command, "--set", f"{variable}={bad}")
        with monkeypatch.context() as patched:
            patched.setenv(variable, bad)
            by_environment = run(command)
        for done in (by_option, by_environment):
            assert (done.exit_code, done.stdout) == (2, ""), done.output
            assert f"{variable} is " in done.stderr
    assert list(here.root.iterdir()) == []


def compiled():
    named = pax((b"comment", b"c" * 99), (b"path", b"weights")) + member(b"w", bytes(9000))
    return gz(b"".join(member(name.encode(), data) for name, data in archives.compiled_files()) + named + END)


@pytest.fixture
def full(here):
    (here.root / "trained.tar.gz").write_bytes(archives.trained_model())
    (here.root / "compiled.tar.gz").write_bytes(compiled())
    (here.root / "model.tar.xz").write_bytes(lzma.compress(archives.tar([("a", bytes(9000))])))
    (here.root / "model.tar.zst").write_bytes(zstd(archives.tar([("a", bytes(9000))])))
    (here.root / ZIP).write_bytes(zips.with_part(zips.Part(b"mochi/zeros", bytes(9000))))
    (here.root / "other").mkdir()
    (here.root / "other" / ZIP).write_bytes(zips.zipped([zips.Part(b"manifest.json", b'{"a": [1, 2, 3, 4]}')]))
    (here.root / "unpacked").mkdir()
    (here.root / "recipe.yaml").write_bytes(
        CliRunner().invoke(command_line, ["recipe", "--show-template", "model"]).stdout_bytes
    )
    return here


OF_TARS = ("package", "plan")
OF_ZIPS = ("package files", "check", "recipe", "diff", "verify", "publish", "bundle-local")
READING_ALL = ("check", "recipe", "publish", "bundle-local")
EXCEEDED = [
    ("MAX_ARCHIVE_MEMBERS", 2, (*OF_TARS, "inspect", *OF_ZIPS)),
    ("MAX_UNPACKED_BYTES", 700, (*OF_TARS, "inspect", "verify", *READING_ALL)),
    ("MAX_COMPRESSION_RATIO", 1, (*OF_TARS, "inspect", "package files", *READING_ALL)),
    ("MAX_NAMES_BYTES", 60, (*OF_TARS, "inspect", "package files", "diff", "verify")),
    ("MAX_EXTENSION_HEADER_BYTES", 9, OF_TARS),
    ("MAX_PAX_RECORDS", 1, OF_TARS),
    ("MAX_CONFIG_BYTES", 9, OF_TARS),
    ("MAX_MANIFEST_BYTES", 9, (*OF_TARS, "diff", *READING_ALL)),
    ("MAX_MANIFEST_VALUES", 2, (*OF_TARS, "diff", *READING_ALL)),
    ("MAX_XZ_MEMORY_BYTES", 9, ("package xz",)),
    ("MAX_ZSTD_WINDOW_BYTES", 9, ("package zstd",)),
    ("MAX_ZIP_DIRECTORY_BYTES", 9, OF_ZIPS),
]
OF_OTHERS = {"MAX_CONCURRENT_OPERATIONS", "MAX_ATTEMPTS", "MAX_SELECTED_BYTES"}
"""Two that bound the work, and one of the library alone."""


@pytest.mark.parametrize(
    ("limit", "value", "command"),
    [(limit, value, command) for limit, value, commands in EXCEEDED for command in commands],
)
def test_a_limit_that_is_exceeded_is_named_with_its_value_and_what_was_found(full, limit, value, command):
    done = run(command, "--set", f"{limit}={value}", "--set", "COMPRESSION_RATIO_GRACE=0")
    assert f"{limit} = {value} (found " in done.output, done.output
    assert f"raise {limit}" in done.output
    assert done.exit_code or command in {"inspect", "plan"}
    assert not (full.root / "out").exists()


def test_every_limit_on_an_archive_is_tried():
    assert {limit for limit, _, _ in EXCEEDED} == LIMITS - OF_OTHERS
