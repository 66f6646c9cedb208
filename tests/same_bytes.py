"""Digests of what a small set of artifacts becomes: the same on every processor, by every build, in every process.

python -m tests.same_bytes        prints them, to be compared with DIGESTS
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from packager import package
from packager.core.native import Packer
from tests import archives, models
from tests.packages import ground

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_BYTES = 3 << 19


DIGESTS = {
    "weights, stored": "0ff4afc3cf537f4b272abf986b8d51d837dff1c139b274060bc0a81afd4e053b",
    "weights, packed": "55fd25d143fd8c178ede24d20e37cdaa98cefa85d5dec1331fb86333e9981cb1",
    "quantized, stored": "9425eb59b56d8b0dfdc856e79a22c6f9efa6c0f4f2d9c12bba24988099ca67e7",
    "quantized, packed": "297f0086af89c9808bba831f8a23089029237695d2968c660002c0c7a150a175",
    "sparse_weights, stored": "bcebec5d05e130c6fa457795b9023f343b084330ff34adc23799de0f9fff2c96",
    "sparse_weights, packed": "b0f7a73249a8dba4abce761416332476fcac88eb68c8a757006a9bb271c0964e",
    "text, stored": "fd00d2cc38986cc71e858a94262021b2ee27304a62e2adb08ee21e772b403d10",
    "text, packed": "77c0d83e1c7b2ee30e40696f17682dc9da20fa0beeac523a28cfe79104f36e12",
    "json_records, stored": "ab1e6cfb82826c136f64f535bc2f567ffbaea42936a350e84dd0270c6254cd86",
    "json_records, packed": "e13bbcbeed4c0fedd5eaa1dd189becb17908f4571f88b7871ef3982819d1dece",
    "model-1ca3dc019226": "ca23717003fb0cb72eb50925740d022c2210422195ee2c01feedf78b936208da",
}
"""SHA-256 of the ZIP of each artifact, and of a component under its key, as every machine has to make them. They change
with FORMAT_VERSION only."""


def _artifacts() -> Iterator[tuple[str, bytes]]:
    """Stored blocks alone, so that no other compressor has a part in what goes in; large files and small ones."""
    for kind in (models.weights, models.quantized, models.sparse_weights, models.text, models.json_records):
        content = b"".join(kind(SIZE_BYTES, "same"))
        small = [(f"{kind.__name__}/{at:03d}", content[at * 4000 : at * 5000]) for at in range(60)]
        whole = archives.tar([("large", content), *small])
        yield f"{kind.__name__}, stored", archives.gz(whole, levels=(0,))
        yield f"{kind.__name__}, packed", _packed(whole)


_GZIP_HEAD = bytes.fromhex("1f8b0800000000000003")  # of Unix, which not every version of Python says by itself


def _packed(whole: bytes) -> bytes:
    """Gzip by our own compressor: zlib's output differs between its builds."""
    trailer = zlib.crc32(whole).to_bytes(4, "little") + len(whole).to_bytes(4, "little")
    return _GZIP_HEAD + Packer().pack(whole, last=True) + trailer


def digests() -> dict[str, str]:
    """SHA-256 of the ZIP of each artifact, and that of one component with its key before it."""
    zips = ((name, b"".join(archives.zipped(archives.Chopped(whole)))) for name, whole in _artifacts())
    found = {name: hashlib.sha256(made).hexdigest() for name, made in zips}
    return {**found, **_component()}


def _component() -> dict[str, str]:
    """What a caller gets: manifest, key and component."""
    files = archives.compiled_files(b"".join(models.weights(SIZE_BYTES, "component")))
    with ground() as here:
        trained, compiled = here.root / "trained.tar.gz", here.root / "compiled.tar.gz"
        trained.write_bytes(_packed(gzip.decompress(archives.trained_model())))
        compiled.write_bytes(_packed(archives.tar(files)))
        [made] = package(str(trained), {"jetson-xavier": str(compiled)}, here.out).components
        path = Path(str(made.uri))
        return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()}


if __name__ == "__main__":
    json.dump(digests(), sys.stdout, indent=4)
