"""What only a file system does: full disks, modes, dates, folders that come and go."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from packager.core.ports import TEMPORARY_PREFIX
from packager.errors import (
    AccessDeniedError,
    ArtifactChangedError,
    ArtifactNotFoundError,
    CleanupFailedError,
    InsufficientStorageError,
    RequestError,
    StoreError,
)
from packager.os_errors import convert_os_error, storage_error
from packager.stores.file import FileSource
from packager.stores.folder import KEPT_ATTRIBUTE, FolderSink
from tests.small_disk import as_nobody, needs_root, on_small_disk

KEY = "model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip"


def known():
    return KEY, "identity"


def write(folder, data=b"component", key=known):
    with FolderSink(folder).open(key) as upload:
        upload.write(data)
        return upload.commit()


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_upload_lies_below_its_folder_under_a_name_a_sweep_knows(tmp_path):
    with FolderSink(tmp_path).open(known) as upload:
        upload.write(b"x")
        (name,) = below(tmp_path)
        assert name.startswith(TEMPORARY_PREFIX)
        upload.commit()


def test_only_the_folders_that_were_made_are_removed_again(tmp_path):
    (tmp_path / "mine").mkdir()

    def spoil():
        write(tmp_path / "mine" / "new" / "er", key=lambda: (_ for _ in ()).throw(LookupError))

    with pytest.raises(LookupError):
        spoil()
    assert below(tmp_path) == ["mine"]


def test_a_component_where_a_folder_lies_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / KEY).mkdir(parents=True)
    with pytest.raises(StoreError) as caught:
        write(tmp_path)
    assert caught.value.code == "EISDIR"
    assert below(tmp_path) == sorted(["model_artifacts", "model_artifacts/model-0123456789ab", KEY])


def test_an_output_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        write(tmp_path / "file" / "folder")
    assert caught.value.code in {"ENOTDIR", "EEXIST"}
    assert below(tmp_path) == ["file"]


@pytest.mark.parametrize("key", ["", "/absolute", "a/../../b", "..", "nul\0"])
def test_a_key_that_leaves_the_folder_is_refused(tmp_path, key):
    with pytest.raises(RequestError):
        FolderSink(tmp_path).find(key)
    with pytest.raises(RequestError):
        write(tmp_path, key=lambda: (key, "identity"))
    assert below(tmp_path) == []


def test_a_component_has_the_mode_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write(tmp_path)
    assert stat.filemode((tmp_path / KEY).stat().st_mode) == stat.filemode((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"COMPONENT"),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: os.removexattr(path, KEPT_ATTRIBUTE),
        lambda path: os.setxattr(path, KEPT_ATTRIBUTE, b"no json"),
        lambda path: os.setxattr(path, KEPT_ATTRIBUTE, b"[1]"),
        lambda path: os.setxattr(path, KEPT_ATTRIBUTE, json.dumps({"size": 9}).encode()),
    ],
)
def test_what_was_changed_since_is_not_found(tmp_path, spoil):
    stored = write(tmp_path)
    assert FolderSink(tmp_path).find(KEY) == stored
    os.utime(
        tmp_path / KEY, ns=(5, stored.size_bytes + (tmp_path / KEY).stat().st_mtime_ns)
    ) if spoil is None else spoil(tmp_path / KEY)
    assert FolderSink(tmp_path).find(KEY) is None


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EPERM, errno.ENOSPC])
def test_without_extended_attributes_a_component_is_written_but_not_found(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "setxattr", refuse)
    stored = write(tmp_path)
    assert (tmp_path / KEY).read_bytes() == b"component"
    assert stored.size_bytes == 9
    assert FolderSink(tmp_path).find(KEY) is None


def test_a_system_without_extended_attributes_will_do(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "setxattr")
    monkeypatch.delattr(os, "getxattr")
    write(tmp_path)
    assert FolderSink(tmp_path).find(KEY) is None


def test_uploads_that_make_and_remove_the_same_folders_do_not_trip_each_other(tmp_path):
    folder = tmp_path / "shared" / "out"
    errors = []

    def work(number):
        for round_number in range(20):
            try:
                if (number + round_number) % 2:
                    write(folder, key=lambda: (_ for _ in ()).throw(LookupError))
                else:
                    write(folder, key=lambda: (f"{number}/{round_number}.zip", "identity"))
            except LookupError:
                pass
            except Exception as error:  # noqa: BLE001  shown by the assertion below
                errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len([name for name in below(folder) if name.endswith(".zip")]) == 40
    assert not [name for name in below(folder) if TEMPORARY_PREFIX in name]


@pytest.mark.parametrize("error", [None, LookupError])
def test_a_temporary_file_that_cannot_be_removed_is_named_and_hides_nothing(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "not yours")

    def leave():
        with FolderSink(tmp_path).open(known):
            if error:
                raise error

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(error or CleanupFailedError) as caught:
        leave()
    (name,) = below(tmp_path)
    assert name in (caught.value.__notes__[0] if error else str(caught.value))


@needs_root
@pytest.mark.parametrize("chunk", [100, 5000, 1 << 20])
def test_a_full_disk_is_told_with_its_figures_and_left_as_it_was(chunk):
    def work(disk):
        with pytest.raises(InsufficientStorageError) as caught:
            fill(disk)
        return caught.value, below(disk)

    def fill(disk):
        with FolderSink(disk / "out").open(known) as upload:
            for _ in range(0, 3 << 20, chunk):
                upload.write(bytes(chunk))
            upload.commit()

    error, left = on_small_disk(work, 1 << 20)
    assert left == []
    assert error.available_bytes < error.required_bytes
    assert error.available_bytes <= 1 << 20  # the disk: not what waits in a buffer
    assert error.missing_bytes == error.required_bytes - error.available_bytes
    assert error.required_bytes >= 1 << 20
    assert error.path.endswith("out")
    assert error.suggestions


@needs_root
def test_what_may_not_be_read_or_written_is_said_so(tmp_path):
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "secret").chmod(0)
    locked = tmp_path / "locked"
    locked.mkdir()
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o755 if folder.owner() == "root" else folder.stat().st_mode)
    locked.chmod(0o555)

    def read():
        with pytest.raises(AccessDeniedError) as caught:
            FileSource(tmp_path / "secret").identity()
        return caught.value

    def put():
        with pytest.raises(AccessDeniedError) as caught:
            write(locked / "out")
        return caught.value

    for error in (as_nobody(read), as_nobody(put)):
        assert error.code == "EACCES"
        assert error.next_step


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nothing", "link round"])
def test_what_is_no_file_is_no_artifact(tmp_path, kind):
    path = tmp_path / "model.tar.gz"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "link round" else tmp_path / "nothing")
    for ask in (FileSource(path).size_bytes, FileSource(path).identity, lambda: FileSource(path).open().__enter__()):
        with pytest.raises(StoreError) as caught:
            ask()
        assert caught.value.uri == str(path)
        assert isinstance(caught.value, ArtifactNotFoundError) == (kind == "link to nothing")


def test_a_device_is_no_artifact():
    with pytest.raises(StoreError, match="device"):
        FileSource(Path("/dev/zero")).size_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer than before"),
        lambda path: os.truncate(path, 1),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: (path.with_suffix(".new").write_bytes(b"model"), path.with_suffix(".new").replace(path)),
    ],
)
@pytest.mark.parametrize("first", ["size_bytes", "identity", "open"])
def test_a_file_that_is_no_longer_the_same_is_not_packaged(tmp_path, change, first):
    path = tmp_path / "model.tar.gz"
    path.write_bytes(b"model")
    source = FileSource(path)
    if first == "open":
        with source.open() as reader:
            reader.read()
    else:
        getattr(source, first)()
    change(path)
    for ask in (source.size_bytes, lambda: source.open().__enter__()):
        with pytest.raises(ArtifactChangedError):
            ask()


def test_a_file_is_hashed_once_for_any_number_of_threads(tmp_path):
    path = tmp_path / "model.tar.gz"
    path.write_bytes(os.urandom(3 << 20))
    source, identities = FileSource(path), []
    threads = [threading.Thread(target=lambda: identities.append(source.identity())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each is identities[0] for each in identities)


def test_a_shortage_is_never_told_as_enough(tmp_path):
    for code in (errno.ENOSPC, errno.EDQUOT):
        error = storage_error(tmp_path, held_bytes=100, more_bytes=10, code=code)
        assert (error.required_bytes, error.missing_bytes > 0) == (110, True)
    assert storage_error(tmp_path / "gone", held_bytes=100, more_bytes=0, code=errno.ENOSPC).missing_bytes >= 0


@pytest.mark.parametrize("number", sorted(errno.errorcode.keys() - {errno.ENOSPC, errno.EDQUOT}))
def test_every_error_of_the_system_has_a_type_a_code_and_a_path(tmp_path, number):
    error = convert_os_error(OSError(number, "x"), "read", tmp_path)
    assert isinstance(error, StoreError)
    assert error.figures == {"operation": "read", "uri": str(tmp_path), "code": errno.errorcode[number]}


def test_a_full_disk_has_its_figures_wherever_it_is_met(tmp_path):
    for number in (errno.ENOSPC, errno.EDQUOT):
        error = convert_os_error(OSError(number, "x"), "write", tmp_path / "file")
        assert isinstance(error, InsufficientStorageError)
        assert error.missing_bytes > 0
