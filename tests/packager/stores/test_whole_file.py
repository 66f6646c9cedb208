"""A caller's own client that knows only whole files."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from packager.core.ports import TEMPORARY_PREFIX
from packager.errors import (
    ArtifactChangedError,
    ArtifactNotFoundError,
    InsufficientStorageError,
    RequestError,
    StoreError,
)
from packager.limits.storage import StorageManager
from packager.settings import Settings
from packager.stores import StoredComponent, Stores, whole_file
from telemetry.engine.testing import recorded


class Files:
    """As little of S3 as a caller's client may know."""

    def __init__(self, **objects):
        self.objects = {f"bucket/{name}": data for name, data in objects.items()}
        self.error = None

    def download_file(self, bucket, key, path):
        if f"{bucket}/{key}" not in self.objects:
            answer = {"Error": {"Code": "404"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
            raise ClientError(answer, "HeadObject")
        Path(path).write_bytes(self.objects[f"{bucket}/{key}"])

    def upload_file(self, path, bucket, key):
        if self.error:
            raise self.error
        self.objects[f"{bucket}/{key}"] = Path(path).read_bytes()


@pytest.fixture(autouse=True)
def scratch(tmp_path):
    """The only scratch there is; nothing is left or reserved there after any of these tests."""
    storage = StorageManager(Settings(scratch_dir=tmp_path))
    yield storage
    assert list(tmp_path.iterdir()) == []
    assert (storage.reservations(), storage.written_bytes) == ({}, 0)


def known():
    return "a/b.zip", "identity"


def write(sink, chunks):
    with sink.open(known) as upload:
        for chunk in chunks:
            upload.write(chunk)
        return upload.commit()


def test_a_small_artifact_is_read_through_a_temporary_file(scratch):
    source = Stores(Files(model=b"model"), scratch=scratch).source("s3://bucket/model")
    digest = hashlib.sha256(b"model").hexdigest()
    assert (source.size_bytes(), source.identity().marks) == (5, (("sha256", digest), ("size", "5")))
    with recorded() as records, source.open() as reader:
        assert scratch.reservations() == {"model": whole_file.MOST_BYTES}
        assert [path.name.startswith(TEMPORARY_PREFIX) for path in scratch.path.iterdir()] == [True]
        assert (reader.read(3), reader.readinto(memoryview(bytearray(9))), reader.read()) == (b"mod", 2, b"")
    [record] = [each for each in records if each.row == "ReadArtifact"]
    assert {"store": "s3", "source": "s3://bucket/model", "bytes_read": 5}.items() <= record.fields.items()


def test_a_small_component_is_uploaded_as_a_file(scratch):
    client = Files()
    sink = Stores(client, scratch=scratch).sink("s3://bucket/pre")
    with recorded() as records:
        stored = write(sink, [b"com", memoryview(b"ponent"), bytearray()])
    [record] = [each for each in records if each.row == "WriteComponent"]
    assert record.fields == {
        "store": "s3",
        "bucket": "bucket",
        "key": "pre/a/b.zip",
        "bytes_written": 9,
        "parts": 1,
        "aborted": 0,
        "sha256": stored.sha256,
    }
    assert client.objects == {"bucket/pre/a/b.zip": b"component"}
    assert stored == StoredComponent("s3://bucket/pre/a/b.zip", 9, "identity", hashlib.sha256(b"component").hexdigest())
    assert sink.find("a/b.zip") is None


def test_a_failure_uploads_nothing(scratch):
    client = Files()

    def interrupted():
        yield b"x"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(Stores(client, scratch=scratch).sink("s3://bucket"), interrupted())
    assert client.objects == {}


def test_an_upload_that_fails_is_an_error_of_ours(scratch):
    client = Files()
    client.error = ConnectionResetError("reset")
    with pytest.raises(StoreError) as caught:
        write(Stores(client, scratch=scratch).sink("s3://bucket"), [b"x"])
    assert (caught.value.operation, caught.value.uri) == ("upload_file", "s3://bucket/a/b.zip")


def test_a_scratch_disk_that_fills_up_is_told_with_its_figures(scratch):
    client = Files()
    client.error = OSError(errno.ENOSPC, "full")
    with pytest.raises(InsufficientStorageError) as caught:
        write(Stores(client, scratch=scratch).sink("s3://bucket"), [b"x"])
    assert caught.value.path.startswith(str(scratch.path))


@pytest.mark.parametrize("critical_bytes", [whole_file.MOST_BYTES - 1, whole_file.MOST_BYTES])
def test_what_may_not_fit_on_scratch_is_refused_before_anything_is_moved(tmp_path, critical_bytes):
    limits = Settings(scratch_dir=tmp_path, storage_warning_bytes=1, storage_critical_bytes=critical_bytes)
    client = Files(model=b"model")
    stores = Stores(client).with_scratch(StorageManager(limits))
    for move in (stores.source("s3://bucket/model").size_bytes, lambda: write(stores.sink("s3://bucket"), [b"x"])):
        if critical_bytes == whole_file.MOST_BYTES:
            move()
            continue
        with pytest.raises(InsufficientStorageError) as caught:
            move()
        assert (caught.value.required_bytes, caught.value.missing_bytes) == (whole_file.MOST_BYTES, 1)
        assert caught.value.path == str(tmp_path)
        assert client.objects == {"bucket/model": b"model"}


def test_without_scratch_a_client_that_knows_only_whole_files_is_refused():
    stores = Stores(Files())
    for opened in (stores.source, stores.sink):
        with pytest.raises(RequestError, match="no scratch"):
            opened("s3://bucket/model")


def test_an_artifact_replaced_between_two_downloads_is_an_error(scratch):
    client = Files(model=b"model")
    source = Stores(client, scratch=scratch).source("s3://bucket/model")
    source.identity()
    client.objects["bucket/model"] = b"other"
    with pytest.raises(ArtifactChangedError):
        source.open().__enter__()


def test_a_missing_artifact_is_named_in_the_error(scratch):
    with pytest.raises(ArtifactNotFoundError):
        Stores(Files(), scratch=scratch).source("s3://bucket/nothing").size_bytes()


@pytest.mark.parametrize("over", [0, 1])
def test_what_is_too_large_for_a_temporary_file_is_refused(monkeypatch, over, scratch):
    monkeypatch.setattr(whole_file, "MOST_BYTES", 10)
    client = Files(model=bytes(10 + over))
    source, sink = (
        Stores(client, scratch=scratch).source("s3://bucket/model"),
        Stores(client, scratch=scratch).sink("s3://bucket"),
    )
    for move in (source.identity, lambda: write(sink, [bytes(5), bytes(5 + over)])):
        if not over:
            move()
            continue
        with pytest.raises(StoreError) as caught:
            move()
        assert (caught.value.size_bytes, caught.value.limit_bytes) == (11, 10)
        assert "boto3" in caught.value.next_step


def test_a_client_that_can_do_nothing_is_refused():
    stores = Stores(client=object())
    for opened in (stores.source, stores.sink):
        with pytest.raises(RequestError, match="This S3 client has no"):
            opened("s3://bucket/model")
