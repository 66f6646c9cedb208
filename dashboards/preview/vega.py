"""The browser's side of the charts, out of vl-convert: apart, so that making it needs nothing else of ours."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import vl_convert


def kept() -> str | None:
    """Return the script that an earlier page has made, None without one."""
    with suppress(OSError, RuntimeError, UnicodeDecodeError):
        if (text := _path().read_text("utf-8")).endswith(_END):
            return text
    return None


def bundle() -> str:
    """Return the JavaScript that defines `vegaEmbed`, safe inside a script element.

    Making it takes seconds of the processor: it is kept in the user's cache, one for each release of vl-convert.
    """
    made = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script") + _END
    with suppress(OSError, RuntimeError):  # no folder to write to, or no home
        _keep(made, _path())
    return made


_END = "\n// vegaEmbed, whole\n"
"""A file that does not end so was cut off."""


def _path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME")
    folder = Path(cache) if cache else Path.home() / ".cache"
    return folder / "edge-model-packager" / f"vega-{version('vl-convert-python')}.js"


def _keep(text: str, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)  # whole or not at all, whoever else makes one
