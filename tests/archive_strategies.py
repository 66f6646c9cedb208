"""What Hypothesis draws archives from: names, contents, framings and the sizes of reads."""

from __future__ import annotations

import io
import tarfile

from hypothesis import strategies as st

from packager.core.names import safe_path
from packager.errors import PackagerError
from tests import archives


def is_plain(name: str) -> bool:
    try:
        return safe_path(name) == name
    except PackagerError:
        return False


LEFT_OUT = (".DS_Store", "__MACOSX")
"""Names that are left out of every archive. Hypothesis finds them in the source, and draws them."""

_characters = st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/")
segments = (
    st.text("ab.-é", min_size=1, max_size=3) | st.text(_characters, min_size=1, max_size=20) | st.text("n", min_size=99)
).filter(lambda name: is_plain(name) and name not in LEFT_OUT)
paths = st.lists(segments, min_size=1, max_size=4).map("/".join).filter(is_plain)
contents = (
    st.binary(max_size=2000)
    | st.sampled_from([0, 1, 511, 512, 513, 1024, 10240]).map(lambda size: b"weights "[: size % 8 + 1] * size)
    | st.integers(0, 30_000).map(bytes)
)
read_sizes = st.lists(st.integers(1, 40) | st.integers(1, 1 << 20), min_size=1, max_size=5)
formats = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def without_conflicts(names: list[str]) -> list[str]:
    """The names that can stand in one folder together, in order."""
    kept: dict[str, None] = {}
    folders: set[str] = set()
    for name in names:
        above = {name[:at] for at, character in enumerate(name) if character == "/"}
        if name not in folders and not above & kept.keys():
            kept[name] = None
            folders |= above
    return list(kept)


trees = st.lists(paths, unique=True, max_size=8).map(without_conflicts)
file_sets = trees.flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, contents)))


@st.composite
def framed(draw, data: bytes):
    """Any way to say `data` in gzip."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=3))
    levels = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
    return archives.gz(data, cuts, levels, padding=draw(st.sampled_from([0, 0, 1, 511, 70_000])))


def is_cut_behind_a_slash(name: str) -> bool:
    """Whether the 100 bytes of a header's own name field end in a slash, its whole name standing in an extension.

    For an old regular file, Python's tarfile takes that for a folder; GNU tar and bsdtar go by the whole name.
    """
    cut = name.encode(), name.encode("ascii", "replace")
    return any(len(each) > 100 and each[:100].endswith(b"/") for each in cut)


@st.composite
def tars(draw):
    """Members as tarfile describes them, with contents, and the tar that holds them: files, folders, hard links."""
    form = draw(formats)
    files: list[str] = []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in draw(trees):
            kind = draw(st.sampled_from([tarfile.REGTYPE, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE]))
            if files and kind == tarfile.AREGTYPE and draw(st.booleans()):
                kind = tarfile.LNKTYPE
            info = tarfile.TarInfo(draw(st.sampled_from(["", "./", ".//"])) + name)
            if kind == tarfile.AREGTYPE and is_cut_behind_a_slash(info.name):
                kind = tarfile.REGTYPE
            info.type, info.mtime = kind, draw(st.sampled_from([0, 1, 1.5, 2**33]))
            data = draw(contents) if info.isreg() else b""
            info.size = len(data)
            info.linkname = draw(st.sampled_from(files)) if info.islnk() else ""
            try:
                archive.addfile(info, io.BytesIO(data))
            except ValueError:  # too long for ustar
                continue
            if info.isreg():
                files.append(name)
    return buffer.getvalue()
