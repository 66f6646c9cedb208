"""Hostile and damaged artifacts, packaged as users package: nothing is published, nothing dangerous is shown."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from isal import igzip

from packager import package
from packager.errors import ExtractionError
from telemetry import catalog
from telemetry.engine.testing import recorded
from tests import archives
from tests.archives import END, compiled_files, compiled_model, gz, header, trained_model
from tests.recordings import assert_conforming

TARGET = "jetson-xavier"
PACKAGER = str(Path(sys.executable).with_name("packager"))
MEMORY_OF_A_RUN = """
import re, sys
from pathlib import Path
from packager import package
trained, compiled, output = sys.argv[1:]
(component,) = package(trained, {"jetson-xavier": compiled}, output).components
status = component.status if component.error is None else type(component.error).__name__
# Not ru_maxrss, which begins with the peak of the process that started this one.
print(status, int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10)
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return put(tmp_path_factory.mktemp("trained"), trained_model())


def put(folder, data):
    path = folder / f"{random.getrandbits(64):016x}.tar.gz"
    path.write_bytes(data)
    return path


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    """An output, what `package` needs to reach it, and a look at everything that is there."""
    if request.param == "folder":
        output = tmp_path / "out"
        return str(output), {}, lambda: [str(path) for path in output.rglob("*")]
    client = request.getfixturevalue("s3_server").client()
    bucket = request.getfixturevalue("bucket")

    def everything():
        objects = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return objects + client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])

    return f"s3://{bucket}/models", {"client": client}, everything


def refused(trained, compiled, place, kind=ExtractionError):
    output, options, everything = place
    result = package(str(trained), {TARGET: str(compiled)}, output, **options)
    (component,) = result.components
    assert isinstance(component.error, kind), component
    assert component.error.next_step
    assert json.dumps(result.as_dict(), allow_nan=False)
    assert component.error.message.isprintable()
    assert everything() == []
    return component.error


@pytest.mark.parametrize("name", [*archives.damaged(), *archives.unsafe()])
def test_a_hostile_compiled_artifact_is_refused_with_nothing_in_the_folder(trained, tmp_path, name):
    output = tmp_path / "out"
    data = archives.hostile()[name]
    refused(trained, put(tmp_path, data), (str(output), {}, lambda: [*output.rglob("*")]))
    assert not output.exists()


SOME = ["half a gzip", "outside: '../evil'", "a damaged second header", "a symbolic link", "a pax size of 2**60"]


@pytest.mark.parametrize("name", SOME)
def test_a_hostile_compiled_artifact_is_refused_with_nothing_published(trained, tmp_path, place, name):
    refused(trained, put(tmp_path, archives.hostile()[name]), place)


@pytest.mark.parametrize("name", SOME)
def test_a_hostile_trained_artifact_is_refused_with_nothing_published(tmp_path, place, name):
    refused(put(tmp_path, archives.hostile()[name]), put(tmp_path, compiled_model()), place)


