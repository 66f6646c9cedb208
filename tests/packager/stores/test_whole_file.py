"""A caller's own client that knows only whole files."""

from __future__ import annotations

import errno
import hashlib
import tempfile
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
def scratch(tmp_path, monkeypatch):
    """Temporary files lie here; none is left by any of these tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def known():
    return "a/b.zip", "identity"


def write(sink, chunks):
    with sink.open(known) as upload:
        for chunk in chunks:
            upload.write(chunk)
        return upload.commit()


def test_a_small_artifact_is_read_through_a_temporary_file(scratch):
    source = Stores(client=Files(model=b"model")).source("s3://bucket/model")
    digest = hashlib.sha256(b"model").hexdigest()
    assert (source.size_bytes(), source.identity().marks) == (5, (("sha256", digest), ("size", "5")))
    with recorded() as records, source.open() as reader:
        assert [path.name.startswith(TEMPORARY_PREFIX) for path in scratch.iterdir()] == [True]
        assert (reader.read(3), reader.readinto(memoryview(bytearray(9))), reader.read()) == (b"mod", 2, b"")
    assert [(each.row, each.fields["bytes_read"]) for each in records] == [("ReadArtifact", 5)]


def test_a_small_component_is_uploaded_as_a_file():
    client = Files()
    stored = write(Stores(client=client).sink("s3://bucket/pre"), [b"com", memoryview(b"ponent"), bytearray()])
    assert client.objects == {"bucket/pre/a/b.zip": b"component"}
    assert stored == StoredComponent("s3://bucket/pre/a/b.zip", 9, "identity", hashlib.sha256(b"component").hexdigest())
    assert Stores(client=client).sink("s3://bucket/pre").find("a/b.zip") is None


def test_a_failure_uploads_nothing():
    client = Files()

    def interrupted():
        yield b"x"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(Stores(client=client).sink("s3://bucket"), interrupted())
    assert client.objects == {}


def test_an_upload_that_fails_is_an_error_of_ours():
    client = Files()
    client.error = ConnectionResetError("reset")
    with pytest.raises(StoreError) as caught:
        write(Stores(client=client).sink("s3://bucket"), [b"x"])
    assert (caught.value.operation, caught.value.uri) == ("upload_file", "s3://bucket/a/b.zip")


def test_a_scratch_disk_that_fills_up_is_told_with_its_figures(scratch):
    client = Files()
    client.error = OSError(errno.ENOSPC, "full")
    with pytest.raises(InsufficientStorageError) as caught:
        write(Stores(client=client).sink("s3://bucket"), [b"x"])
    assert caught.value.path.startswith(str(scratch))


def test_an_artifact_replaced_between_two_downloads_is_an_error():
    client = Files(model=b"model")
    source = Stores(client=client).source("s3://bucket/model")
    source.identity()
    client.objects["bucket/model"] = b"other"
    with pytest.raises(ArtifactChangedError):
        source.open().__enter__()


def test_what_is_not_there_is_said_so():
    with pytest.raises(ArtifactNotFoundError):
        Stores(client=Files()).source("s3://bucket/nothing").size_bytes()


@pytest.mark.parametrize("over", [0, 1])
def test_what_is_too_large_for_a_temporary_file_is_refused(monkeypatch, over):
    monkeypatch.setattr(whole_file, "MOST_BYTES", 10)
    client = Files(model=bytes(10 + over))
    source, sink = Stores(client=client).source("s3://bucket/model"), Stores(client=client).sink("s3://bucket")
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
