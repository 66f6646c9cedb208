from __future__ import annotations

import json
import os
import shutil
import socket
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from packager.cli.commands import packager
from packager.device.unpacked import MAX_LISTED, verify_unpacked
from packager.errors import ArtifactNotFoundError, ExtractionError, StoreError
from packager.packaging import package
from packager.settings import Settings
from packager.stores import Stores
from tests import models
from tests.schemas import validate

SETTINGS = Settings()
WEIGHTS = "mochi/compiled.params"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    trained, compiled = models.trained(folder / "model.tar.gz"), models.neo(folder / "neo.tar.gz")
    result = package(str(trained), {"jetson-xavier": str(compiled)}, str(folder / "out"))
    return Path(result.components[0].uri)


@pytest.fixture
def device(shipped, tmp_path) -> Path:
    """The component as a device unpacks it."""
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(shipped) as packed:
        packed.extractall(folder)
    return folder


def verified(folder: Path, shipped: Path, **options):
    return verify_unpacked(folder, Stores().source(str(shipped)), SETTINGS, **options)


def kinds(found) -> dict[str, str]:
    return {each.path: each.kind for each in found.deviations}


def test_what_a_device_unpacked_is_what_was_shipped(shipped, device):
    found = verified(device, shipped)
    with zipfile.ZipFile(shipped) as packed:
        sizes = [each.file_size for each in packed.infolist()]
    assert (found.equal, found.files, found.bytes_compared) == (True, len(sizes), sum(sizes))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link_to_itself(path: Path) -> None:
    copy = path.with_name("elsewhere")
    path.rename(copy)
    path.symlink_to(copy)


def socket_there(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(path.parent, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), {WEIGHTS: "missing"}),
        (lambda folder: shutil.rmtree(folder / "mochi"), {"mochi": "missing"}),
        (lambda folder: flip(folder / WEIGHTS), {WEIGHTS: "changed"}),
        (lambda folder: os.truncate(folder / WEIGHTS, 5), {WEIGHTS: "changed"}),
        (lambda folder: (folder / "mochi" / "x.py").touch(), {"mochi/x.py": "extra"}),
        (lambda folder: (folder / "a" / "b" / "c").mkdir(parents=True), {"a": "extra"}),
        (lambda folder: link_to_itself(folder / WEIGHTS), {WEIGHTS: "wrong_kind", "mochi/elsewhere": "extra"}),
        (lambda folder: link_to_itself(folder / "mochi"), {"mochi": "wrong_kind", "elsewhere": "extra"}),
        (lambda folder: (folder / "loop").symlink_to("."), {"loop": "extra"}),
        (lambda folder: [(folder / WEIGHTS).unlink(), os.mkfifo(folder / WEIGHTS)], {WEIGHTS: "wrong_kind"}),
        (lambda folder: socket_there(folder / WEIGHTS), {WEIGHTS: "wrong_kind"}),
        (lambda folder: [(folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()], {WEIGHTS: "wrong_kind"}),
        (lambda folder: (folder / os.fsdecode(b"\xff\x1b")).touch(), {"\\udcff\\x1b": "extra"}),
    ],
    ids=lambda each: None if callable(each) else "-".join(each.values()),
)
def test_every_way_to_deviate_is_told_by_its_kind_once(shipped, device, damage, expected):
    damage(device)
    found = verified(device, shipped)
    assert kinds(found) == expected
    assert found.deviations_in_all == len(expected)
    validate("verify", json.loads(json.dumps(found.as_dict())))


def test_the_first_byte_that_differs_is_told(shipped, device):
    weights = device / WEIGHTS
    size = weights.stat().st_size
    flip(weights)
    assert verified(device, shipped).deviations[0].detail == f"its bytes differ after the first {size // 2}"


def test_what_is_excluded_is_passed_over_on_both_sides(shipped, device):
    (device / "mochi" / "__pycache__").mkdir()
    (device / WEIGHTS).unlink()
    assert verified(device, shipped, exclude=("__pycache__", "*.params")).equal


def test_a_folder_swapped_for_a_link_after_it_was_listed_is_not_followed(shipped, device, monkeypatch, tmp_path):
    outside = tmp_path / "outside"
    (device / "mochi").rename(outside)
    (device / "mochi").mkdir()
    real = os.open

    def swap(name, *options, **more):
        if name == "mochi" and not (device / "mochi").is_symlink():
            (device / "mochi").rmdir()
            (device / "mochi").symlink_to(outside)
        return real(name, *options, **more)

    monkeypatch.setattr(os, "open", swap)
    found = verified(device, shipped)
    assert kinds(found)["mochi"] == "unreadable"
    assert found.files == 1  # the manifest; nothing behind the link was read


def test_more_deviations_than_are_listed_are_counted(shipped, device):
    for number in range(MAX_LISTED + 3):
        (device / str(number)).touch()
    found = verified(device, shipped)
    assert (len(found.deviations), found.deviations_in_all) == (MAX_LISTED, MAX_LISTED + 3)


def test_a_damaged_component_is_an_error_and_no_deviation(shipped, device, tmp_path):
    damaged = tmp_path / shipped.name
    data = bytearray(shipped.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged.write_bytes(data)
    with pytest.raises(ExtractionError) as caught:
        verified(device, damaged)
    assert caught.value.role == "component"


def test_a_folder_that_is_none_is_an_error(shipped, tmp_path):
    with pytest.raises(ArtifactNotFoundError):
        verified(tmp_path / "absent", shipped)
    with pytest.raises(StoreError):
        verified(shipped, shipped)


def test_the_command_ends_with_one_of_three_statuses(shipped, device, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(packager, ["verify", *map(str, arguments)])

    assert run(device, shipped).exit_code == 0
    (device / WEIGHTS).unlink()
    assert run(device, shipped).exit_code == 1
    assert f"missing     {WEIGHTS}: it is not there" in run(device, shipped).stdout
    assert run(tmp_path / "absent", shipped).exit_code == 3
    passed_over = run(device, shipped, "--exclude", "*")
    assert passed_over.exit_code == 3
    assert passed_over.stderr.startswith("Error: Nothing was compared: ")
    validate("verify", json.loads(run(device, shipped, "--exclude", "*", "--json").stdout))
    for folder in (device, tmp_path / "absent"):
        validate("verify", json.loads(run(folder, shipped, "--json").stdout))