def test_an_artifact_cut_after_many_parts_have_left_is_refused_with_nothing_published(trained, tmp_path, place):
    noise = random.Random(1).randbytes(20 << 20)
    whole = igzip.compress(archives.tar([*compiled_files(), ("large", noise)]), 1)
    with recorded() as records:
        refused(trained, put(tmp_path, whole[:-1]), place)
    (written,) = [each.fields for each in records if each.row == catalog.WRITE_COMPONENT.name]
    assert written["bytes_written"] > 10 << 20
    assert written["aborted"] == 1
    wrong = put(tmp_path, whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    assert "damaged" in refused(trained, wrong, place).message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_is_an_error_with_nothing_published_or_changes_nothing(trained, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped")
    whole = bytearray(compiled_model())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    output = folder / "out"
    (component,) = package(str(trained), {TARGET: str(put(folder, bytes(whole)))}, str(output)).components
    if component.error:
        assert isinstance(component.error, ExtractionError)
        assert not output.exists()
    else:
        # Some bytes of the header mean nothing, and a copy from 4 bytes back can say what one from 8 says.
        assert at < 10 or gzip.decompress(whole) == gzip.decompress(compiled_model())
        with zipfile.ZipFile(component.uri) as archive:
            assert {name: archive.read(f"mochi/{name}") for name, _ in compiled_files()} == dict(compiled_files())


def test_one_hostile_target_leaves_the_others_whole(trained, tmp_path):
    compiled = {
        "jetson-xavier": str(put(tmp_path, archives.hostile()["a symbolic link"])),
        "arm64-cpu": str(put(tmp_path, compiled_model())),
    }
    result = package(str(trained), compiled, str(tmp_path / "out"))
    assert {each.target: each.status for each in result.components} == {
        "jetson-xavier": "failed",
        "arm64-cpu": "packaged",
    }
    (made,) = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert zipfile.ZipFile(made).testzip() is None


def speaks_to_terminals(text):
    return [character for character in text if not character.isprintable() and character != "\n"]


def run(*arguments):
    done = subprocess.run([PACKAGER, *map(os.fspath, arguments)], capture_output=True, check=False, timeout=120)
    assert_conforming(arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def hostile_names(tmp_path):
    names = [name.encode() for name in archives.UNPRINTABLE] + [b"\xff\x1b]0;title\x07", b"a\x1b[31m" * 10]
    whole = b"".join(archives.member(name) for name in names) + header(b"l\x1b", kind=b"2", link=b"\x1b[2J") + END
    return put(tmp_path, gz(whole)), len(names) + 1


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_control_character_of_a_name_reaches_the_terminal(hostile_names, form):
    path, count = hostile_names
    status, out, err = run("inspect", path, *form)
    assert status == 1
    assert speaks_to_terminals(out + err) == []
    if form:
        document = json.loads(out)
        assert (len(document["members"]), len(document["findings"])) == (count, count)
        assert all(each["name"].isprintable() for each in document["members"])
    else:
        assert r"\x1b[2J" in out


def test_no_control_character_of_a_name_reaches_a_log(trained, hostile_names, tmp_path):
    compiled, _ = hostile_names
    folder = tmp_path / "telemetry"
    arguments = ["--trained", trained, "--compiled", f"{TARGET}={compiled}", "--output", tmp_path / "out"]
    status, out, err = run("package", *arguments, "--telemetry", folder)
    assert status == 1
    assert speaks_to_terminals(out + err) == []
    lines = [line for path in folder.iterdir() for line in path.read_text().splitlines()]
    assert lines
    for line in lines:
        assert speaks_to_terminals(line) == []
        assert all(
            character.isprintable() or character in "\n\t" for text in strings(json.loads(line)) for character in text
        )


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")


def large_model(folder, size_bytes):
    """A compiled artifact of weights that hardly pack, as weights do, made block by block."""
    path = folder / f"{size_bytes}.tar.gz"
    block = random.Random(7).randbytes(1 << 20)
    with path.open("wb") as file, igzip.IGzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
        for name, data in compiled_files():
            packed.write(archives.member(name.encode(), data))
        packed.write(header(b"weights", size_bytes))
        for _ in range(size_bytes >> 20):
            packed.write(block)
        packed.write(END)
    return path


def peak_bytes(trained, compiled, folder, status="packaged"):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_OF_A_RUN, str(trained), str(compiled), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found, peak = done.stdout.split()
    assert found == status
    return int(peak)


@needs_proc
def test_memory_does_not_grow_with_the_archive(trained, tmp_path):
    model = large_model(tmp_path, 128 << 20)
    small = max(peak_bytes(trained, model, tmp_path / name) for name in ("small", "again"))
    large = peak_bytes(trained, large_model(tmp_path, 640 << 20), tmp_path / "large")
    assert large <= 1.1 * small, (small, large)


@needs_proc
def test_a_zip_bomb_takes_no_more_memory_than_a_sound_archive(trained, tmp_path):
    sound = peak_bytes(trained, large_model(tmp_path, 64 << 20), tmp_path / "sound")
    bomb = tmp_path / "bomb.tar.gz"
    with igzip.open(bomb, "wb", compresslevel=3) as packed:
        packed.write(header(b"zeros", 8 << 30))
        for _ in range(400):
            packed.write(bytes(1 << 20))
    found = peak_bytes(trained, bomb, tmp_path / "bombed", "LimitExceededError")
    assert found <= 1.1 * sound, (sound, found)
    assert not (tmp_path / "bombed").exists()
