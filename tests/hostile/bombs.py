"""Small archives that want much: time, memory, names, headers, links, documents. Each is refused, cheaply.

Each is (trained, compiled): one of them is the bomb, the other sound.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests import archives
from tests.archives import END, compiled_model, extension, gz, header, member, pax, trained_model

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = ("config.yaml", b"dataset:\n  image_width: 8\n  image_height: 8\n")
PT = ("export_artifacts/model.pt", b"weights")


def with_manifest(data: bytes) -> bytes:
    return gz(archives.tar([CONFIG, PT, ("export_artifacts/manifest.json", data)]), levels=(9,))


def with_config(data: bytes) -> bytes:
    manifest = json.dumps(archives.MANIFEST).encode()
    return gz(archives.tar([("config.yaml", data), PT, ("export_artifacts/manifest.json", manifest)]), levels=(9,))


def manifest_with(more: bytes) -> bytes:
    return json.dumps(archives.MANIFEST).encode()[:-1] + b', "more": ' + more + b"}"


def graph_with(more: bytes) -> bytes:
    graph = json.dumps(archives.MANIFEST["model_graph"]).encode()[:-1] + b', "more": ' + more + b"}"
    return b'{"input_shape": [1, 3, 8, 8], "model_graph": ' + graph + b"}"


def deep_manifest() -> bytes:
    deep = b"[" * 55
    return with_manifest(graph_with(deep + b"1," * 400_000 + b"1" + b"]" * 55))


def laughs() -> bytes:
    lines = (b"%c: &%c [*%c,*%c]\n" % (98 + n, 98 + n, 97 + n, 97 + n) for n in range(20))
    return with_config(b"a: &a [x,x]\n" + b"".join(lines))


def combining() -> bytes:
    name = "/".join(["a" + "\u0300\u0316" * 40] * 18)
    return gz(b"".join(pax((b"path", f"{number}/{name}".encode())) + member() for number in range(3000)) + END)


def climbing() -> bytes:
    names = (extension(b"L", b"../" * 1000 + b"%d" % number) for number in range(30_000))
    return gz(b"".join(name + member() for name in names) + END, levels=(1,))


def records() -> bytes:
    many = extension(b"x", archives.record(b"k", b"") * 100_000)
    return gz(b"".join(many + member(b"%d" % number) for number in range(40)) + END, levels=(9,))


def links() -> bytes:
    each = (header(b"%d" % number, kind=b"1", link=b"a") for number in range(5000))
    return gz(member(b"a", bytes(1 << 20)) + b"".join(each) + END, levels=(9,))


TRAINED: dict[str, Callable[[], bytes]] = {
    "a manifest of indentation": deep_manifest,
    "a manifest of a million lists": lambda: with_manifest(manifest_with(b"[" + b"[]," * 2_000_000 + b"1]")),
    "a manifest of a million objects": lambda: with_manifest(manifest_with(b"[" + b"{}," * 2_000_000 + b"1]")),
    "a manifest that never closes": lambda: with_manifest(b"[" * 7_000_000),
    "a manifest of one long number": lambda: with_manifest(manifest_with(b"9" * 7_000_000)),
    "a manifest of one key again and again": lambda: with_manifest(b"{" + b'"a":1,' * 100_000 + b'"a":1}'),
    "a manifest above its limit": lambda: with_manifest(b" " * (9 << 20)),
    "a configuration above its limit": lambda: with_config(b" " * (2 << 20)),
    "a configuration of nested lists": lambda: with_config(b"[" * 500_000),
    "a configuration of a billion laughs": laughs,
    "a manifest in no encoding": lambda: with_manifest(b"\xff\xfe{}"),
}
"""Trained artifacts, by what their documents want."""

COMPILED: dict[str, Callable[[], bytes]] = {
    "names of combining marks": combining,
    "refused names without end": climbing,
    "pax records without end": records,
    "global headers without end": lambda: gz(pax((b"comment", b"a"), kind=b"g") * 110_000 + END, levels=(9,)),
    "links to one file": links,
    "a ratio of a thousand": lambda: gz(member(b"zeros", bytes(100 << 20)) + END, levels=(1,)),
}
"""Compiled artifacts, by what their members want."""

NAMES = (*TRAINED, *COMPILED, *archives.bombs())


def pair(name: str) -> tuple[bytes, bytes]:
    """The bomb of that name, with a sound other half."""
    if name in TRAINED:
        return TRAINED[name](), compiled_model()
    return trained_model(), COMPILED[name]() if name in COMPILED else archives.bombs()[name]
