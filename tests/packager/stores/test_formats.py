from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import subprocess
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packager.stores.formats import HEAD_BYTES, recognized
from tests.archives import END, elf, gz, header, member, tar


def a_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", b"weights")
    return buffer.getvalue()


def old_tar():
    return header(b"name", 5, magic=bytes(8)) + b"hello".ljust(512, b"\0") + END


ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(100)
XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FORMATS = {
    "a ZIP": a_zip(),
    "a tar archive that is not compressed": tar([("a", b"b")]),
    "compressed with xz": lzma.compress(b"a"),
    "compressed with bzip2": bz2.compress(b"a"),
    "a Git LFS pointer": LFS,
    "an XML document": XML,
    "an HTML page": b"\r\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "a bare ONNX model": ONNX,
    "a bare library": elf(),
    "empty": b"",
    "a JSON document": b'{"message": "Forbidden"}',
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_no_tar_gz_is_told_by_what_it_is(name):
    found = recognized(FORMATS[name][:HEAD_BYTES])
    assert found.name.startswith(name)
    assert found.next_step


@pytest.mark.parametrize("name", [name for name in FORMATS if "tar archive" not in name])
def test_gzip_of_something_else_is_told_by_what_is_inside(name):
    assert f"inside it is {name}" in recognized(gzip.compress(FORMATS[name])[:HEAD_BYTES]).name


def test_a_tar_from_before_posix_is_told_by_its_checksum():
    assert "tar archive" in recognized(old_tar()).name
    assert recognized(old_tar().replace(b"name", b"nane")) is None


def test_gzip_in_gzip_is_told():
    assert "compressed with gzip, but inside it is compressed with gzip" in recognized(gz(gz(member() + END))).name


def test_a_tar_gz_is_recognized_as_no_other_format():
    assert recognized(gz(tar([("a", b"b")]))) is None
    assert recognized(gz(old_tar())) is None


def compressed_by(program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    return subprocess.run([program, "-c"], input=tar([("a", b"b")]), capture_output=True, check=True).stdout


MADE = {
    **{program: lambda program=program: compressed_by(program) for program in ("xz", "zstd", "bzip2")},
    "plain tar": lambda: tar([("a", b"b")]),
    "gzip twice": lambda: gzip.compress(gzip.compress(tar([("a", b"b")]))),
    "ZIP": a_zip,
    "ONNX": lambda: ONNX,
}


@pytest.mark.parametrize("name", ["it's a model.tar.gz", "model.tar.gz", "-n.tar.gz", "model.onnx"])
@pytest.mark.parametrize("made", MADE)
def test_the_command_makes_a_tar_gz_and_leaves_the_file_whatever_it_is_called(made, name, tmp_path):
    data = MADE[made]()
    (tmp_path / name).write_bytes(data)
    step = recognized(data[:HEAD_BYTES]).step_for(f"s3://bucket/{name}")
    for part in step.split(". Then: "):
        command = re.sub(r"^.*?: ", "", part).partition(" (")[0]
        subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / name).read_bytes() == data
    with tarfile.open(tmp_path / "repacked.tar.gz") as archive:
        found = [each.name.removeprefix("./") for each in archive if each.isfile()]
    assert found == (["model.onnx"] if made in {"ZIP", "ONNX"} else ["a"])


def test_a_hostile_name_cannot_leave_the_command():
    step = recognized(a_zip()).step_for("s3://bucket/$(reboot);\x1b[2J'.tar.gz")
    assert step.isprintable()
    assert """'$(reboot);\\x1b[2J'"'"'.tar.gz'""" in step


@given(st.binary(max_size=600) | st.binary(max_size=100).map(gzip.compress))
def test_any_bytes_are_something_or_nothing(data):
    found = recognized(data)
    assert found is None or found.step_for("file").isprintable()
