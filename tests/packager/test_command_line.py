"""What the commands print, and where: quiet, verbose, progress in logs, completion, outputs that cannot be."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from packager.cli import progress
from packager.cli.commands import packager as command_line
from packager.cli.progress_lines import EVERY_S, ProgressLines
from packager.errors import RequestError
from packager.results import ProcessingState
from packager.settings import STRATEGY_NAMES, Settings
from packager.stores import Stores
from tests.packages import Model, ground

MODEL = Model({"model.onnx": 3000, "labels.txt": 20})


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def asked(here, model=None):
    model = model or here.compiled(MODEL)
    return ["package", "--layout", "files", "--model", model, "--name", "n", "--version", "1.0.0", "--output", here.out]


def run(*arguments):
    return CliRunner().invoke(command_line, [str(each) for each in arguments])


def test_quiet_says_nothing_but_errors_and_verbose_what_is_being_done(here):
    assert run(*asked(here), "--quiet").output == ""
    failed = run(*asked(here, "no-such.tar.gz"), "-q")
    assert (failed.exit_code, failed.stdout, failed.stderr.count("Error: ")) == (1, "", 1)
    told = run(*asked(here), "-v", "--force")
    assert told.stderr.splitlines()[0].startswith("n=1.0.0: identifying 0 bytes of ")
    assert told.stderr.splitlines()[-1] == "n=1.0.0: done"
    assert run(*asked(here), "--quiet", "--json").stdout.startswith("{")


def test_check_warns_that_a_component_of_any_files_has_no_manifest(here):
    assert run(*asked(here)).exit_code == 0
    checked = run("check", next(Path(here.out).rglob("*.zip")))
    assert checked.stdout.startswith("warning: manifest: There is no readable manifest.json at the root.")


def test_a_log_gets_a_line_every_ten_seconds_and_never_more(capsys):
    now = [0.0]
    lines = ProgressLines(clock=lambda: now[0])
    for tenth in range(1, 351):
        now[0] = tenth / 10
        lines(ProcessingState("packaging", "a\x1b[2Jb", tenth << 20, 350 << 20))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == int(35 / EVERY_S)
    assert "\x1b" not in "".join(told)
    assert told[0].endswith("packaging 100.0 MiB of 350.0 MiB (28 %)")


@pytest.mark.parametrize("width", [20, 40, 79, 80, 200])
def test_bars_fit_the_terminal(monkeypatch, width):
    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=shown, width=width, force_terminal=True, color_system=None)
    )
    with progress.ProgressBars() as bars:
        bars(ProcessingState("packaging", "onnx-jetson-xavier-jp5" * (1 if width >= 80 else 5), 5 << 20, 10 << 20))
    drawn = [line for line in shown.getvalue().replace("\r", "\n").splitlines() if "onnx" in line]
    assert drawn
    assert "50%" in drawn[-1] or width >= 80


@pytest.mark.parametrize("output", ["out.zip", "sub/OUT.ZIP", "file", "file:///x/out.zip", "s3://bucket/a/out.zip"])
def test_an_output_that_is_no_folder_is_wrong_use(here, output, monkeypatch):
    monkeypatch.chdir(here.root)
    Path("file").write_bytes(b"mine")
    done = run(*asked(here)[:-1], output)
    assert done.exit_code == 2
    assert "Accepted: " in done.output
    assert Path("file").read_bytes() == b"mine"
    assert not Path("out.zip").exists()


def test_a_folder_may_be_called_like_a_zip(here):
    folder = here.root / "dist.zip"
    folder.mkdir()
    assert run(*asked(here)[:-1], folder).exit_code == 0


def test_the_library_has_no_standard_streams_of_its_own():
    with pytest.raises(RequestError, match="there is no standard input here"):
        Stores().model("-", Settings())
    with pytest.raises(RequestError, match="components get names of their own"):
        Stores().sink("-")


def test_a_package_that_is_missing_is_one_line_that_names_the_extra():
    program = "import sys; sys.modules['click'] = None; from packager.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    said = "The command line needs click. Install the package with its extra `cli`.\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["package"], ["package", "--json"], ["inspect"]])
def test_a_full_disk_under_standard_output_is_one_line(here, command):
    model = here.compiled(MODEL)
    arguments = [*command, model] if command == ["inspect"] else [*asked(here, model), *command[1:]]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [Path(sys.executable).with_name("packager"), *arguments], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["Error: Standard output cannot be written: No space left on device."]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("arguments", "asked_"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["diff", "--help"], {}),
        ([], {"_PACKAGER_COMPLETE": "bash_source"}),
        ([], {"_PACKAGER_COMPLETE": "zsh_complete", "COMP_WORDS": "packager pl", "COMP_CWORD": "1"}),
    ],
)
def test_a_full_disk_under_what_needs_no_model_is_one_line(arguments, asked_):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [Path(sys.executable).with_name("packager"), *arguments],
            env={**os.environ, **asked_},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["Error: Standard output cannot be written: No space left on device."]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("packager package --compiled jetson-xavier-jp", {f"jetson-xavier-jp{n}=" for n in (5, 6, 7)}),
        ("packager package --target x86", {"x86_64-cpu", "x86_64-cuda"}),
        ("packager package --strategy s", {each for each in STRATEGY_NAMES if each.startswith("s")}),
        ("packager plan --layout ", {"model", "files"}),
        ("packager pl", {"plan"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_targets_and_strategies(words, offered, shell):
    last = words.rsplit(" ", 1)[-1]
    asked_ = {
        "_PACKAGER_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": last if shell == "fish" else str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("packager")],
        env={**os.environ, **asked_},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {word for line in done.stdout.splitlines() for word in line.replace(",", " ").split()}
    assert offered <= found
