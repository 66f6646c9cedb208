"""Small archives that want much: time, memory, names, headers, links, documents. Each is refused, cheaply.

Each is (trained, compiled): one of them is the bomb, the other sound.
"""

from __future__ import annotations

import json
from functools import cache

from tests import archives
from tests.archives import END, compiled_model, extension, gz, header, member, pax, trained_model

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


@cache
def trained() -> dict[str, bytes]:
    """Trained artifacts, by what their documents want."""
    deep = b"[" * 55
    return {
        "a manifest of indentation": with_manifest(graph_with(deep + b"1," * 400_000 + b"1" + b"]" * 55)),
        "a manifest of a million lists": with_manifest(manifest_with(b"[" + b"[]," * 2_000_000 + b"1]")),
        "a manifest of a million objects": with_manifest(manifest_with(b"[" + b"{}," * 2_000_000 + b"1]")),
        "a manifest that never closes": with_manifest(b"[" * 7_000_000),
        "a manifest of one long number": with_manifest(manifest_with(b"9" * 7_000_000)),
        "a manifest of one key again and again": with_manifest(b'{"a":1,' * 1 + b'"a":1,' * 100_000 + b'"a":1}'),
        "a manifest above its limit": with_manifest(b" " * (9 << 20)),
        "a configuration above its limit": with_config(b" " * (2 << 20)),
        "a configuration of nested lists": with_config(b"[" * 500_000),
        "a configuration of a billion laughs": with_config(
            b"a: &a [x,x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (98 + n, 98 + n, 97 + n, 97 + n) for n in range(20))
        ),
        "a manifest in no encoding": with_manifest(b"\xff\xfe{}"),
    }


@cache
def compiled() -> dict[str, bytes]:
    """Compiled artifacts, by what their members want."""
    marks = "\u0300\u0316" * 40
    records = b"".join(archives.record(b"k", b"") for _ in range(100_000))
    return {
        "names of combining marks": gz(
            b"".join(
                pax((b"path", f"{number}/{'/'.join(['a' + marks] * 18)}".encode())) + member() for number in range(8000)
            )
            + END,
            levels=(9,),
        ),
        "refused names without end": gz(
            b"".join(extension(b"L", b"../" * 1000 + b"%d" % number) + member() for number in range(30_000)) + END,
            levels=(1,),
        ),
        "pax records without end": gz(
            b"".join(extension(b"x", records) + member(b"%d" % number) for number in range(40)) + END, levels=(9,)
        ),
        "global headers without end": gz(pax((b"comment", b"a"), kind=b"g") * 110_000 + END, levels=(9,)),
        "links to one file": gz(
            member(b"a", bytes(1 << 20))
            + b"".join(header(b"%d" % number, kind=b"1", link=b"a") for number in range(90_000))
            + END,
            levels=(9,),
        ),
        "a ratio of a thousand": gz(member(b"zeros", bytes(300 << 20)) + END, levels=(9,)),
    }


def pairs() -> dict[str, tuple[bytes, bytes]]:
    """Every bomb with a sound other half."""
    return {
        **{name: (data, compiled_model()) for name, data in trained().items()},
        **{name: (trained_model(), data) for name, data in {**compiled(), **archives.bombs()}.items()},
    }
