"""What the commands print, and where: quiet, verbose, progress in logs, completion, outputs that cannot be."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
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
    assert EVERY_S == 10
    begun, each_s = time.monotonic(), 0.2
    with ProgressLines(every_s=each_s) as lines:
        for done in range(1, 351):
            lines(ProcessingState("packaging", "a\x1b[2Jb", done << 20, 350 << 20))
            time.sleep(each_s / 100)
    told = capsys.readouterr().err.splitlines()
    assert 1 <= len(told) <= (time.monotonic() - begun) / each_s
    assert all(re.fullmatch(r"\S+: packaging \d+\.0 MiB of 350\.0 MiB \(\d+ %\)", line) for line in told), told
    assert "\x1b" not in "".join(told)


@pytest.mark.parametrize(
    ("states", "line"),
    [
        ([], "nothing has come yet"),
        ([ProcessingState("packaging", "n=1.0.0", 20 << 20)], "n=1.0.0: packaging 20.0 MiB"),
        ([ProcessingState("packaging", "n=1.0.0", 9), ProcessingState("inspecting", "", 0)], "inspecting"),
    ],
)
def test_a_log_gets_its_lines_also_while_nothing_comes(capsys, states, line):
    told = ""
    with ProgressLines(every_s=0.05) as lines:
        for state in states:
            lines(state)
        while told.count("\n") < 3:
            time.sleep(0.01)
            told += capsys.readouterr().err
    assert set(told.splitlines()) == {line}


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


PATHS = (
    "package --trained",
    "package --model",
    "package --recipe",
    "package --report",
    "plan --model",
    "inspect",
    "check",
    "recipe",
    "recipe --template",
    "publish",
    "publish --artifact",
    "bundle-local r.yaml --artifact",
    "diff a.zip",
    "verify folder",
)
FOLDERS = ("package --output", "package --telemetry", "bundle-local --output", "verify")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("packager package --compiled jetson-xavier-jp", {f"jetson-xavier-jp{n}=" for n in (5, 6, 7)}),
        ("packager package --target x86", {"x86_64-cpu", "x86_64-cuda"}),
        ("packager package --strategy s", {each for each in STRATEGY_NAMES if each.startswith("s")}),
        ("packager plan --layout ", {"model", "files"}),
        ("packager pl", {"plan"}),
        *((f"packager {words} mo", {"file"}) for words in PATHS),
        *((f"packager {words} mo", {"dir"}) for words in FOLDERS),
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


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("packager inspect mod", "packager inspect model.tar.gz "),
        ("packager package --model mod", "packager package --model model.tar.gz "),
        ("packager package --output fold", "packager package --output folder/"),
        ("packager package --compiled arm64-cpu=mod", "packager package --compiled arm64-cpu=model.tar.gz "),
        ("packager package --model=mod", "packager package --model=model.tar.gz "),
        ("packager package --layout=fi", "packager package --layout=files "),
        ("packager verify fold", "packager verify folder/"),
    ],
)
def test_bash_completes_names_of_files(tmp_path, typed, completed):
    (tmp_path / "model.tar.gz").touch()
    (tmp_path / "folder").mkdir()
    folder = Path(sys.executable).parent
    rc = tmp_path / "rc"
    rc.write_text(f'PS1=; PATH="{folder}:$PATH"; eval "$(_PACKAGER_COMPLETE=bash_source packager)"; echo ready\n')
    shell, terminal = pty.fork()
    if not shell:
        os.chdir(tmp_path)
        os.execvpe("bash", ["bash", "--noprofile", "--rcfile", str(rc), "-i"], {**os.environ, "TERM": "dumb"})  # noqa: S606  a shell it is
    try:
        read_until(terminal, "ready")
        os.write(terminal, f"{typed}\t".encode())
        said = read_until(terminal, completed)
    finally:
        os.kill(shell, signal.SIGKILL)
        os.waitpid(shell, 0)
        os.close(terminal)
    assert completed in said


def read_until(terminal, text):
    said = ""
    deadline = time.monotonic() + 60
    while text not in said and time.monotonic() < deadline and select.select([terminal], [], [], 60)[0]:
        said += os.read(terminal, 4096).decode(errors="replace").replace("\r", "")
    return said


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_whole_words_behind_a_target(tmp_path, shell):
    (tmp_path / "model.tar.gz").touch()
    (tmp_path / "models").mkdir()
    words = f"packager package --compiled arm64-cpu={tmp_path}/mod"
    asked_ = {"_PACKAGER_COMPLETE": f"{shell}_complete", "COMP_WORDS": words}
    asked_["COMP_CWORD"] = words.rsplit(" ", 1)[-1] if shell == "fish" else "3"
    program = Path(sys.executable).with_name("packager")
    done = subprocess.run([program], env={**os.environ, **asked_}, capture_output=True, text=True, check=True)
    for name in ("model.tar.gz", "models/"):
        assert f"arm64-cpu={tmp_path}/{name}" in done.stdout
