"""The browser's side of the charts, out of vl-convert: apart, so that making it needs nothing else of ours."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import vl_convert


def bundle() -> str:
    """Return the JavaScript that defines `vegaEmbed`, safe inside a script element.

    Making it takes seconds of the processor: it is kept in the user's cache, one for each release of vl-convert.
    """
    kept = _cache() / f"vega-{version('vl-convert-python')}.js"
    with suppress(OSError, UnicodeDecodeError):
        if (text := kept.read_text("utf-8")).endswith(_END):
            return text
    made = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script") + _END
    with suppress(OSError):
        _keep(made, kept)
    return made


_END = "\n// vegaEmbed, whole\n"
"""A file that does not end so was cut off."""


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-model-packager"


def _keep(text: str, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)  # whole or not at all, whoever else makes one
