from __future__ import annotations

import threading
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.core.pipeline import BATCH_BYTES, Batch, File, Lookahead, in_batches, zip_parts
from packager.core.splice import PIECE_BYTES, End, Part
from packager.core.zip import LARGE_BYTES, Begin, ZipEncoder
from packager.errors import CompressionError, ExtractionError, PackagerError, StoreError
from packager.settings import Settings
from packager.stores.folder import FolderSink
from tests import archives
from tests.archive_strategies import file_sets, formats, framed, read_sizes
from tests.archives import Chopped, gz, reference_zip, zipped

pieces_of_a_mib = settings(max_examples=20)
larger = st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 4 * PIECE_BYTES)).map(
    lambda drawn: (drawn[0] * (drawn[1] // len(drawn[0]) + 1))[: drawn[1]]
)
around_a_block = st.tuples(st.integers(0, 255), st.sampled_from([-1, 0, 1]), st.integers(1, 3)).map(
    lambda drawn: bytes([drawn[0]]) * (drawn[2] * PIECE_BYTES + drawn[1])
)


@st.composite
def packed(draw, files):
    try:
        whole = archives.tar(files.items(), draw(formats))
    except ValueError:  # too long for ustar
        whole = archives.tar(files.items())
    return draw(framed(whole))


@given(st.data(), file_sets, read_sizes)
def test_any_members_in_any_chunking_and_framing_give_the_bytes_of_the_plain_reference(data, files, sizes):
    assert b"".join(zipped(Chopped(data.draw(packed(files)), sizes))) == reference_zip(files)


@pieces_of_a_mib
@given(st.data(), st.lists(larger | around_a_block | st.just(b"") | st.binary(max_size=99), max_size=5), read_sizes)
def test_large_members_give_the_bytes_of_the_plain_reference(data, contents, sizes):
    files = {f"file {number}": content for number, content in enumerate(contents)}
    sizes = [max(size, 10_000) for size in sizes]
    whole = gz(archives.tar(files.items()), levels=(1,))
    assert b"".join(zipped(Chopped(whole, sizes))) == reference_zip(files, whole)


@pieces_of_a_mib
@given(st.lists(larger | st.binary(max_size=99), max_size=4), st.lists(st.integers(1, 1 << 21), min_size=1))
def test_short_reads_of_a_file_do_not_move_its_blocks(contents, sizes):
    files = {f"{number}": content for number, content in enumerate(contents)}
    sizes = [max(size, 5000) for size in sizes]
    given_files = (File(name, len(data), Chopped(data, sizes).readinto) for name, data in files.items())
    assert joined(given_files) == reference_zip(files)


def joined(files):
    return b"".join(bytes(part.data) for part in zip_parts(files, ZipEncoder()))


def test_a_file_in_memory_is_as_any_other():
    assert joined([File.of("manifest.json", b"{}")]) == reference_zip({"manifest.json": b"{}"})


@settings(max_examples=200)
@given(st.data(), file_sets, st.integers(0, 40))
def test_a_cut_archive_is_an_error_with_nothing_published(tmp_path_factory, data, files, padding):
    whole = gz(archives.tar(files.items()))
    refuse(tmp_path_factory, (whole + bytes(padding))[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize("name", archives.hostile())
def test_a_hostile_archive_is_an_error_with_nothing_published(tmp_path_factory, name):
    refuse(tmp_path_factory, archives.hostile()[name])


def refuse(tmp_path_factory, whole):
    folder = tmp_path_factory.mktemp("refused") / "out"
    with pytest.raises(ExtractionError) as caught:
        publish(folder, whole)
    assert str(caught.value).isprintable()
    assert not folder.exists()


def publish(folder, whole, **limits):
    """As a component is published: nothing is committed before the archive has been read to its checked end."""
    with FolderSink(folder).open(lambda: ("component.zip", "identity")) as upload:
        with closing(zipped(Chopped(whole), Settings(**limits))) as chunks:
            for chunk in chunks:
                upload.write(chunk)
        return upload.commit()


SOUND = {"compiled.so": bytes(range(256)) * 9, "dir/compiled.params": b"w" * 1500, "b.meta": b"", "\u6a21": b"{}" * 300}


@st.composite
def mutated(draw):
    """A sound archive after bytes, spans and splices were changed, inside its gzip or outside."""
    data = bytearray(archives.tar(SOUND.items(), draw(formats)))
    inside = draw(st.booleans())
    data = data if inside else bytearray(gz(bytes(data)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 1100)))
        change = draw(st.sampled_from(["byte", "zeros", "remove", "splice", "bytes", "header"]))
        if change == "byte" and start < len(data):
            data[start] ^= draw(st.integers(1, 255))
        elif change == "zeros":
            data[start:end] = bytes(end - start)
        elif change == "remove":
            del data[start:end]
        elif change == "splice":
            data[start:start] = data[draw(st.integers(0, len(data))) :][: end - start]
        elif change == "bytes":
            data[start:end] = draw(st.binary(max_size=600))
        else:  # a header whose checksum is right again after a change
            at = start // 512 * 512
            block = bytearray(data[at : at + 512].ljust(512, b"\0"))
            block[draw(st.integers(0, 511))] = draw(st.integers(0, 255))
            data[at : at + 512] = archives.summed(bytes(block))
    return gz(bytes(data)) if inside else bytes(data)


@settings(max_examples=500)
@given(mutated())
def test_a_mutated_archive_is_a_zip_or_a_typed_error(whole):
    try:
        for _ in zipped(Chopped(whole)):
            pass
    except PackagerError as error:
        assert str(error).isprintable()  # noqa: PT017  both outcomes are right


@settings(max_examples=200)
@given(st.data())
def test_a_flipped_byte_of_the_packed_archive_is_an_error_or_changes_nothing(data):
    whole = bytearray(gz(archives.tar(SOUND.items())))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert b"".join(zipped(Chopped(bytes(whole)))) == reference_zip(SOUND)
    except ExtractionError:
        return


@pytest.mark.parametrize("limit", ["max_members", "max_unpacked_bytes"])
def test_a_limit_lets_pass_what_is_at_it_and_publishes_nothing_one_above(tmp_path, limit):
    whole = archives.tar(SOUND.items())
    figures = {"max_members": len(SOUND), "max_unpacked_bytes": len(whole)}
    publish(tmp_path / "at", gz(whole), **{limit: figures[limit]})
    with pytest.raises(ExtractionError):
        publish(tmp_path / "above", gz(whole), **{limit: figures[limit] - 1})
    assert not (tmp_path / "above").exists()


@pytest.mark.parametrize("size", [5, PIECE_BYTES, PIECE_BYTES + 1, 4 * PIECE_BYTES])
@pytest.mark.parametrize("missing", ["a byte", "half", "all"])
def test_a_file_shorter_than_announced_is_a_compression_error_wherever_it_stands(size, missing):
    left = {"a byte": size - 1, "half": size // 2, "all": 0}[missing]
    others = {"other": size - left, "another": 1}
    for names in (["short"], ["short", "other"], ["other", "short", "another"]):
        files = [File(name, others.get(name, size), Chopped(bytes(others.get(name, left))).readinto) for name in names]
        with pytest.raises(CompressionError, match="'short' gave") as caught:
            joined(files)
        assert (caught.value.announced_bytes, caught.value.found_bytes) == (size, left)


@pytest.mark.parametrize("after", [0, 1, 700])
def test_an_error_of_reading_comes_out_unchanged_and_no_thread_is_left(after):
    failure = StoreError("The line is dead.", operation="read")

    def broken(_):
        raise failure

    files = [File(f"{number}", 3, Chopped(b"abc").readinto) for number in range(after)]
    with pytest.raises(StoreError) as caught:
        joined([*files, File("broken", 5 << 20, broken)])
    assert caught.value is failure
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_a_caller_that_stops_half_way_leaves_no_thread():
    files = (File(f"{number}", 1 << 20, Chopped(bytes(1 << 20)).readinto) for number in range(100))
    with closing(zip_parts(files, ZipEncoder())) as parts:
        next(parts)
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_small_files_share_a_batch_and_a_large_one_comes_in_parts():
    sizes = [("a", 3), ("b", 0), ("c", LARGE_BYTES - 1), ("d", LARGE_BYTES - 1), ("large", LARGE_BYTES), ("e", 1)]
    files = [File(name, size, Chopped(bytes(size)).readinto) for name, size in sizes]
    found = [
        (item.names, item.sizes, len(item.data)) if isinstance(item, Batch) else type(item)
        for item in in_batches(files)
    ]
    small = 3 + 2 * (LARGE_BYTES - 1)
    first = (["a", "b", "c"], [3, 0, LARGE_BYTES - 1], LARGE_BYTES + 2)
    second = (["d"], [LARGE_BYTES - 1], LARGE_BYTES - 1)
    assert small > BATCH_BYTES
    assert found == [first, second, Begin, Part, Part, End, (["e"], [1], 1)]


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_the_depth_of_the_queues_changes_no_byte(depth):
    text = b"".join(b"%d weights of layer %d\n" % (at * at % 9973, at) for at in range(60_000))
    whole = gz(archives.tar([("large", text), ("small", b"s"), ("other", text[::-1])]), [700_000])
    lookahead = Lookahead()
    lookahead._depth = depth
    assert b"".join(zipped(Chopped(whole, [4096]), None, lookahead)) == b"".join(zipped(Chopped(whole)))
