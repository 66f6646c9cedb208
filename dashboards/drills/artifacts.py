"""Small models to package in a drill: a trained one and what a compiler makes of it."""

from __future__ import annotations

import io
import json
import random
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHAPE = [1, 3, 224, 224]
_STAGE = {
    "type": "drill",
    "input_shape": _SHAPE,
    "threshold": 0.5,
    "image_width": 224,
    "image_height": 224,
    "image_range_scale": True,
    "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
}
_MANIFEST = {
    "model_graph": {"model_graph_type": "single_stage_model_graph", "stages": [_STAGE]},
    "input_shape": _SHAPE,
}
_AARCH64 = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x03\0\xb7\0"
"""The head of a shared library for the targets of drills."""

_GZIP_TRAILER_BYTES = 8  # CRC-32 and length, https://www.rfc-editor.org/rfc/rfc1952#page-5


def trained() -> bytes:
    """Return a trained model as tar.gz: a checkpoint and its export."""
    weights = _noise(40_000)
    return _archive(
        {
            "config.yaml": b"dataset:\n  image_width: 224\n  image_height: 224\n",
            "drill.pt": weights,
            "drill.json": b'{"nodes": []}',
            "export_artifacts/drill.pt": weights,
            "export_artifacts/manifest.json": json.dumps(_MANIFEST).encode(),
        }
    )


def compiled(weights_bytes: int = 200_000) -> bytes:
    """Return a compiled model as tar.gz, about as large as its weights: nothing is compressed."""
    return _archive(
        {
            "compiled.meta": b'{"Model": {"Inputs": [{"name": "input"}]}}',
            "compiled.params": _noise(weights_bytes),
            "compiled.so": _AARCH64 + _noise(1000),
            "compiled_model.json": b'{"nodes": [], "heads": []}',
            "libdlr.so": _AARCH64 + _noise(1000),
        }
    )


def damaged(artifact: bytes) -> bytes:
    """Return a tar.gz that is whole but for its checksum: only who reads to the end finds out."""
    at = len(artifact) - _GZIP_TRAILER_BYTES
    return artifact[:at] + bytes([artifact[at] ^ 1]) + artifact[at + 1 :]


def _noise(size_bytes: int) -> bytes:
    return random.Random(size_bytes).randbytes(size_bytes)  # noqa: S311  weights, no secret


def _archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=0) as archive:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return packed.getvalue()
