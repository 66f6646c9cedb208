"""One suite for every store: a folder and S3 keep the same promises."""

from __future__ import annotations

import hashlib
import itertools
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packager.errors import ArtifactChangedError, ArtifactNotFoundError
from packager.stores import StoredComponent, Stores
from packager.stores.file import FileSource
from packager.stores.folder import FolderSink
from packager.stores.s3_client import calls_of
from packager.stores.s3_object import ObjectName
from packager.stores.s3_sink import S3Sink
from packager.stores.s3_source import S3Source
from telemetry.engine.testing import Record, recorded

KEY = "model_artifacts/model-0123456789ab/0123456789ab_greengrass_model_component.zip"
IDENTITY = "0123456789ab" + "c" * 52
PART_BYTES = 700
RANGE_BYTES = 300

several = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
fewer = settings(several, max_examples=30)
payloads = st.binary(max_size=3000) | st.integers(0, 3000).map(lambda n: bytes(i * 7 % 256 for i in range(n)))


class Failed(BaseException):
    """Not even an Exception, as KeyboardInterrupt is none."""


@dataclass
class Place:
    """An empty corner of a store."""

    sink: FolderSink | S3Sink
    kind: str
    root: str


class InFolder(Place):
    def __init__(self, folder: Path) -> None:
        super().__init__(FolderSink(folder), "file", str(folder))
        self.folder = folder

    def everything(self):
        """Whatever is there, unfinished uploads and temporary files too, with sizes."""
        return {
            str(path.relative_to(self.folder.parent)): path.stat().st_size if path.is_file() else 0
            for path in (self.folder, *self.folder.rglob("*"))
            if path.exists()
        }

    def source(self, uri):
        return FileSource(Path(uri))

    def put(self, name, data):
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(data)
        return FileSource(self.folder / name)

    def component(self):
        return (self.folder / KEY).read_bytes()


class InS3(Place):
    def __init__(self, client, bucket, prefix) -> None:
        super().__init__(
            S3Sink(bucket, prefix, calls_of(client), part_bytes=lambda _: PART_BYTES), "s3", f"s3://{bucket}/{prefix}/"
        )
        self.client, self.bucket, self.prefix = client, bucket, prefix

    def everything(self):
        objects = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/").get("Contents", [])
        uploads = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return {each["Key"]: each["Size"] for each in objects} | {f"unfinished {each['Key']}": 0 for each in uploads}

    def source(self, uri):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return S3Source(ObjectName(bucket, key), calls_of(self.client), range_bytes=RANGE_BYTES)

    def put(self, name, data):
        self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=data)
        return self.source(f"s3://{self.bucket}/{self.prefix}/{name}")

    def component(self):
        return self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{KEY}")["Body"].read()


@pytest.fixture(params=["folder", "s3"])
def new_place(request, tmp_path):
    """Gives an empty place each time it is called."""
    numbers = itertools.count()
    if request.param == "folder":
        return lambda: InFolder(tmp_path / f"out-{next(numbers)}")
    server = request.getfixturevalue("s3_server")
    client, bucket = server.client(), request.getfixturevalue("bucket")
    return lambda: InS3(client, bucket, f"pre/fix-{next(numbers)}")


@pytest.fixture
def place(new_place):
    return new_place()


def known():
    return KEY, IDENTITY


def in_chunks(data, sizes):
    """`data` cut into pieces of the given sizes, repeated; an empty piece now and then is a piece too."""
    position = 0
    for size in itertools.cycle(sizes):
        yield data[position : position + size]
        position += size
        if position >= len(data):
            return


def write(place, data, sizes=(1000,), key=known):
    with place.sink.open(key) as upload:
        for chunk in in_chunks(data, sizes):
            upload.write(chunk)
        return upload.commit()


def spoil(place, chunks, error=Failed):
    with place.sink.open(known) as upload:
        for chunk in chunks:
            upload.write(chunk)
        raise error


chunkings = st.lists(st.integers(0, 1500), min_size=1, max_size=8).filter(any)


@several
@given(data=payloads, sizes=chunkings)
def test_whatever_is_written_in_whatever_chunks_is_what_lies_there(new_place, data, sizes):
    place = new_place()
    stored = write(place, data, sizes)
    assert place.component() == data
    assert stored == StoredComponent(stored.uri, len(data), IDENTITY, hashlib.sha256(data).hexdigest())
    assert place.sink.find(KEY) == stored


