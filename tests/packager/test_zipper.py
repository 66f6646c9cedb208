from __future__ import annotations

import gc
import os
import stat
import threading
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from packager import zipper
from packager.core.zip import ZipEncoder
from packager.errors import (
    AccessDeniedError,
    ArtifactNotFoundError,
    CompressionError,
    PackagerError,
    RequestError,
    StoreError,
    UnsafeArchiveError,
)
from packager.packaging import create_dda_manifest, package_component
from packager.zipper import IncrementalZipper
from telemetry import catalog
from telemetry.engine.testing import recorded
from tests.archive_strategies import file_sets
from tests.archives import reference_zip
from tests.packages import Model, ground
from tests.small_disk import as_nobody

on_disk = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
FILES = {"a": b"abc" * 100, "b/c": b"", "b/d": bytes(range(256)) * 10, "large": bytes(3 << 20), "\u6a21": b"x"}


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@on_disk
@given(file_sets)
def test_a_folder_becomes_the_bytes_of_the_plain_reference_in_the_order_of_its_paths(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("zipper")
    made = IncrementalZipper().create_zip_streaming(put(folder / "in", files), folder / "out" / "made.zip")
    assert made == folder / "out" / "made.zip"
    assert made.read_bytes() == reference_zip(dict(sorted(files.items())))
    assert everything(folder / "out") == ["made.zip"]


@on_disk
@given(file_sets)
def test_files_added_one_by_one_become_the_bytes_of_the_plain_reference(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("zipper")
    (folder / "file").mkdir()
    with IncrementalZipper(folder / "made.zip") as zipped:
        for number, (name, data) in enumerate(files.items()):
            path = folder / "file" / str(number)
            path.write_bytes(data)
            zipped.add_file_streaming(path, name)
        made = zipped.finalize()
    assert made.read_bytes() == reference_zip(files)


def test_a_folder_and_its_files_one_by_one_give_the_same_bytes(tmp_path):
    folder = put(tmp_path / "in", FILES)
    whole = IncrementalZipper().create_zip_streaming(folder, tmp_path / "whole.zip")
    with IncrementalZipper(tmp_path / "pieces.zip") as zipped:
        for name in sorted(FILES):
            zipped.add_file_streaming(folder / name, f"./{name}")
        zipped.finalize()
    assert whole.read_bytes() == (tmp_path / "pieces.zip").read_bytes() == reference_zip(dict(sorted(FILES.items())))


def test_dates_and_modes_of_files_change_nothing(tmp_path):
    folder = put(tmp_path / "in", FILES)
    first = IncrementalZipper().create_zip_streaming(folder, tmp_path / "1.zip").read_bytes()
    (folder / "a").chmod(0o755)
    os.utime(folder / "a", (0, 0))
    assert IncrementalZipper().create_zip_streaming(folder, tmp_path / "2.zip").read_bytes() == first


def test_progress_is_told_in_files_and_bytes_and_never_goes_back(tmp_path):
    told = []
    IncrementalZipper().create_zip_streaming(
        put(tmp_path / "in", FILES), tmp_path / "made.zip", lambda files, size: told.append((files, size))
    )
    assert told == sorted(told)
    assert told[-1] == (len(FILES), sum(map(len, FILES.values())))


def test_an_error_of_the_progress_callback_passes_unchanged_with_nothing_left(tmp_path):
    failure = ZeroDivisionError("of the caller")

    def fail(files, size):
        raise failure

    with pytest.raises(ZeroDivisionError) as caught:
        IncrementalZipper().create_zip_streaming(put(tmp_path / "in", FILES), tmp_path / "out" / "made.zip", fail)
    assert caught.value is failure
    assert not (tmp_path / "out").exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_a_zip_that_is_made_into_its_own_folder_does_not_hold_itself(tmp_path):
    folder = put(tmp_path, {"a": b"1"})
    made = IncrementalZipper().create_zip_streaming(folder, folder / "made.zip")
    assert made.read_bytes() == reference_zip({"a": b"1"})


def test_an_empty_folder_becomes_an_empty_zip(tmp_path):
    (tmp_path / "in" / "empty").mkdir(parents=True)
    assert IncrementalZipper().create_zip_streaming(tmp_path / "in", tmp_path / "z.zip").read_bytes() == reference_zip(
        {}
    )


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "dangling link", "fifo"])
def test_what_is_no_plain_file_is_a_compression_error_with_nothing_left(tmp_path, kind):
    folder = put(tmp_path / "in", {"a": b"1", "d/b": b"2"})
    special = folder / "d" / "special"
    if kind == "fifo":
        os.mkfifo(special)
    else:
        special.symlink_to({"link to a file": folder / "a", "link to a folder": folder / "d"}.get(kind, "nowhere"))
    with pytest.raises(CompressionError, match="no plain file"):
        IncrementalZipper().create_zip_streaming(folder, tmp_path / "out" / "made.zip")
    assert not (tmp_path / "out").exists()
    with IncrementalZipper(tmp_path / "out" / "made.zip") as zipped, pytest.raises(CompressionError):
        zipped.add_file_streaming(special, "special")
    assert not (tmp_path / "out").exists()


