"""Where widgets stand: rows over the 24 columns of a dashboard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dashboards.cloudwatch.body import COLUMNS

if TYPE_CHECKING:
    from dashboards.product.widgets import Body


@dataclass
class DashboardGrid:
    """Places widgets left to right in rows of equal height; what stands in a row shares its 24 columns."""

    widgets: list[Body] = field(default_factory=list)
    x: int = 0
    y: int = 0
    row: int = 0

    def put(self, kind: str, properties: Body, width: int = 8, height: int = 6) -> None:
        """Place a widget beside the one before, or below when it does not fit."""
        if self.x + width > COLUMNS or (self.x and height != self.row):
            self.end_row()
        self.widgets.append(
            {"type": kind, "x": self.x, "y": self.y, "width": width, "height": height, "properties": properties}
        )
        self.x, self.row = self.x + width, height

    def end_row(self, *, widen: bool = True) -> None:
        """Widen what stands in the row until it is full, and begin the next."""
        if not self.x:
            return
        standing = [widget for widget in self.widgets if widget["y"] == self.y]
        width = COLUMNS // max(1, len(standing))
        for number, widget in enumerate(standing if widen else ()):
            widget |= {"x": number * width, "width": width}
        self.x, self.y = 0, self.y + self.row
