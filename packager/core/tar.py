"""Tar headers read once, strictly: where two readers could disagree about an archive, it is refused.

Formats: V7, POSIX ustar and pax, GNU. Layout of the header: POSIX.1-2017, `pax`, "ustar Interchange Format".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol
from zlib import adler32

from packager.core.splice import splice
from packager.errors import ExtractionError, UnsafeArchiveError, printable, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.core.gunzip import Gunzip
    from packager.core.splice import End, Part
    from packager.settings import Settings

BLOCK_BYTES = 512
USUAL_TAR = "Make the archive again with a usual tar program."
_END = bytes(BLOCK_BYTES)
_LARGEST_OCTAL = 0o77777777777
_EXTENSIONS = {b"L": "L", b"K": "K", b"x": "x", b"X": "x", b"g": "g"}  # X is what Solaris called x before POSIX

Kind = Literal["file", "directory", "hard link", "symbolic link", "device"]
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",  # contiguous file: a plain file to every reader of today
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "device",
    b"4": "device",
    b"5": "directory",
    b"6": "device",
}


class Entry(NamedTuple):
    """One member as its headers describe it; nothing of it has been judged. `size_bytes` is 0 but for files."""

    name: str
    size_bytes: int
    kind: Kind
    link_target: str = ""


class Stream(Protocol):
    """A tar's bytes as exact reads, fewer at its checked end only; `bytes_read` counts them."""

    bytes_read: int

    def read_exactly(self, size: int) -> bytes: ...

    def readinto_exactly(self, buffer: memoryview) -> int: ...


