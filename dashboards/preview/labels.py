"""What the lines of a chart are called: labels with numbers in them, and no two alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dashboards.cloudwatch.body import Line
    from dashboards.cloudwatch.metric_functions import Series
    from dashboards.preview.panels import Plot

_OF_LABELS: dict[str, Callable[[Sequence[float]], float]] = {
    "MIN": min, "MAX": max, "SUM": math.fsum, "AVG": fmean, "FIRST": lambda v: v[0], "LAST": lambda v: v[-1],
}  # fmt: skip


def filled_label(label: str, line: Line, series: Series) -> str:
    """Return a label with its `${LAST}`, `${AVG}`, `${PROP('Dim.Name')}` and the like filled in.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/graph-dynamic-labels.html
    """
    known = [value for value in series.values if value is not None]
    texts = {"LABEL": series.label}
    if line.metric:
        texts |= {"PROP('MetricName')": line.metric.name, "PROP('Namespace')": line.metric.namespace}
        texts |= {"PROP('Stat')": line.statistic, "PROP('Period')": str(line.period_s)}
        texts |= {f"PROP('Dim.{name}')": value for name, value in line.metric.dimensions}

    def known_of(match: re.Match[str]) -> str:
        work = _OF_LABELS.get(match[1])
        if work is None:
            return texts.get(match[1], match[0])
        return f"{work(known):,.2f}".removesuffix(".00") if known else "no data"

    return re.sub(r"\$\{([^{}]+)\}", known_of, label)


def label_of(line: Line, series: Series, count: int) -> str:
    if line.label == line.expression and series.label:
        return series.label
    return f"{line.label} {series.label}".strip() if count > 1 else line.label


def distinct(plots: list[Plot]) -> list[Plot]:
    """Tell plots of one label apart by their dimensions, and where that does not help by their number."""
    by_dimension = _renamed(
        plots, lambda plot, _: " ".join(v for _, v in plot.line.metric.dimensions) if plot.line.metric else ""
    )
    return _renamed(by_dimension, lambda _, number: f"({number})")


def _renamed(plots: list[Plot], suffix: Callable[[Plot, int], str]) -> list[Plot]:
    counts = Counter(plot.label for plot in plots)
    return [
        replace(plot, label=f"{plot.label} {suffix(plot, number)}".strip()) if counts[plot.label] > 1 else plot
        for number, plot in enumerate(plots, 1)
    ]
