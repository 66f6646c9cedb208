from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from packager.cli.commands import packager
from packager.device.compare import MAX_LISTED, compare_components
from packager.errors import ExtractionError, LimitExceededError, ManifestError
from packager.settings import Settings
from packager.stores import Stores
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SETTINGS = Settings()
contents = st.binary(max_size=40)
names = st.text("abc", min_size=1, max_size=3)
components = st.dictionaries(names.map("f-{}".format) | names.map("folder/{}".format), contents, max_size=6)


@dataclass
class Bytes:
    """A ZIP in memory that counts what is read of it."""

    data: bytes
    uri: str = "memory.zip"
    read: list[int] = field(default_factory=list)

    def size_bytes(self) -> int:
        return len(self.data)

    def read_range(self, first: int, length: int) -> bytes:
        self.read.append(length)
        return self.data[first : first + length]


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def compared(a: Mapping[str, bytes], b: Mapping[str, bytes], **options):
    return compare_components(Bytes(zipped(a)), Bytes(zipped(b)), SETTINGS, **options)


def run(*arguments: object):
    return CliRunner().invoke(packager, [str(each) for each in arguments])


@given(components, components)
def test_what_is_told_turns_the_files_of_a_into_those_of_b(a, b):
    told = compared(a, b, digests=True)
    rebuilt = dict(a)
    for each in told.files:
        if each.change in {"removed", "changed"}:
            assert digest(a[each.path]) == (each.a.size_bytes, each.a.crc32, each.a.sha256)
            del rebuilt[each.path]
        if each.change == "moved":
            assert rebuilt.pop(each.moved_from) == b[each.path]
        if each.change != "removed":
            assert digest(b[each.path]) == (each.b.size_bytes, each.b.crc32, each.b.sha256)
            rebuilt[each.path] = b[each.path]
    assert rebuilt == b
    assert told.unchanged == sum(b.get(path) == data for path, data in a.items())
    assert told.equal == (a == b)
    validate("diff", json.loads(json.dumps(told.as_dict())))


def digest(data: bytes) -> tuple[int, str, str]:
    return len(data), f"{zlib.crc32(data):08x}", hashlib.sha256(data).hexdigest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab~/", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_the_fields_of_the_manifest_that_differ_are_named_by_pointers_that_lead_there(a, b):
    told = compared({"manifest.json": json.dumps(a).encode()}, {"manifest.json": json.dumps(b).encode()})
    assert bool(told.fields) == (json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True))
    for each in told.fields:
        for side, value in each.as_dict().items():
            if side != "field":
                assert json.dumps(at({"a": a, "b": b}[side], each.field)) == json.dumps(value)


def at(value, pointer: str):
    for key in pointer.split("/")[1:]:
        name = key.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def test_a_file_that_was_packed_otherwise_is_the_same_file():
    files = {"model.onnx": b"0" * 10_000}
    told = compare_components(Bytes(zipped(files)), Bytes(zipped(files, zipfile.ZIP_STORED)), SETTINGS)
    assert (told.equal, told.unchanged, told.repacked) == (True, 1, 1)


def test_of_equal_files_nothing_but_the_directories_is_read(s3_server, monkeypatch):
    weights = bytes(range(256)) * (24 << 12)
    client, bucket = s3_server.client(), s3_server.bucket()
    for name, changed in (("a", b"1"), ("b", b"2")):
        data = zipped({"weights": weights, "labels.txt": changed}, zipfile.ZIP_STORED)
        client.put_object(Bucket=bucket, Key=f"{name}.zip", Body=data)
    stores = Stores(client)
    sources = [stores.source(f"s3://{bucket}/{name}.zip") for name in "ab"]
    read = []
    whole = type(sources[0]).read_range
    monkeypatch.setattr(type(sources[0]), "read_range", lambda *asked: read.append(asked[2]) or whole(*asked))
    told = compare_components(*sources, SETTINGS)
    assert [each.path for each in told.files] == ["labels.txt"]
    assert sum(read) <= 2 * (1 << 20) < len(weights)


