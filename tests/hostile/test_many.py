"""As many members as 10 MB hold: no command takes more than 20 s or 200 MiB for them."""

from __future__ import annotations

from random import Random

import pytest

from packager.device.listing import ComponentEntry, ComponentListing
from packager.device.rules import check
from packager.device.unpacked import verify_unpacked
from packager.errors import LimitExceededError
from packager.packaging import package
from packager.settings import STRATEGY_NAMES, Settings
from packager.stores.file import FileSource
from tests import archives
from tests.archives import END, gz, member, trained_model
from tests.hostile import zips
from tests.hostile.measured import measured
from tests.hostile.zips import STORED, Part

full = pytest.mark.reliability
COUNT = 30_000
FILE_NAME = "0123456789ab_greengrass_model_component.zip"

NAMES = {
    "at the top of the model": "mochi/{}",
    "libraries": "mochi/{}.so",
    "below the root": "{}/x",
    "outside of it": "../{}",
    "in deep folders of their own": "mochi/{}/" + "a/" * 120 + "x",
    "within each other": "mochi/" + "{0}/" * 3 + "{0}",
}


def entries(name):
    return tuple(ComponentEntry(NAMES[name].format(number), 0, 0, STORED, head=b"") for number in range(COUNT))


def findings(name):
    listing = ComponentListing(FILE_NAME, 1, entries(name), zips.MANIFEST)
    return {each.rule for each in check(listing)}


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_of_devices_cost_little_for_any_number_of_entries(name):
    found = measured(findings, name)
    assert found.outcome >= {"compiled-files"} or "stage-folders" in found.outcome
    found.assert_cheap()


def test_a_file_below_a_file_is_found_wherever_it_is_listed():
    """Held against the plain way: every folder above every path."""
    random = Random(1)
    for _ in range(300):
        paths = {"/".join(random.choices(["a", "b", "a-", "a0"], k=random.randint(1, 4))) for _ in range(6)}
        files = tuple(ComponentEntry(path, 1, 1) for path in sorted(paths, key=lambda _: random.random()))
        above = {path.rsplit("/", count)[0] for path in paths for count in range(1, path.count("/") + 1)}
        found = [each for each in check(ComponentListing(FILE_NAME, 1, files, None)) if each.rule == "unique-paths"]
        assert bool(found) == bool(paths & above)


def verified(folder, path):
    try:
        found = verify_unpacked(folder, FileSource(path), Settings())
    except LimitExceededError as error:
        return error.setting
    return found.deviations_in_all


@pytest.mark.parametrize(
    ("name", "outcome"), [("below the root", COUNT), ("in deep folders of their own", "MAX_NAMES_BYTES")]
)
def test_a_folder_that_lacks_everything_is_compared_in_little_time_and_memory(tmp_path, name, outcome):
    path = tmp_path / FILE_NAME
    path.write_bytes(zips.zipped([Part(NAMES[name].format(number).encode(), method=STORED) for number in range(COUNT)]))
    (tmp_path / "device").mkdir()
    found = measured(verified, tmp_path / "device", path)
    assert found.outcome == outcome
    found.assert_cheap()


def packaged_folder(folder, out, strategy, scratch):
    options = {"layout": "files", "name": "n", "version": "1.0.0"}
    (made,) = package(folder, {}, out, strategy=strategy, settings=Settings(scratch_dir=scratch), **options).components
    return made.error or made.files


@full
@pytest.mark.parametrize("strategy", ["streaming", "standard"])
def test_a_folder_of_as_many_files_as_there_may_be_is_packaged(tmp_path, strategy):
    for number in range(Settings().max_members):
        path = tmp_path / "model" / f"{number // 1000:03}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%06d" % number)
    found = measured(packaged_folder, str(tmp_path / "model"), str(tmp_path / "out"), strategy, tmp_path / "scratch")
    assert found.outcome == Settings().max_members
    found.assert_cheap()


def packaged(trained, compiled, out, strategy, scratch):
    limits = Settings(scratch_dir=scratch)
    (made,) = package(trained, {"jetson-xavier": compiled}, out, strategy=strategy, settings=limits).components
    return made.error or made.files


@full
@pytest.mark.parametrize("strategy", STRATEGY_NAMES)
@pytest.mark.parametrize("size_bytes", [1, 75], ids=["100,000 files of a byte", "100,000 files in 10 MB"])
def test_as_many_members_as_there_may_be_are_packaged_by_every_strategy(tmp_path, strategy, size_bytes):
    random, files = Random(1), archives.compiled_files()
    count = Settings().max_members - len(files)
    more = (member(b"%06d" % number, random.randbytes(size_bytes)) for number in range(count))
    trained, compiled = tmp_path / "trained.tar.gz", tmp_path / "compiled.tar.gz"
    trained.write_bytes(trained_model())
    whole = b"".join([*(member(name.encode(), data) for name, data in files), *more])
    compiled.write_bytes(gz(whole + END))
    assert compiled.stat().st_size < 10 << 20
    found = measured(packaged, str(trained), str(compiled), str(tmp_path / "out"), strategy, tmp_path / "scratch")
    assert found.outcome == Settings().max_members + 1
    found.assert_cheap()
