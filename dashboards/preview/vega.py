"""The browser's side of the charts, out of vl-convert: apart, so that making it needs nothing else of ours."""

from __future__ import annotations

import vl_convert


def bundle() -> str:
    """Return the JavaScript that defines `vegaEmbed`, safe inside a script element; takes a second."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")