def test_more_differences_than_are_listed_are_counted():
    told = compared({}, {f"f{number:05}": b"" for number in range(MAX_LISTED + 5)})
    assert (len(told.files), told.files_in_all) == (MAX_LISTED, MAX_LISTED + 5)


@pytest.mark.parametrize(
    "files",
    [[("../outside", b"")], [("a", b"1"), ("a", b"2")], [("a", b""), ("a/b", b"")]],
    ids=["outside", "twice", "file-and-folder"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_without_one_answer_is_refused(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in files:
            packed.writestr(name, data)
    with pytest.raises(ExtractionError) as caught:
        compare_components(Bytes(buffer.getvalue()), Bytes(zipped({})), SETTINGS)
    assert caught.value.role == "component"


def test_a_manifest_above_its_limit_is_not_unpacked():
    bomb = Bytes(zipped({"manifest.json": b" " * (SETTINGS.max_manifest_bytes + 1)}))
    with pytest.raises(LimitExceededError):
        compare_components(bomb, Bytes(zipped({"manifest.json": b"{}"})), SETTINGS)


def test_a_manifest_that_cannot_be_read_is_told_with_the_component_that_has_it():
    good, bad = Bytes(zipped({"manifest.json": b"{}"})), Bytes(zipped({"manifest.json": b"{"}), "bad.zip")
    for sides in ((good, bad), (bad, good)):
        with pytest.raises(ManifestError) as caught:
            compare_components(*sides, SETTINGS)
        assert (caught.value.role, caught.value.uri) == ("component", "bad.zip")


def test_the_command_tells_people_and_scripts_the_same_and_ends_with_one_of_three_statuses(tmp_path: Path):
    a, b, damaged = (tmp_path / name for name in ("a.zip", "b.zip", "damaged.zip"))
    a.write_bytes(zipped({"manifest.json": b'{"threshold": 0.5}', "old/m.onnx": b"weights", "x": b"1"}))
    b.write_bytes(zipped({"manifest.json": b'{"threshold": 0.6, "\\u001b": "\\u001b"}', "new/m.onnx": b"weights"}))
    damaged.write_bytes(b"no zip")
    assert [run("diff", a, other).exit_code for other in (a, b, damaged)] == [0, 1, 3]
    assert run("diff", a, "https://x/y.zip").exit_code == 2
    text = run("diff", a, b, "--digests").stdout
    assert "moved    new/m.onnx (from old/m.onnx)" in text
    assert "manifest /threshold: 0.5 -> 0.6" in text
    assert "\x1b" not in text
    for other in (a, b, damaged, tmp_path / "absent.zip"):
        validate("diff", json.loads(run("diff", a, other, "--json").stdout))


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ({"x": b"1"}, {"x": b"1"}, "0 files differ, 1 is the same."),
        ({"x": b"1", "y": b"2"}, {"x": b"1", "y": b"3"}, "1 file differs, 1 is the same."),
        ({"x": b"1", "y": b"2"}, {"x": b"2", "y": b"3"}, "2 files differ, 0 are the same."),
    ],
)
def test_differences_are_counted_in_words_for_one_and_for_several(tmp_path, a, b, says):
    for name, files in (("a.zip", a), ("b.zip", b)):
        (tmp_path / name).write_bytes(zipped(files))
    assert run("diff", tmp_path / "a.zip", tmp_path / "b.zip").stdout.splitlines()[-1] == says


@pytest.mark.parametrize(
    ("unpacked", "says"),
    [
        ({"x": b"1", "y": b"2"}, "2 files (2 bytes): all the same."),
        ({"x": b"1", "y": b"3"}, "1 path differs, 1 file is the same (1 bytes)."),
        ({"x": b"4", "y": b"3"}, "2 paths differ, 0 files are the same (0 bytes)."),
    ],
)
def test_deviations_are_counted_in_words_for_one_and_for_several(tmp_path, unpacked, says):
    (tmp_path / "a.zip").write_bytes(zipped({"x": b"1", "y": b"2"}))
    for name, data in unpacked.items():
        (tmp_path / "folder" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    assert run("verify", tmp_path / "folder", tmp_path / "a.zip").stdout.splitlines()[-1] == says
