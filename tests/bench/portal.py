"""The portal's way, as a process: extract all of an archive, then zip it at level 6.

python portal.py IN.tar.gz OUT.zip
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    with tarfile.open(sys.argv[1], "r:gz") as archive:
        archive.extractall(folder, filter="data")
    with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED, compresslevel=6, strict_timestamps=False) as packed:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder))
