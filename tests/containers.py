"""The same tar in every compression that a model comes in."""

from __future__ import annotations

import bz2
import lzma
from functools import partial
from typing import TYPE_CHECKING

import pytest

from packager.stores.unpacked import ZSTD_MODULE
from tests import archives

if TYPE_CHECKING:
    from collections.abc import Callable


def zstd(data: bytes) -> bytes:
    """With a checksum, as the program `zstd` writes it."""
    library = pytest.importorskip(ZSTD_MODULE)
    packed: bytes = library.compress(data, options={library.CompressionParameter.checksum_flag: 1})
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": archives.gz,
    "tar.bz2": bz2.compress,
    "tar.xz": partial(lzma.compress, preset=0),
    "tar.zst": zstd,
}
