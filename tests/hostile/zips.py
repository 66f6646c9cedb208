"""ZIPs that lie, each by its lie, built byte by byte; and sound ones of many makers' shapes.

lying()["an entry that inflates to more than it says"]
"""

from __future__ import annotations

import json
import stat
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from tests import archives

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = {"image_width": 8, "image_height": 8}
MANIFEST = json.dumps({"model_graph": archives.MANIFEST["model_graph"], "dataset": DATASET}).encode()
STORED, DEFLATED = 0, 8
MAX_16, MAX_32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Part:
    """One entry, with what its two headers say; None where they tell the truth, or say the same.

    `local_fields` are checksum, packed size and size.
    """

    name: bytes
    data: bytes = b""
    method: int = DEFLATED
    packed: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    flags: int = 0
    extra: bytes = b""
    attributes: int = 0o100644 << 16
    system: int = 3
    offset: int | None = None
    local_name: bytes | None = None
    local_method: int | None = None
    local_flags: int | None = None
    local_fields: tuple[int | None, int | None, int | None] = (None, None, None)
    local_extra_length: int = 0
    comment: bytes = b""
    behind: bytes = b""

    @property
    def payload(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return self.data if self.method == STORED else deflated(self.data)

    def fields(self, packed: bytes) -> tuple[int, int, int]:
        return (
            told(self.crc, zlib.crc32(self.data)),
            told(self.packed_size, len(packed)),
            told(self.size, len(self.data)),
        )


def local_header(part: Part, packed: bytes) -> bytes:
    name = part.name if part.local_name is None else part.local_name
    flags, method = told(part.local_flags, part.flags), told(part.local_method, part.method)
    fields = map(told, part.local_fields, part.fields(packed))
    head = struct.pack("<4s5H3L", b"PK\3\4", 20, flags, method, 0, 0x21, *fields)
    return head + struct.pack("<2H", len(name), part.local_extra_length) + name


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(6, wbits=-15)
    return packer.compress(data) + packer.flush()


def told(value: int | None, truth: int) -> int:
    return truth if value is None else value


def zipped(
    parts: list[Part],
    *,
    count: int | None = None,
    length: int | None = None,
    start: int | None = None,
    comment: bytes = b"",
    before: bytes = b"",
    between: bytes = b"",
    wide: bytes = b"",
    tail: bytes = b"",
    area: bytes | None = None,
) -> bytes:
    """The ZIP of the parts. `between` stands before the end record, `wide` as zip64 records do, `tail` behind all.

    `area` stands for all that the parts have before the directory.
    """
    local, directory = bytearray(before), bytearray()
    for part in parts:
        offset = len(local)
        packed = part.payload
        fields = part.fields(packed)
        local += local_header(part, packed) + packed + part.behind
        directory += struct.pack("<4sBB5H", b"PK\1\2", 20, part.system, 20, part.flags, part.method, 0, 0x21)
        directory += struct.pack("<3L3H", *fields, len(part.name), len(part.extra), len(part.comment))
        directory += struct.pack("<2HLL", 0, 0, part.attributes, told(part.offset, offset - len(before)))
        directory += part.name + part.extra + part.comment
    local = local if area is None else bytearray(area)
    end = struct.pack(
        "<4s4H2LH",
        b"PK\5\6",
        0,
        0,
        told(count, len(parts)),
        told(count, len(parts)),
        told(length, len(directory)),
        told(start, len(local) - len(before)),
        len(comment),
    )
    return bytes(local + directory) + between + wide + end + comment + tail


def zip64(parts: list[Part], *, locator: int | None = None, disks: int = 1, **told_fields: int) -> bytes:
    """A ZIP with zip64 end records; keywords are what they say."""
    plain = zipped(parts)
    start, count = plain.rindex(b"PK\5\6"), len(parts)
    length, offset = struct.unpack("<2L", plain[start + 12 : start + 20])
    fields = {"record": 44, "count": count, "length": length, "offset": offset, **told_fields}
    end = struct.pack("<4sQ2H2L", b"PK\6\6", fields["record"], 45, 45, 0, 0)
    end += struct.pack("<4Q", fields["count"], fields["count"], fields["length"], fields["offset"])
    end += struct.pack("<4sLQL", b"PK\6\7", 0, told(locator, start), disks)
    narrow = {"count": MAX_16, "length": MAX_32, "start": MAX_32}
    return zipped(parts, wide=end, **narrow)


def field64(*values: int, tag: int = 1) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", tag, 8 * len(values), *values)


def component(**changes: object) -> list[Part]:
    """The entries of a sound component; the keywords change `compiled.params`."""
    parts = [Part(b"manifest.json", MANIFEST)]
    parts += [Part(b"mochi/" + name.encode(), data) for name, data in archives.compiled_files()]
    return [replace(part, **changes) if part.name.endswith(b".params") else part for part in parts]


def described(form: str = "<LLL", **changes: int) -> list[Part]:
    """The entries of a sound component, of which `compiled.params` says its sizes behind its data; `changes` lie."""
    data = dict(archives.compiled_files())["compiled.params"]
    told_ = {"crc": zlib.crc32(data), "packed": len(deflated(data)), "size": len(data), **changes}
    signature = (b"PK\7\x08",) if "s" in form else ()
    return component(flags=1 << 3, local_fields=(0, 0, 0), behind=struct.pack(form, *signature, *told_.values()))


def volume(disk: int, of_directory: int) -> bytes:
    """A ZIP that says it is one of several."""
    whole = bytearray(zipped(component()))
    struct.pack_into("<2H", whole, len(whole) - 18, disk, of_directory)
    return bytes(whole)


def quoted(count: int) -> bytes:
    """David Fifield's "better zip bomb": each entry quotes the header of the next one, and all share one kernel."""
    unpacked, tail, parts = bytes(1 << 20), deflated(bytes(1 << 20)), list[Part]()
    whole = tail
    for number in reversed(range(count)):
        part = Part(b"%05d" % number, unpacked, packed=tail, offset=-len(tail))
        header = local_header(part, tail)
        whole = header + tail
        parts.insert(0, replace(part, offset=-len(whole)))
        # A stored block that holds the header, in front of the stream that follows the header.
        tail = struct.pack("<BHH", 0, len(header), 0xFFFF ^ len(header)) + whole
        unpacked = header + unpacked
    return zipped([replace(part, offset=len(whole) + told(part.offset, 0)) for part in parts], area=whole)


def with_part(*parts: Part) -> bytes:
    return zipped([*component(), *parts])


@cache
def sound() -> dict[str, bytes]:
    """ZIPs that a device unpacks, in the shapes that makers of ZIPs give them."""
    data = dict(archives.compiled_files())["compiled.params"]
    wide = field64(len(data), len(deflated(data)))
    return {
        "a plain one": zipped(component()),
        "everything stored": zipped([replace(part, method=STORED) for part in component()]),
        "a comment": zipped(component(), comment=b"made by hand"),
        "comments of entries": zipped(component(comment=b"weights")),
        "a folder": with_part(Part(b"mochi/sub/", method=STORED, attributes=stat.S_IFDIR << 16)),
        "a folder, deflated as Java's jar has it": with_part(Part(b"mochi/sub/")),
        "names in UTF-8 with the flag": with_part(Part("mochi/modèle".encode(), b"x", flags=1 << 11)),
        "names in UTF-8 without the flag": with_part(Part("mochi/模型".encode(), b"x")),
        "names that differ in case only": with_part(Part(b"mochi/a", b"1"), Part(b"mochi/A", b"2")),
        "names that differ in their Unicode form only": with_part(
            Part("mochi/\u00e9".encode(), b"1"), Part("mochi/e\u0301".encode(), b"2")
        ),
        "a path of 1,500 folders": with_part(Part(b"mochi/" + b"a/" * 1500 + b"x", b"1")),
        "sizes in a descriptor": zipped(described()),
        "sizes in a descriptor with its signature": zipped(described("<4sLLL")),
        "sizes in a wide descriptor": zipped(described("<LQQ")),
        "sizes in a wide descriptor with its signature": zipped(described("<4sLQQ")),
        "a descriptor, and sizes before the data too": zipped(component(flags=1 << 3)),
        "100,000 empty blocks of deflate": with_part(Part(b"mochi/x", packed=b"\0\0\0\xff\xff" * 100_000 + b"\3\0")),
        "dates of Unix in an extra field": zipped(component(extra=b"UT\x05\0\x03" + bytes(4))),
        "empty files, stored": with_part(Part(b"mochi/empty", method=STORED)),
        "empty files, deflated": with_part(Part(b"mochi/empty")),
        "a program before it": zipped(component(), before=b"#!/bin/sh\n" * 20),
        "something between the entries": zipped(component(behind=b"between")),
        "zip64 end records": zip64(component()),
        "sizes in a zip64 field": zipped(component(size=MAX_32, packed_size=MAX_32, extra=wide)),
        "a zip64 field that nothing needs": zipped(component(extra=field64(5))),
        "an empty zip64 field": zipped(component(extra=field64())),
    }


@cache
def lying() -> dict[str, bytes]:
    """ZIPs that Java refuses, or unpacks to something else than the directory says, or that no device should take."""
    data = dict(archives.compiled_files())["compiled.params"]
    packed = deflated(data)
    whole = zipped(component())
    big = deflated(bytes(3 << 20))
    return {
        # What an entry unpacks to.
        "an entry that inflates to more than it says": zipped(component(size=10, crc=zlib.crc32(data[:10]))),
        "an entry of 10 bytes that inflates to millions": zipped(
            component(packed=big, size=10, crc=zlib.crc32(bytes(10)))
        ),
        "an entry that inflates to less than it says": zipped(component(size=len(data) + 1)),
        "an entry that says nothing and inflates": zipped(component(size=0, crc=0)),
        "a wrong checksum": zipped(component(crc=1)),
        "bytes behind the end of the deflate stream": zipped(component(packed=packed + b"hidden")),
        "a second deflate stream behind the first": zipped(component(packed=packed + packed)),
        "a deflate stream that is cut": zipped(component(packed=packed[:-3])),
        "a deflate stream that ends one byte early": zipped(component(packed_size=len(packed) - 1)),
        "a deflate stream without its end": zipped(component(packed=deflated(data)[:-1])),
        "an empty entry with no deflate stream": with_part(Part(b"mochi/empty", packed=b"")),
        "a deflate stream that is damaged": zipped(component(packed=b"\xff" + packed[1:])),
        "a stored entry packed larger than its size": zipped(
            component(method=STORED, size=10, crc=zlib.crc32(data[:10]))
        ),
        "a stored entry packed smaller than its size": zipped(component(method=STORED, packed_size=10)),
        "a stored entry that says it is deflated": zipped(component(method=DEFLATED, packed=data)),
        "a method that nobody has": zipped(component(method=99, packed=data)),
        "method 12, bzip2": zipped(component(method=12, packed=data)),
        "an encrypted entry": zipped(component(flags=1)),
        # What it is called.
        "a name that is not UTF-8": with_part(Part(b"mochi/\xff\xfe", b"x")),
        "a name in Latin-1 with the flag of UTF-8": with_part(
            Part("mochi/modèle".encode("latin-1"), b"x", flags=1 << 11)
        ),
        "surrogates in a name": with_part(Part(b"mochi/\xed\xa0\x80", b"x")),
        "an overlong slash in a name": with_part(Part(b"mochi/..\xc0\xaf..\xc0\xafevil", b"x")),
        "a zero byte in a name": with_part(Part(b"mochi/a\0.so", b"x")),
        "an empty name": with_part(Part(b"", b"x")),
        "a segment of 300 bytes": with_part(Part(b"mochi/" + b"a" * 300, b"x")),
        "a path of 4,000 bytes": with_part(Part(b"mochi/" + b"a/" * 2000 + b"b", b"x")),
        "a file and a folder of one name": with_part(Part(b"mochi/compiled.params/", method=STORED)),
        "a file below a file": with_part(Part(b"mochi/compiled.params/below", b"x")),
        "a comment that is not UTF-8": zipped(component(comment=b"\xff")),
        "two entries of one name": with_part(Part(b"mochi/compiled.params", b"other")),
        "two manifests": with_part(Part(b"manifest.json", b"{}")),
        "two spellings of one name": with_part(Part(b"mochi/./compiled.params", b"other")),
        **{
            f"outside: {name!a}": with_part(Part(name.encode("utf-8", "surrogatepass"), b"evil"))
            for name in archives.OUTSIDE
        },
        **{f"unprintable: {name!a}": with_part(Part(name.encode(), b"x")) for name in archives.UNPRINTABLE},
        "another name in the local header": zipped(component(local_name=b"../../etc/passwd")),
        "another method in the local header": zipped(component(local_method=STORED)),
        "another checksum in the local header": zipped(component(local_fields=(1, None, None))),
        "another packed size in the local header": zipped(component(local_fields=(None, 7, None))),
        "another size in the local header": zipped(component(local_fields=(None, None, 7))),
        "no sizes in the local header, and no descriptor": zipped(component(local_fields=(0, 0, 0))),
        "an entry that is encrypted in its local header": zipped(component(local_flags=1)),
        "an entry that is encrypted in the directory": zipped(component(flags=1, local_flags=0)),
        "strong encryption in the local header": zipped(component(local_flags=1 << 6)),
        "masked values in the local header": zipped(component(local_flags=1 << 13)),
        "a descriptor in the directory alone": zipped(component(flags=1 << 3, local_flags=0)),
        "a descriptor of another checksum": zipped(described(crc=1)),
        "a descriptor of another packed size": zipped(described("<4sLLL", packed=1)),
        "a descriptor of another size": zipped(described("<LQQ", size=1)),
        "no descriptor where one should be": zipped(component(flags=1 << 3, local_fields=(0, 0, 0))),
        "half of a descriptor": zipped(
            [replace(part, behind=part.behind[:7]) if part.behind else part for part in described()]
        ),
        "a local header that is longer, up to the next entry": zipped(component(local_extra_length=20)),
        "a local header that is longer, up to the directory": with_part(Part(b"mochi/x", b"1", local_extra_length=9)),
        # What it is.
        **{
            f"a link, as made by system {system}": with_part(
                Part(b"mochi/link", b"/etc/passwd", attributes=(stat.S_IFLNK | 0o777) << 16, system=system)
            )
            for system in (0, 3, 7, 19, 255)
        },
        # Where it lies.
        "entries that share their bytes": zipped(
            [*component(), replace(component()[1], name=b"mochi/again", offset=0)]
        ),
        "an entry inside of another": zipped(component(offset=50)),
        "an entry that begins in the directory": zipped(component(offset=len(whole) - 60)),
        "an entry that begins behind the end": zipped(component(offset=1 << 30)),
        "an entry that runs into the directory": zipped(component(packed_size=len(whole))),
        # The directory and its end.
        "more entries than the end says": zipped(component(), count=2),
        "fewer entries than the end says": zipped(component(), count=9),
        "a directory longer than it is": zipped(component(), length=len(whole)),
        "a directory shorter than it is": zipped(component(), length=100),
        "a directory that begins behind itself": zipped(component(), start=len(whole)),
        "a directory that begins elsewhere": zipped(component(), start=7),
        "something behind the end record": zipped(component(), tail=b"behind"),
        "a second ZIP behind the first": whole + zipped([Part(b"manifest.json", b"{}")]),
        "a comment longer than it says": zipped(component(), comment=b"abc")[:-5] + b"\1\0abc",
        "a comment shorter than it says": zipped(component(), comment=b"abc")[:-1],
        "an end record within the comment": zipped(component(), comment=b"x" * 9 + whole[-22:] + b"y" * 4),
        "something between directory and end record": zipped(component(), between=b"between"),
        "the last of two volumes": volume(1, 1),
        "the last of two volumes, the directory in the first": volume(1, 0),
        "a directory in the second volume": volume(0, 1),
        "the mark of several volumes, and their last": b"PK\7\x08" + volume(3, 3),
        "entries that quote the headers of the next ones": quoted(20),
        "no end record": whole[:-22],
        "half of it": whole[: len(whole) // 2],
        "nothing": b"",
        "an extra field that is cut": zipped(component(extra=b"UT\xff\0\x03")),
        # zip64.
        "a size that should be in a zip64 field": zipped(component(size=MAX_32)),
        "an offset that should be in a zip64 field": zipped(component(offset=MAX_32)),
        "a zip64 field that is too short": zipped(component(size=MAX_32, packed_size=MAX_32, extra=field64(len(data)))),
        "a zip64 field of 4 bytes": zipped(component(extra=b"\1\0\4\0" + bytes(4))),
        "a zip64 field of 12 bytes": zipped(
            component(size=MAX_32, extra=b"\1\0\x0c\0" + struct.pack("<Q", 700) + bytes(4))
        ),
        "a zip64 size below zero": zipped(component(size=MAX_32, extra=field64(1 << 63))),
        "a zip64 packed size below zero": zipped(
            component(size=MAX_32, packed_size=MAX_32, extra=field64(len(data), 1 << 63))
        ),
        "an empty zip64 field that is needed": zipped(component(size=MAX_32, extra=field64())),
        "two zip64 fields": zipped(component(size=MAX_32, extra=field64(len(data)) + field64(5))),
        "a zip64 end record elsewhere": zip64(component(), locator=5),
        "a zip64 end record behind the end": zip64(component(), locator=1 << 40),
        "a zip64 end record of another length": zip64(component(), record=1000),
        "a zip64 end record that counts otherwise": zip64(component(), count=3),
        "a zip64 directory that is longer": zip64(component(), length=1 << 40),
        "a zip64 directory that begins behind itself": zip64(component(), offset=1 << 40),
    }


MANY = (
    ("65,000 names outside", "../{}", 65_000),
    ("65,000 names that cannot be printed", "\x01{}", 65_000),
    ("65,000 files at the root", "{}", 65_000),
    ("65,000 folders", "{}/x", 60_000),
    ("deep folders of their own", "{}/" + "a/" * 690 + "x", 3_400),
    ("names of combining marks", "{}/" + ("e" + "\u0316\u0300" * 40 + "/") * 10, 2_500),
    ("one name again and again", "a", 65_000),
)

BOMBS: dict[str, Callable[[], bytes]] = {
    "a ratio of a thousand": lambda: with_part(Part(b"mochi/zeros", bytes(100 << 20))),
    "a bomb of 250 entries that quote each other": lambda: quoted(250),
    "a manifest above its limit": lambda: with_manifest(b" " * (9 << 20)),
    "a manifest of a million lists": lambda: with_manifest(b'{"a": [' + b"[]," * 2_000_000 + b"1]}"),
    "a manifest that never closes": lambda: with_manifest(b"[" * 7_000_000),
    "a manifest of one long number": lambda: with_manifest(b'{"a": ' + b"9" * 7_000_000 + b"}"),
    "a manifest that says how deep it is": lambda: with_manifest(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "1.9 million empty blocks of deflate, and a fault": lambda: with_part(
        Part(b"mochi/x", packed=b"\0\0\0\xff\xff" * 1_900_000 + b"\3\0", crc=1)
    ),
    **{
        name: lambda form=form, count=count: zipped(
            [Part(form.format(n).encode(), method=STORED) for n in range(count)]
        )
        for name, form, count in MANY
    },
}
"""ZIPs that want much time or memory, and are refused, or are found to have a fault; made when they are asked for."""


def with_manifest(data: bytes) -> bytes:
    return zipped([Part(b"manifest.json", data), *component()[1:]])