@several
@given(data=payloads, sizes=st.lists(st.integers(1, 1500), min_size=1, max_size=5), into=st.booleans())
def test_whatever_lies_there_comes_back_in_reads_of_any_size(new_place, data, sizes, into):
    source = new_place().put("model.tar.gz", data)
    read = bytearray()
    with source.open() as reader:
        for size in itertools.cycle(sizes):
            if into:
                buffer = memoryview(bytearray(size))
                piece = bytes(buffer[: reader.readinto(buffer)])
            else:
                piece = reader.read(size)
            assert len(piece) <= size
            read += piece
            if not piece:
                break
        assert reader.read(1) == b""
    assert read == data
    assert source.size_bytes() == len(data)
    assert source.identity().size_bytes == len(data)


@fewer
@given(data=payloads)
def test_all_that_is_left_is_read_without_a_size(new_place, data):
    with new_place().put("model.tar.gz", data).open() as reader:
        first = reader.read(10)
        assert first + reader.read() == data


@fewer
@given(first=payloads, second=payloads)
def test_identities_are_equal_exactly_when_the_bytes_are(new_place, first, second):
    place = new_place()
    one, two, again = place.put("one", first), place.put("two", second), place.put("three", first)
    assert (one.identity() == two.identity()) == (first == second)
    assert one.identity() == again.identity()
    assert list(one.identity().marks) == sorted(one.identity().marks)


@fewer
@given(data=payloads, stop=st.integers(0, 3000))
def test_leaving_a_reader_half_way_ends_its_threads(new_place, data, stop):
    source = new_place().put("model.tar.gz", data)
    with source.open() as reader:
        reader.read(stop)
    assert not [each for each in threading.enumerate() if each.name.startswith("range-read")]


@several
@given(data=payloads, sizes=chunkings, after=st.integers(0, 12), kind=st.sampled_from([ValueError, Failed]))
def test_a_failure_at_any_point_leaves_nothing(new_place, data, sizes, after, kind):
    place = new_place()
    with pytest.raises(kind):
        spoil(place, itertools.islice(in_chunks(data, sizes), after), kind)
    assert place.everything() == {}
    assert place.sink.find(KEY) is None


@fewer
@given(data=payloads)
def test_leaving_without_a_commit_leaves_nothing(new_place, data):
    place = new_place()
    with place.sink.open(known) as upload:
        upload.write(data)
    assert place.everything() == {}
    assert not [each for each in threading.enumerate() if each.name.startswith("part-upload")]


@fewer
@given(data=payloads)
def test_a_key_that_cannot_be_made_leaves_nothing(new_place, data):
    def unknown():
        raise LookupError

    place = new_place()
    with pytest.raises(LookupError):
        write(place, data, key=unknown)
    assert place.everything() == {}


def test_nothing_is_visible_before_the_commit(place):
    with place.sink.open(known) as upload:
        for _ in range(10):
            upload.write(b"x" * PART_BYTES)
            assert place.sink.find(KEY) is None
            assert KEY not in "".join(name for name in place.everything() if not name.startswith("unfinished"))
        upload.commit()
    assert place.sink.find(KEY).size_bytes == 10 * PART_BYTES


def test_nothing_but_the_component_lies_there_afterwards(place):
    write(place, b"component")
    files = {name: size for name, size in place.everything().items() if size}
    assert list(files.values()) == [9]
    assert next(iter(files)).endswith(KEY)


def test_the_key_is_asked_for_once_and_as_late_as_the_store_can(place):
    asked = []

    def key():
        asked.append(1)
        return known()

    with place.sink.open(key) as upload:
        upload.write(b"x" * PART_BYTES)
        assert asked == []
        upload.write(b"x" * PART_BYTES * 3)
        upload.commit()
    assert asked == [1]


def test_a_component_is_replaced_whole(place):
    write(place, b"old" * 1000)
    stored = write(place, b"new" * 10)
    assert place.component() == b"new" * 10
    assert place.sink.find(KEY) == stored


def test_a_failed_replacement_leaves_the_component_that_was_there(place):
    stored = write(place, b"old" * 1000)
    before = place.everything()
    with pytest.raises(Failed):
        spoil(place, [b"new" * 1000])
    assert place.everything() == before
    assert place.sink.find(KEY) == stored