def test_a_name_on_disk_that_no_device_takes_is_a_typed_error(tmp_path):
    folder = put(tmp_path / "in", {"a\x1b[2Jb": b"1"})
    with pytest.raises(UnsafeArchiveError) as caught:
        IncrementalZipper().create_zip_streaming(folder, tmp_path / "made.zip")
    assert str(caught.value).isprintable()
    with open(os.fsencode(tmp_path / "in") + b"/\xff", "wb"), pytest.raises(PackagerError):  # noqa: PTH123  not UTF-8
        IncrementalZipper().create_zip_streaming(folder, tmp_path / "made.zip")


@pytest.mark.parametrize("source", ["missing", "a file"])
def test_a_folder_that_is_none_is_a_typed_error(tmp_path, source):
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(ArtifactNotFoundError):
        IncrementalZipper().create_zip_streaming(tmp_path / source, tmp_path / "out" / "made.zip")
    assert not (tmp_path / "out").exists()


def test_a_target_that_cannot_be_written_is_a_typed_error(tmp_path):
    folder = put(tmp_path / "in", FILES)
    (tmp_path / "folder").mkdir()
    for target, error in ((tmp_path / "folder", StoreError), (folder / "a" / "made.zip", RequestError)):
        with pytest.raises(error):
            IncrementalZipper().create_zip_streaming(folder, target)
    assert everything(tmp_path / "folder") == []


def test_a_file_that_may_not_be_read_is_a_typed_error():
    with TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o777)
        folder = put(root / "in", FILES)
        (folder / "a").chmod(0)

        def pack():
            IncrementalZipper().create_zip_streaming(folder, root / "made.zip")

        with pytest.raises(AccessDeniedError, match="/in/a"):
            as_nobody(pack) if os.geteuid() == 0 else pack()
        assert everything(root) == sorted(("in", *(f"in/{path}" for path in everything(folder))))


