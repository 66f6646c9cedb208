"""One rule for path-like names: members of archives, targets of links, stage types, entries of ZIPs."""

from __future__ import annotations

import re
import unicodedata
from array import array

from packager.errors import UnsafeArchiveError, printable

MAX_SEGMENT_BYTES = 255  # NAME_MAX of the file systems devices unpack on
MAX_PATH_BYTES = 4096 - 1024  # PATH_MAX less room for the folder a device unpacks into

MOST_NUMBER = (1 << 64) - 1
"""Beside a name in a NameTable."""

_as_it_stands = re.compile(r"(?:[\w-][\w.-]*+/)*+[\w-][\w.-]*+", re.ASCII).fullmatch
"""Nearly all names: short ones are safe as they stand, and this sees it four times faster."""


def safe_path(name: str, what: str = "member") -> str:
    """`name` as a relative path of plain segments joined by `/`; leading `./` and doubled slashes are dropped.

    Raises UnsafeArchiveError for a name that is absolute, climbs, hides a separator or a climb behind another
    spelling (backslash, drive letter, Unicode compatibility form), holds a control character or what is not UTF-8
    (surrogates stand for it), or is too long for a device's file system. An empty result means the root itself.
    `what` is the word for what has the name.
    """
    if reason := name_fault(name):
        raise UnsafeArchiveError(
            f"The {what} {printable(name)!r} {reason}.",
            next_step="Make the archive again with plain relative paths below one folder.",
            member=printable(name),
            reason=reason,
        )
    return plain_path(name)


def is_safe_path(name: str) -> bool:
    """Whether `name` is a path below the root as it stands: nothing in it is dropped, nothing is dangerous."""
    return bool(name) and not name_fault(name) and plain_path(name) == name


def is_root(name: str) -> bool:
    """Whether `name` is a spelling of the root itself: empty, `.`, `./`, or `/`, as SageMaker's SDK has it."""
    return not _plain_segments(name)


def name_fault(name: str) -> str:
    """What is wrong with a name, as `safe_path` says it; empty when nothing is."""
    if len(name) <= MAX_SEGMENT_BYTES and _as_it_stands(name):
        return ""
    # Lengths come first: normalizing is slow on long names.
    if len(name) > MAX_PATH_BYTES:
        return f"has a name of {len(name)} characters (at most {MAX_PATH_BYTES})"
    if not name.isprintable():
        surrogates = any("\ud800" <= character <= "\udfff" for character in name)
        return "has a name that is not UTF-8" if surrogates else "holds control or unprintable characters"
    # A cheap test: UTF-8 takes at most 4 bytes a character.
    if len(name) * 4 > MAX_SEGMENT_BYTES and (too_long := _too_long(name)):
        return too_long
    return _outside(name)


def plain_path(name: str) -> str:
    """A name without what means nothing in it: leading `./`, doubled slashes and a slash at the end."""
    return name if _as_it_stands(name) else "/".join(_plain_segments(name))


def _too_long(name: str) -> str:
    segments = [segment.encode() for segment in _plain_segments(name)]
    path_bytes = len(b"/".join(segments))
    if path_bytes > MAX_PATH_BYTES:
        return f"is {path_bytes} bytes long (at most {MAX_PATH_BYTES})"
    longest_bytes = max(map(len, segments), default=0)
    if longest_bytes > MAX_SEGMENT_BYTES:
        return f"has a segment of {longest_bytes} bytes (at most {MAX_SEGMENT_BYTES})"
    return ""


def _outside(name: str) -> str:
    folded = name if name.isascii() else unicodedata.normalize("NFKC", name)
    if "\\" in folded:
        return "holds a backslash, which some readers take for a folder separator"
    if folded.startswith("/"):
        return "is absolute"
    if folded.count("/") != name.count("/"):
        return "hides a folder separator behind another character"
    if ".." in folded.split("/"):
        return "climbs out of its folder"
    first = next(iter(_plain_segments(folded)), "")
    if first[1:2] == ":":  # Windows and Python 3.13 take any character for a drive
        return "begins with a drive letter"
    return ""


def _plain_segments(name: str) -> list[str]:
    return [segment for segment in name.split("/") if segment not in ("", ".")]


class NameTable:
    """A number below 2**64 for each of many names, in 32 to 64 bytes a name: the names themselves are not kept.

    Names are told apart by 64 bits of their hash, which Python makes another one in each process, so that nobody can
    bring about that two are the same; of a million names two are by chance once in 37 million archives.
    """

    def __init__(self) -> None:
        self._count = 0
        self._clear(1 << 8)

    def _clear(self, places: int) -> None:
        self._hashes, self._numbers = array("Q", bytes(8 * places)), array("Q", bytes(8 * places))
        self._mask = places - 1

    def get(self, name: str) -> int | None:
        """Its number; None when it is not there."""
        at = self._place(hash(name) & MOST_NUMBER or 1)
        return self._numbers[at] if self._hashes[at] else None

    def add(self, name: str, number: int = 0) -> bool:
        """Keep the number of a name, unless it is there already: False then."""
        value = hash(name) & MOST_NUMBER or 1
        at = self._place(value)
        if self._hashes[at]:
            return False
        self._hashes[at], self._numbers[at] = value, number
        self._count += 1
        if self._count * 2 > self._mask:
            hashes, numbers = self._hashes, self._numbers
            self._clear(2 * len(hashes))
            for each, its_number in zip(hashes, numbers, strict=True):
                if each:
                    at = self._place(each)
                    self._hashes[at], self._numbers[at] = each, its_number
        return True

    def _place(self, value: int) -> int:
        hashes, mask = self._hashes, self._mask
        at = value & mask
        while hashes[at] not in (0, value):
            at = (at + 1) & mask
        return at
