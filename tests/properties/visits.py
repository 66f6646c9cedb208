"""How often the examples of a property visit the region that it is about."""

from __future__ import annotations

from collections import Counter

from hypothesis import currently_in_test_context, event


class Visits:
    """Counts examples and the regions that they visit; each region counts once an example.

    In each example: visit.begin(); ...; visit("too_small", when=needed_bytes > there_bytes)
    After the property: assert visit.lacking(too_small=20) == {}
    """

    def __init__(self) -> None:
        self.examples = 0
        self.regions: Counter[str] = Counter()
        self._here: set[str] = set()

    def begin(self) -> None:
        """The next example begins."""
        self.examples += 1
        self._here = set()

    def __call__(self, region: str, *, when: bool = True) -> None:
        if when and region not in self._here:
            self._here.add(region)
            self.regions[region] += 1
            if currently_in_test_context():
                event(region)

    def lacking(self, **at_least: int) -> dict[str, str]:
        """The regions that fewer than so many of 100 examples visited, with what was counted."""
        return {
            region: f"{self.regions[region]} of {self.examples} examples, {percent} of 100 wanted"
            for region, percent in at_least.items()
            if self.regions[region] * 100 < percent * self.examples
        }
