"""Gzip inflated within limits: every member, checksum and length is checked, up to the last byte of the file."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, Any, cast

from isal import igzip, igzip_lib

from packager.errors import ExtractionError, within

if TYPE_CHECKING:
    from packager.core.ports import Reader
    from packager.settings import Settings

RATIO_GRACE_BYTES = 64 << 20  # a small archive may be all zeros; beyond this the ratio is an attack


_SHORT_READS_BYTES = 1 << 17

# OverflowError: a header without an end, larger than the buffer of packed bytes.
_DAMAGE = (EOFError, OverflowError, gzip.BadGzipFile, cast("type[Exception]", igzip_lib.error))


class PackedCount:
    """A reader that counts what has been read of it: progress, ratio and telemetry look at `bytes_read`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.magic = b""
        self.bytes_read = 0

    def readinto(self, buffer: memoryview) -> int:
        count = self._reader.readinto(buffer)
        self.magic = self.magic or bytes(buffer[: min(count, 2)])
        self.bytes_read += count
        return count

    def read(self, size: int = -1) -> bytes:
        data = self._reader.read(size)
        self.bytes_read += len(data)
        return data


class Gunzip:
    """The inflated bytes of a gzip file, as exact reads. `bytes_read` counts them.

    Raises ExtractionError for anything but one or more whole gzip members followed by nothing but zeros, and
    LimitExceededError beyond `max_unpacked_bytes` or `max_ratio`. Memory: two buffers of 0.5 MiB.
    """

    def __init__(self, packed: PackedCount, settings: Settings) -> None:
        self._packed = packed
        # The outer buffer serves the short reads of headers in C; large reads pass through it.
        self._inflated = io.BufferedReader(_inflating(packed), _SHORT_READS_BYTES)
        self._settings = settings
        self.bytes_read = 0

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the file."""
        try:
            data: bytes = self._inflated.read(size)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        self._count(len(data))
        return data

    def readinto_exactly(self, buffer: memoryview) -> int:
        """Fill `buffer`; the count is smaller than its length only at the end of the file."""
        filled = 0
        while filled < len(buffer):
            try:
                count = self._inflated.readinto(buffer[filled:])
            except _DAMAGE as error:
                raise self._damaged(error) from error
            if not count:
                break
            filled += count
        self._count(filled)
        return filled

    def _count(self, count: int) -> None:
        self.bytes_read += count
        within("MAX_UNPACKED_BYTES", self._settings.max_unpacked_bytes, self.bytes_read)
        check_ratio(self._settings, self._packed.bytes_read, self.bytes_read)

    def _damaged(self, error: Exception) -> ExtractionError:
        what = "ends too early" if isinstance(error, EOFError) else f"is damaged or not gzip ({error})"
        if self._packed.magic == b"\x1f\x8b" and "Not a gzipped file" in str(error):  # not the first member, then
            what = "is followed by data that is neither zeros nor gzip (trailing garbage)"
        return ExtractionError(
            f"The archive {what}: {self._packed.bytes_read} packed bytes read, {self.bytes_read} inflated.",
            next_step="Copy or make the archive again; `gzip -t` shows whether a file is whole.",
            packed_bytes=self._packed.bytes_read,
            unpacked_bytes=self.bytes_read,
        )


def check_ratio(settings: Settings, packed_bytes: int, unpacked_bytes: int, what: str = "The archive") -> None:
    """LimitExceededError when so many bytes come out of so few."""
    if unpacked_bytes > RATIO_GRACE_BYTES:
        within("MAX_COMPRESSION_RATIO", settings.max_ratio, -(-unpacked_bytes // max(1, packed_bytes)), what)


def _inflating(packed: PackedCount) -> io.RawIOBase:
    open_gzip: Any = igzip.IGzipFile
    return cast("io.RawIOBase", open_gzip(fileobj=packed, mode="rb"))
