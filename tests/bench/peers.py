"""What is compared: the packager, and what people would use in its place. A peer that is not installed is named."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGER = str(Path(sys.executable).with_name("packager"))
OURS, PORTAL, BSDTAR, BSDTAR_FAST, LIMIT = "packager", "portal's way", "bsdtar", "bsdtar level 1", "igzip"


@dataclass(frozen=True)
class Peer:
    """A command that takes a compiled artifact, named by the first argument, and a trained one, by the second.

    `most` caps its runs: slow ones run once. Of a quick benchmark those without a mark are left out.
    """

    name: str
    program: str
    command: Callable[[Path, Path], list[str]]
    most: int
    has_mark: bool = True

    @property
    def missing(self) -> str | None:
        """What to install, when the program is not there."""
        return None if shutil.which(self.program) else self.program


def _packager(compiled: Path, trained: Path) -> list[str]:
    return [PACKAGER, "package", "--trained", str(trained), "--compiled", f"jetson-xavier={compiled}", "--output", "."]


def _portal(compiled: Path, _: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("portal.py")), str(compiled), "out.zip"]


def _igzip(compiled: Path, _: Path) -> list[str]:
    return ["sh", "-c", 'exec igzip -d -c "$0" >/dev/null', str(compiled)]


def _bsdtar(compiled: Path, *options: str) -> list[str]:
    return ["bsdtar", "-c", "--format", "zip", *options, "-f", "out.zip", f"@{compiled}"]


PEERS = (
    Peer(OURS, PACKAGER, _packager, 3),
    Peer(LIMIT, "igzip", _igzip, 3),
    Peer(BSDTAR, "bsdtar", lambda compiled, _: _bsdtar(compiled), 1),
    Peer(
        BSDTAR_FAST, "bsdtar", lambda compiled, _: _bsdtar(compiled, "--options", "zip:compression-level=1"), 1, False
    ),
    Peer(PORTAL, sys.executable, _portal, 1),
)