class TarReader:
    """Iterates over the entries of a tar stream; after each entry `readinto` gives its payload.

    Payload that is not read is skipped, with every byte still passing the checksum. Iteration ends only after
    the end-of-archive mark, zeros to the end of the stream, and the gzip trailer.

    Errors: ExtractionError for damage, LimitExceededError for an oversized extension header, UnsafeArchiveError
    for forms whose meaning readers disagree on.
    """

    def __init__(self, stream: Stream, settings: Settings) -> None:
        self._stream = stream
        self._settings = settings
        self._global_headers = 0
        self._pax_records_read = 0
        self._left = 0
        self._padding = 0
        self._waste = memoryview(bytearray(1 << 16))
        self.splice: Callable[[], Iterator[Part | End]] | None = None

    @property
    def unpacked_bytes(self) -> int:
        return self._stream.bytes_read

    def __iter__(self) -> Iterator[Entry]:
        while entry := self._next_entry():
            yield entry
        self._finish()

    def readinto(self, buffer: memoryview) -> int:
        """Payload of the current entry into the front of `buffer`: as much as fits or is left, 0 when all is read."""
        wanted = min(len(buffer), self._left)
        if not wanted:
            return 0
        if self._stream.readinto_exactly(buffer[:wanted]) < wanted:
            raise self._cut("inside a member")
        self._left -= wanted
        return wanted

    def _next_entry(self) -> Entry | None:
        extensions: dict[str, bytes] = {}
        while header := self._next_header():
            extension = _EXTENSIONS.get(header[156:157])
            if extension is None:
                return self._entry(header, extensions)
            if extension in extensions:
                raise UnsafeArchiveError(
                    f"Two extension headers of type {extension} stand before one member; readers disagree on the one "
                    "that holds.",
                    next_step=USUAL_TAR,
                )
            data = self._extension(header)
            if extension == "g":
                self._pass_over_global(data)
            else:
                extensions[extension] = data
        if extensions:
            raise self._cut("after an extension header")
        return None

    def _pass_over_global(self, data: bytes) -> None:
        """Take a global header that decides nothing: a comment of git archive, attributes of a folder."""
        self._global_headers += 1
        within("MAX_ARCHIVE_MEMBERS", self._settings.max_members, self._global_headers)
        if records := self._pax_records(data):
            raise UnsafeArchiveError(
                f"A global header sets {', '.join(map(printable, records))}; readers disagree on that.",
                next_step=USUAL_TAR,
            )

    def _next_header(self) -> bytes | None:
        while self._left:
            self.readinto(self._waste)
        padding, self._padding = self._padding, 0
        header = self._stream.read_exactly(padding + BLOCK_BYTES)[padding:]
        if header == _END:
            return None
        if len(header) < BLOCK_BYTES:
            raise self._cut("before its end mark" if not header else "inside a header")
        if self._number(header[148:156], "checksum") != _checksum(header):
            raise ExtractionError(
                f"A tar header is damaged, {self._stream.bytes_read - BLOCK_BYTES} bytes into the unpacked archive.",
                next_step="Make the archive again; `tar -tzf` lists what can still be read.",
                unpacked_bytes=self._stream.bytes_read - BLOCK_BYTES,
            )
        return header

    def _entry(self, header: bytes, extensions: dict[str, bytes]) -> Entry:
        pax = self._pax_records(extensions["x"]) if "x" in extensions else {}
        long_name = self._long("name", pax.get("path"), extensions.get("L")) if extensions else ""
        name = long_name or self._ustar_name(header)
        kind = _KINDS.get(header[156:157])
        if kind == "file" and name.endswith("/"):
            kind = "directory"  # V7 had no other way to write one
        if header[156:157] == b"S" or (pax and pax.keys() - {"path", "linkpath", "size"}):
            raise _sparse(name, pax)
        if kind is None:
            raise UnsafeArchiveError(
                f"The member {printable(name)!r} is of an unknown type, {printable(header[156:157])}.",
                next_step="Make the archive again from plain files.",
                member=printable(name),
            )
        size = self._size(header, pax, name)
        if kind != "file" and size:
            raise UnsafeArchiveError(
                f"The {kind} {printable(name)!r} claims {size} bytes of content; readers disagree on what follows it.",
                next_step=USUAL_TAR,
                member=printable(name),
            )
        self._left = size
        self._padding = -size % BLOCK_BYTES
        link = self._long("link target", pax.get("linkpath"), extensions.get("K")) if extensions else ""
        return Entry(name, size, kind, (link or _text(header[157:257])) if kind.endswith("link") else "")

    def _long(self, what: str, pax: str | None, gnu: bytes | None) -> str:
        if pax is not None and gnu is not None and pax != _text(gnu):
            raise UnsafeArchiveError(
                f"A member has two {what}s: {printable(pax)!r}, and {printable(_text(gnu))!r} in a GNU extension.",
                next_step=USUAL_TAR,
                member=printable(pax),
            )
        return pax or _text(gnu or b"")

    def _ustar_name(self, header: bytes) -> str:
        name = _text(header[:100])
        # GNU's magic is "ustar  \0", and it keeps dates where POSIX keeps the prefix.
        if header[257:263] == b"ustar\0" and header[345] != 0:
            return f"{_text(header[345:500])}/{name}"
        return name

    def _size(self, header: bytes, pax: dict[str, str], name: str) -> int:
        size = self._number(header[124:136], "size")
        if "size" not in pax:
            return size
        wide = pax["size"]
        # A pax size is for what octal cannot hold. One that differs without need hides members from some readers
        # (CVE-2025-62518).
        plain = wide.isascii() and wide.isdigit() and len(wide) <= 20  # noqa: PLR2004  2**64 has 20 digits
        if not plain or (int(wide) <= _LARGEST_OCTAL and int(wide) != size):
            raise UnsafeArchiveError(
                f"The member {printable(name)!r} has two sizes: {size}, and {printable(wide)} in an extension.",
                next_step=USUAL_TAR,
                member=printable(name),
            )
        return int(wide)

    def _extension(self, header: bytes) -> bytes:
        size = self._number(header[124:136], "size")
        within("MAX_EXTENSION_HEADER_BYTES", self._settings.max_extension_header_bytes, size)
        padded = size + -size % BLOCK_BYTES
        data = self._stream.read_exactly(padded)
        if len(data) < padded:
            raise self._cut("inside an extension header")
        return data[:size]

    def _pax_records(self, data: bytes) -> dict[str, str]:
        """Records of the form `LENGTH KEY=VALUE` and a newline, LENGTH counting all of it."""
        records: dict[str, str] = {}
        position, count = 0, 0
        while position < len(data):
            space = data.find(b" ", position, position + 20)
            length = data[position:space] if space > 0 else b""
            end = position + int(length) if length.isdigit() else 0
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            framed = space < end <= len(data) and equals and data[end - 1 : end] == b"\n"
            meaningful = key in _MEANINGFUL_PAX_KEYS or key.startswith(_SPARSE_PAX_KEYS)
            # An empty value takes back an earlier one, for some readers; for others it is the value. What decides
            # nothing may be binary, as extended attributes are.
            if not framed or (meaningful and (not value or b"\0" in value)):
                raise ExtractionError(
                    f"A pax extension header is malformed, {self._stream.bytes_read} bytes into the unpacked archive.",
                    next_step=USUAL_TAR,
                    unpacked_bytes=self._stream.bytes_read,
                )
            if meaningful:
                records[key.decode("ascii", "replace")] = _text(value)
            position, count = end, count + 1
        self._pax_records_read += count
        within("MAX_PAX_RECORDS", self._settings.max_pax_records, self._pax_records_read)
        return records

    def _number(self, raw: bytes, field: str) -> int:
        if raw[:1] == b"\x80":  # GNU base-256: for sizes above 8 GiB
            return int.from_bytes(raw[1:], "big")
        digits = raw.strip(b" \0")
        if not digits:
            return 0
        if digits.isdigit() and b"8" not in digits and b"9" not in digits:
            return int(digits, 8)
        raise ExtractionError(
            f"A tar header has the {field} {printable(raw)}, which is no number, "
            f"{self._stream.bytes_read} bytes into the unpacked archive.",
            next_step="Check that the file is a tar archive.",
            unpacked_bytes=self._stream.bytes_read,
        )

    def _finish(self) -> None:
        """One zero block has been read: demand the second, then nothing but zeros up to the checked end of the gzip."""
        if self._stream.read_exactly(BLOCK_BYTES) != _END:
            raise self._cut("inside its end mark")
        while count := self._stream.readinto_exactly(self._waste):
            if bytes(self._waste[:count]).strip(b"\0"):
                raise UnsafeArchiveError(
                    "Data follows the end mark of the archive; some readers would unpack it.",
                    next_step="Make the archive again; concatenated tar files must be joined with `tar -A`.",
                )

    def _cut(self, where: str) -> ExtractionError:
        return ExtractionError(
            f"The tar archive ends {where}, after {self._stream.bytes_read} unpacked bytes.",
            next_step="Copy or make the archive again; it is not whole.",
            unpacked_bytes=self._stream.bytes_read,
        )


