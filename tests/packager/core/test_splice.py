from __future__ import annotations

import io
import random
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.core import gunzip
from tests import archives, models
from tests.archives import Chopped, gz, zipped

LARGE = 600_000
NOISE = random.Random(1).randbytes(100_000)


def spliced(whole, sizes=(1 << 20,)):
    return b"".join(zipped(Chopped(whole, sizes)))


def unzipped(packed):
    with zipfile.ZipFile(io.BytesIO(packed)) as found:
        return {name: found.read(name) for name in found.namelist()}


@pytest.mark.parametrize("size", range(785_900, 786_260, 60))
def test_a_file_that_ends_inside_a_match_begun_in_a_full_buffer_has_all_its_bytes(size):
    content = NOISE + bytes(size - len(NOISE))  # zeros: matches of 258 bytes, one of which a buffer cuts at 785,968
    assert unzipped(spliced(gz(archives.tar([("zeros", content), ("behind", NOISE * 2)])))) == {
        "zeros": content,
        "behind": NOISE * 2,
    }


@st.composite
def encodings(draw):
    """A tar of large files in one or several gzip members, by any of zlib's ways, with flushes anywhere."""
    kinds = (models.weights, models.quantized, models.sparse_weights, models.text, models.json_records)
    names = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2))
    files = {
        f"{at}": b"".join(each(LARGE, "splice"))[: LARGE - draw(st.integers(0, 40))] for at, each in enumerate(names)
    }
    files |= {"runs": b"".join(bytes([draw(st.integers(0, 255))]) * 90_000 for _ in range(7)), "last": NOISE}
    whole = archives.tar(files.items())
    cuts = draw(st.lists(st.integers(0, len(whole)), max_size=5).map(sorted))
    packed, open_member = b"", None
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        if open_member is None:
            ways = st.tuples(*map(st.integers, (0, 25, 1, 0), (9, 31, 9, 4)))  # level, window, memory, strategy
            level, window, memory, strategy = draw(ways)
            open_member = zlib.compressobj(level, zlib.DEFLATED, window, memory, strategy)
        packed += open_member.compress(whole[start:end])
        end_by = zlib.Z_FINISH if end == len(whole) else draw(st.integers(1, 5))  # a flush of some kind, or the end
        packed += open_member.flush(end_by)
        if end_by == zlib.Z_FINISH:
            open_member = None
    return files, packed


@settings(max_examples=12)
@given(
    encodings(), st.lists(st.integers(2000, 1 << 19), min_size=1, max_size=5), st.integers(1 << 16, 1 << 19), st.data()
)
def test_what_is_copied_depends_on_the_artifact_alone_and_not_on_reads_or_buffers(encoded, sizes, room, data):
    files, whole = encoded
    usual = spliced(whole)
    assert unzipped(usual) == files
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gunzip, "_ROOM_BYTES", room)
        patch.setattr(gunzip, "_READ_BYTES", data.draw(st.integers(700, 1 << 19)))
        assert spliced(whole, sizes) == usual


@pytest.mark.parametrize("block", [b"\x02\x08\x20\x80\0", b"\0\0\0\xff\xff"], ids=["fixed", "stored"])
def test_a_million_empty_blocks_cost_no_more_than_the_bytes_that_they_are(block):
    """Four empty fixed blocks have five bytes. Tables made for each would take a thousand times as long as copying."""
    content = bytes(LARGE)
    front, behind = zlib.compressobj(6, zlib.DEFLATED, 31), archives.tar([("zeros", content)])
    packed = front.compress(behind[:300_000]) + front.flush(zlib.Z_FULL_FLUSH)
    whole = packed + block * 250_000 + front.compress(behind[300_000:]) + front.flush()
    found = spliced(whole)
    assert unzipped(found) == {"zeros": content}
