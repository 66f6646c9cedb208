from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
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


def test_a_tar_gz_is_none_of_these():
    assert recognized(gz(tar([("a", b"b")]))) is None
    assert recognized(gz(old_tar())) is None


@pytest.mark.parametrize("program", ["xz", "zstd", "bzip2"])
def test_what_the_programs_write_is_told_and_the_command_makes_a_tar_gz(program, tmp_path):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    path = tmp_path / "it's a model.tar.gz"
    path.write_bytes(subprocess.run([program, "-c"], input=tar([("a", b"b")]), capture_output=True, check=True).stdout)
    found = recognized(path.read_bytes()[:HEAD_BYTES])
    assert found.name == f"compressed with {program}"
    command = found.step_for(str(path)).split(": ", 1)[1]
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert gzip.decompress((tmp_path / "model.tar.gz").read_bytes()) == tar([("a", b"b")])


def test_a_hostile_name_cannot_leave_the_command():
    step = recognized(a_zip()).step_for("s3://bucket/$(reboot);\x1b[2J'.tar.gz")
    assert step.isprintable()
    assert """'$(reboot);\\x1b[2J'"'"'.tar.gz'""" in step


@given(st.binary(max_size=600) | st.binary(max_size=100).map(gzip.compress))
def test_any_bytes_are_something_or_nothing(data):
    found = recognized(data)
    assert found is None or found.step_for("file").isprintable()