class TarGzReader(TarReader):
    """A tar in a gzip file, whose deflate blocks can be copied."""

    def __init__(self, stream: Gunzip, settings: Settings) -> None:
        super().__init__(stream, settings)
        self._gunzip = stream
        self.splice = self._spliced

    def _spliced(self) -> Iterator[Part | End]:
        """Payload of the current entry as the parts of a deflate stream, copied from the artifact where that can be."""
        size, self._left = self._left, 0
        return splice(self._gunzip, size)


def _sparse(name: str, pax: dict[str, str]) -> UnsafeArchiveError:
    """Refuse a file with holes, by the name it has when it is unpacked, with what its maker has to be told."""
    real = printable(pax.get("GNU.sparse.name", name))
    # Both write format 1.0 of PAX: GNU tar with its process number in the folder's place, libarchive always with a 0.
    by_bsdtar = "GNUSparseFile.0" in name.split("/")
    program, option = ("bsdtar", "with --no-read-sparse") if by_bsdtar else ("GNU tar", "without --sparse (-S)")
    return UnsafeArchiveError(
        f"The member {real!r} is sparse, which not every reader unpacks to the same bytes.",
        next_step=f"Make the archive again {option}, as {program} made it.",
        member=real,
    )


def _checksum(header: bytes) -> int:
    """The sum of a header's bytes, those of the checksum itself counted as spaces."""
    summed = header[:148] + b"        " + header[156:]
    # The sum of ASCII is below the modulus of Adler-32, whose lower half is one more than it: ten times faster.
    return (adler32(summed) & 0xFFFF) - 1 if summed.isascii() else sum(summed)


def _text(raw: bytes) -> str:
    """A header's text up to its first NUL; surrogates stand for what is not UTF-8, which no safe path holds."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


_MEANINGFUL_PAX_KEYS = frozenset((b"path", b"linkpath", b"size"))
_SPARSE_PAX_KEYS = (b"GNU.sparse", b"SCHILY.realsize", b"SUN.holesdata")  # of GNU tar and libarchive, star, Solaris