def test_one_buffer_can_be_written_again_and_again(place):
    buffer = bytearray(500)
    with place.sink.open(known) as upload:
        for number in range(20):
            buffer[:] = bytes([number]) * 500
            upload.write(memoryview(buffer))
        upload.commit()
    assert place.component() == b"".join(bytes([number]) * 500 for number in range(20))


def test_two_components_at_once_do_not_disturb_each_other(place):
    def one(number, fail):
        with place.sink.open(lambda: (f"a/b-{number}/{number}.zip", IDENTITY)) as upload:
            for _ in range(30):
                upload.write(bytes([number]) * 100)
            if fail:
                raise Failed
            upload.commit()

    def quietly(number):
        if number % 2:
            with pytest.raises(Failed):
                one(number, fail=True)
        else:
            one(number, fail=False)

    threads = [threading.Thread(target=quietly, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [place.sink.find(f"a/b-{number}/{number}.zip") is not None for number in range(6)] == [True, False] * 3
    assert not [name for name in place.everything() if "unfinished" in name or "b-1" in name or ".edge" in name]


def test_a_missing_artifact_is_named_in_the_error(place):
    source = place.source(f"{place.root.rstrip('/')}/nothing.tar.gz")
    for ask in (source.size_bytes, source.identity, lambda: source.open().__enter__()):
        with pytest.raises(ArtifactNotFoundError) as caught:
            ask()
        assert caught.value.uri == source.uri
        assert caught.value.operation
        assert caught.value.next_step
    assert place.sink.find(KEY) is None


@pytest.mark.parametrize("size", [10, 2000])
def test_an_artifact_replaced_after_it_was_identified_is_an_error(place, size):
    source = place.put("model.tar.gz", b"a" * size)
    source.identity()
    place.put("model.tar.gz", b"b" * (size + 1))
    with pytest.raises(ArtifactChangedError), source.open() as reader:
        reader.read()


def test_an_artifact_replaced_while_it_is_read_is_an_error(place):
    source = place.put("model.tar.gz", b"a" * 10 * RANGE_BYTES)

    def read():
        with source.open() as reader:
            reader.read(10)
            place.put("model.tar.gz", b"b" * 11 * RANGE_BYTES)
            reader.read()

    with pytest.raises(ArtifactChangedError):
        read()


def test_every_step_is_observed_once(place):
    data = b"model" * 500
    source = place.put("model.tar.gz", data)
    with recorded() as records:
        source.size_bytes()
        source.identity()
        source.identity()
        with source.open() as reader:
            reader.read()
        stored = write(place, data)
        place.sink.find(KEY)
    of_s3 = place.kind == "s3"
    where = source.uri.removeprefix("s3://").partition("/")
    identified = {"source": source.uri, "bytes_hashed": 0 if of_s3 else len(data)}
    read = {
        "store": place.kind,
        "source": source.uri,
        "bytes_read": len(data),
        "requests": 9 if of_s3 else 1,
        "resumed": 0,
    }
    written = {
        "store": place.kind,
        "bytes_written": len(data),
        "parts": 4 if of_s3 else 1,
        "aborted": 0,
        "sha256": stored.sha256,
        "key": stored.uri.removeprefix(f"s3://{where[0]}/") if of_s3 else KEY,
    }
    if of_s3:
        read |= {"bucket": where[0], "key": where[2], "retries": 0, "throttles": 0}
        written |= {"bucket": where[0], "retries": 0, "throttles": 0, "left_behind": 0}
    else:
        identified |= {"sha256": hashlib.sha256(data).hexdigest()}
    assert records == [
        Record("IdentifyArtifact", identified),
        Record("ReadArtifact", read),
        Record("WriteComponent", written),
    ]


def test_what_is_given_up_is_observed_as_such(place):
    with recorded() as records, pytest.raises(Failed):
        spoil(place, [b"x" * PART_BYTES * 3])
    assert [(each.row, each.outcome, each.error, each.fields["aborted"]) for each in records] == [
        ("WriteComponent", "failure", "Failed", 1)
    ]


def test_addresses_open_the_same_stores(place, s3_server):
    endpoint_url = s3_server.endpoint_url if place.kind == "s3" else None
    sink = Stores(endpoint_url=endpoint_url).sink(place.root)
    with sink.open(known) as upload:
        upload.write(b"component")
        stored = upload.commit()
    assert sink.find(KEY) == place.sink.find(KEY) == stored
    with Stores(endpoint_url=endpoint_url).source(stored.uri).open() as reader:
        assert reader.read() == b"component"
