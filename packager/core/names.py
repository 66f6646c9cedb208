"""One rule for where a member may lie, for all spellings of "outside"."""

from __future__ import annotations

import unicodedata

from packager.errors import UnsafeArchiveError, printable

MAX_SEGMENT_BYTES = 255  # NAME_MAX of the file systems devices unpack on
MAX_PATH_BYTES = 4096 - 1024  # PATH_MAX less room for the folder a device unpacks into


def safe_path(name: str) -> str:
    """`name` as a relative path of plain segments joined by `/`; leading `./` and doubled slashes are dropped.

    Raises UnsafeArchiveError for a name that is absolute, climbs, hides a separator or a climb behind another
    spelling (backslash, drive letter, Unicode compatibility form), holds a control character or what is not UTF-8
    (surrogates stand for it), or is too long for a device's file system. An empty result means the root itself.
    """
    if len(name) > MAX_PATH_BYTES:  # first of all: normalizing takes time with the square of the length
        raise _unsafe(name, f"has a name of {len(name)} characters (at most {MAX_PATH_BYTES})")
    if not name.isprintable():
        why = "has a name that is not UTF-8" if _holds_surrogates(name) else "holds control or unprintable characters"
        raise _unsafe(name, why)
    folded = name if name.isascii() else unicodedata.normalize("NFKC", name)
    if "\\" in folded:
        raise _unsafe(name, "holds a backslash, which some readers take for a folder separator")
    if name.startswith("/") or folded.startswith("/"):
        raise _unsafe(name, "is absolute")
    if folded.count("/") != name.count("/"):
        raise _unsafe(name, "hides a folder separator behind another character")
    if ".." in folded.split("/"):
        raise _unsafe(name, "climbs out of its folder")
    segments = _plain_segments(name)
    first = segments if folded is name else _plain_segments(folded)
    if first and first[0][1:2] == ":":  # Windows and Python 3.13 take any character for a drive
        raise _unsafe(name, "begins with a drive letter")
    path = "/".join(segments)
    if len(path) * 4 > MAX_SEGMENT_BYTES:  # cheap test first: UTF-8 takes at most 4 bytes a character
        _refuse_too_long(name, path, segments)
    return path


def _plain_segments(name: str) -> list[str]:
    return [segment for segment in name.split("/") if segment not in ("", ".")]


def _refuse_too_long(name: str, path: str, segments: list[str]) -> None:
    if len(path.encode()) > MAX_PATH_BYTES:
        raise _unsafe(name, f"is {len(path.encode())} bytes long (at most {MAX_PATH_BYTES})")
    longest = max(len(segment.encode()) for segment in segments)
    if longest > MAX_SEGMENT_BYTES:
        raise _unsafe(name, f"has a segment of {longest} bytes (at most {MAX_SEGMENT_BYTES})")


def _holds_surrogates(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)


def _unsafe(name: str, why: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"The member {printable(name)!r} {why}.",
        next_step="Make the archive again with plain relative paths below one folder.",
        member=printable(name),
        reason=why,
    )
