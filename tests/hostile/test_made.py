from __future__ import annotations

import zipfile
import zlib

import pytest

from packager import package
from tests import archives
from tests.hostile import java as java_
from tests.hostile.made import FILES, MAKERS, run


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    yield from java_.running(tmp_path_factory.mktemp("java"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "trained.tar.gz"
    path.write_bytes(archives.trained_model())
    return str(path)


SLOW = {"pigz -11", "zopfli"}


@pytest.mark.parametrize(
    "maker", [pytest.param(each, marks=pytest.mark.reliability if each in SLOW else ()) for each in MAKERS]
)
def test_what_people_pack_with_is_packaged_and_six_readers_find_its_content(maker, trained, java, tmp_path):
    path = tmp_path / "model.tar.gz"
    path.write_bytes(MAKERS[maker](tmp_path))
    (component,) = package(trained, {"jetson-xavier": str(path)}, str(tmp_path / "out"), strict=True).components
    assert component.error is None
    assert [each.rule for each in component.warnings] == (["left-out"] if maker == "macOS" else [])
    expected = {f"mochi/{name}": data for name, data in FILES.items()}
    with zipfile.ZipFile(component.uri) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    manifest = found.pop("manifest.json")
    assert found == expected
    java_found = {bytes.fromhex(name).decode(): (size, crc) for size, crc, name in java.unpack(component.uri)}
    whole = {"manifest.json": manifest, **expected}
    assert java_found == {name: (len(data), zlib.crc32(data)) for name, data in whole.items()}
    for name in ("mochi/sub/weights", "mochi/compiled.so"):
        for reader in (["unzip", "-p"], ["bsdtar", "-xOf"], ["7z", "x", "-so"], ["busybox", "unzip", "-p"]):
            assert run(*reader, component.uri, name, cwd=tmp_path) == expected[name], reader
