"""Charts as HTML and SVG: shapes scale with the page, texts stay texts of its size."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from packager.errors import in_units, printable
from packager.report.series import BINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packager.report.series import BinnedLine

_HEIGHT = 100


def chart(title: str, series: Sequence[BinnedLine], duration_s: float, unit: str) -> str:
    """Lines over the time of the run, from zero to the highest value, with a legend."""
    peak = max((each.peak for each in series), default=0.0)
    if not peak:
        return '<p class="quiet">The run was too short to measure.</p>'
    lines = "".join(_line(each, number, peak) for number, each in enumerate(series))
    words = "; ".join(f"{printable(each.name, 80)} at most {in_units(each.peak)}{unit}" for each in series)
    scale = "".join(f"<span>{in_units(peak * share)}{unit}</span>" for share in (1, 0.5, 0))
    decimals = 1 if duration_s >= 1 else 3
    return (
        f'<figure><div class="plot"><div class="scale" aria-hidden="true">{scale}</div>'
        f'<svg viewBox="0 0 {BINS} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}: {escape(words)}">'
        f'<path class="grid" d="M0 0H{BINS}M0 {_HEIGHT // 2}H{BINS}M0 {_HEIGHT}H{BINS}"/>{lines}</svg>'
        f'<div class="times" aria-hidden="true"><span>0 s</span><span>{duration_s / 2:.{decimals}f} s</span>'
        f"<span>{duration_s:.{decimals}f} s</span></div></div>{_legend(series, unit)}</figure>"
    )


def shares(parts: Sequence[tuple[str, int]]) -> str:
    """One bar of several parts, in proportion."""
    total = max(1, sum(size for _, size in parts))
    bars = "".join(
        f'<i class="c{number}" style="width:{100 * size / total:.2f}%"></i>' for number, (_, size) in enumerate(parts)
    )
    return f'<div class="shares" aria-hidden="true">{bars}</div>'


def _line(series: BinnedLine, number: int, peak: float) -> str:
    points = " ".join(f"{at + 0.5:g},{_HEIGHT - _HEIGHT * value / peak:.2f}" for at, value in enumerate(series.values))
    return f'<polyline class="c{number % 9}" points="{points}"/>'


def _legend(series: Sequence[BinnedLine], unit: str) -> str:
    items = "".join(
        f'<li><i class="c{number % 9}" aria-hidden="true"></i>{escape(printable(each.name, 80))}'
        f" <small>at most {in_units(each.peak)}{unit}</small></li>"
        for number, each in enumerate(series)
    )
    return f'<figcaption><ul class="legend">{items}</ul></figcaption>'