@pytest.mark.parametrize("size", [0, 5, 1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize("change", [-1, 1, 3 << 20])
def test_a_file_that_changes_its_size_meanwhile_is_a_compression_error(tmp_path, monkeypatch, size, change):
    folder = put(tmp_path / "in", {"a": bytes(max(0, size + change))})

    def stale(path):
        return size

    monkeypatch.setattr(zipper, "_size_of_plain_file", stale)
    if size + change < 0:
        return
    with pytest.raises(CompressionError) as caught:
        IncrementalZipper().create_zip_streaming(folder, tmp_path / "out" / "made.zip")
    assert caught.value.announced_bytes == size
    with IncrementalZipper(tmp_path / "out" / "made.zip") as zipped, pytest.raises(CompressionError):
        zipped.add_file_streaming(folder / "a", "a")
    assert not (tmp_path / "out").exists()


def test_a_read_error_is_a_typed_error():
    unreadable = zipper.Path("/proc/self/mem")  # its first page is never mapped
    if not unreadable.exists():
        pytest.skip("this system has no file whose reading fails")
    files = zipper._opened([("a", unreadable, 5)])
    file = next(files)
    with pytest.raises(StoreError, match="EIO"):
        file.readinto(memoryview(bytearray(5)))


def test_nothing_is_visible_before_finalize_and_nothing_is_left_without_it(tmp_path):
    put(tmp_path / "in", FILES)
    with IncrementalZipper(tmp_path / "out" / "made.zip") as zipped:
        zipped.add_file_streaming(tmp_path / "in" / "large", "large")
        assert not (tmp_path / "out" / "made.zip").exists()
    assert not (tmp_path / "out").exists()


def test_a_forgotten_zipper_leaves_nothing(tmp_path):
    put(tmp_path / "in", FILES)
    zipped = IncrementalZipper(tmp_path / "out" / "made.zip")
    zipped.add_file_streaming(tmp_path / "in" / "a", "a")
    del zipped
    gc.collect()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../a", "/a", "", ".", "a\nb", "c:\\a"])
def test_a_name_in_the_zip_passes_the_rule_of_members(tmp_path, name):
    put(tmp_path / "in", FILES)
    with IncrementalZipper(tmp_path / "made.zip") as zipped:
        with pytest.raises(PackagerError) as caught:
            zipped.add_file_streaming(tmp_path / "in" / "a", name)
        assert str(caught.value).isprintable()
        zipped.add_file_streaming(tmp_path / "in" / "a", "a")
        assert zipped.finalize().read_bytes() == reference_zip({"a": FILES["a"]})


def test_an_error_in_the_middle_gives_the_zip_up_at_once(tmp_path):
    put(tmp_path / "in", FILES)
    zipped = IncrementalZipper(tmp_path / "out" / "made.zip")
    zipped.add_file_streaming(tmp_path / "in" / "a", "a")
    with pytest.raises(CompressionError, match="twice"):
        zipped.add_file_streaming(tmp_path / "in" / "a", "./a")
    assert not (tmp_path / "out").exists()
    for act in (zipped.finalize, lambda: zipped.add_file_streaming(tmp_path / "in" / "a", "b")):
        with pytest.raises(CompressionError, match="given up"):
            act()


def test_a_complete_zip_takes_nothing_more(tmp_path):
    put(tmp_path / "in", FILES)
    with IncrementalZipper(tmp_path / "made.zip") as zipped:
        zipped.add_file_streaming(tmp_path / "in" / "a", "a")
        made = zipped.finalize()
        for act in (zipped.finalize, lambda: zipped.add_file_streaming(tmp_path / "in" / "a", "b")):
            with pytest.raises(CompressionError, match="complete"):
                act()
    assert made.read_bytes() == reference_zip({"a": FILES["a"]})


def test_without_a_path_there_is_no_zip_to_add_to(tmp_path):
    put(tmp_path / "in", FILES)
    for act in (
        IncrementalZipper().finalize,
        lambda: IncrementalZipper().add_file_streaming(tmp_path / "in" / "a", "a"),
    ):
        with pytest.raises(CompressionError):
            act()


def test_a_zip_of_nothing_can_be_finalized(tmp_path):
    assert IncrementalZipper(tmp_path / "made.zip").finalize().read_bytes() == reference_zip({})


def test_an_older_zip_stays_until_the_new_one_is_complete(tmp_path):
    put(tmp_path / "in", FILES)
    (tmp_path / "made.zip").write_bytes(b"older")
    with IncrementalZipper(tmp_path / "made.zip") as zipped:
        zipped.add_file_streaming(tmp_path / "in" / "large", "large")
        assert (tmp_path / "made.zip").read_bytes() == b"older"
        zipped.finalize()
    assert zipfile.is_zipfile(tmp_path / "made.zip")
    assert stat.S_ISREG((tmp_path / "made.zip").lstat().st_mode)


def test_each_zip_is_observed_once(tmp_path):
    put(tmp_path / "in", FILES)
    with recorded() as records:
        IncrementalZipper().create_zip_streaming(tmp_path / "in", tmp_path / "1.zip")
        with IncrementalZipper(tmp_path / "2.zip") as zipped:
            zipped.add_file_streaming(tmp_path / "in" / "a", "a")
            zipped.finalize()
    found = [each for each in records if each.row == catalog.ZIP_COMPONENT.name]
    assert [(each.fields["files"], each.fields["bytes_in"]) for each in found] == [
        (len(FILES), sum(map(len, FILES.values()))), (1, len(FILES["a"])),
    ]  # fmt: skip


class MarkerError(Exception):
    pass


def marked(*_args, **_kwargs):
    raise MarkerError


@pytest.mark.parametrize("strategy", ["streaming", "standard"])
def test_a_package_is_zipped_by_the_same_encoder(tmp_path, monkeypatch, strategy):
    with ground() as here:
        manifest, _ = create_dda_manifest(here.trained)
        uri = here.compiled(Model({"compiled.so": 5000}))
        monkeypatch.setattr(ZipEncoder, "add", marked)
        with pytest.raises(MarkerError):
            IncrementalZipper().create_zip_streaming(put(tmp_path / "in", FILES), tmp_path / "made.zip")
        with pytest.raises(PackagerError) as caught:
            package_component("t", "arm64-cpu", uri, manifest, output=here.out, strategy=strategy)
        assert isinstance(caught.value.__cause__, MarkerError)
