"""A limit on the time that somebody's regular expressions take.

Python's engine backtracks: `(a+)+b` on 40 letters takes longer than anybody waits. Its loop looks for signals, so a
timer of the process's own time can end it. There is none outside the main thread and on Windows, and no limit either.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.errors import UnsupportedError

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

TICK_S = 1.0
"""Seconds of the processor after which a search that began before is ended."""
_FEW, _EACH_S = 10, 0.01
"""Ticks within searches from which on they may take so many seconds each on average."""


class _Watch:
    """Which expression is searched for, how often one was, and how many ticks fell into a search."""

    pattern = ""
    searches = 0
    seen = -1
    ticks = 0
    armed = False

    def tick(self, *_: object) -> None:
        """Raise when the search of the tick before goes on, or when searches have taken too long altogether."""
        if not self.pattern:
            return
        self.ticks += 1
        same, self.seen = self.searches == self.seen, self.searches
        slow = self.ticks >= _FEW and self.ticks * TICK_S > _EACH_S * self.searches
        if same or slow:
            took = f"more than {TICK_S:g} s on one text" if same else f"more than {_EACH_S:g} s a text"
            raise UnsupportedError(
                f"the regular expression /{self.pattern}/ takes {took}; repeat nothing that is repeated inside"
            )


_watch = _Watch()


@contextmanager
def limited_searches() -> Iterator[None]:
    """End searches that take too long while the block runs; within such a block it does nothing.

    Raises:
        UnsupportedError: A search took too long; the message names its expression.
    """
    can = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if _watch.armed or not can:
        yield
        return
    _watch.armed, _watch.searches, _watch.seen, _watch.ticks = True, 0, -1, 0
    before: Any = signal.signal(signal.SIGVTALRM, _watch.tick)
    signal.setitimer(signal.ITIMER_VIRTUAL, TICK_S, TICK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        _watch.armed = False


def search_of(pattern: re.Pattern[str]) -> Callable[[str], re.Match[str] | None]:
    """Return the search for a pattern, which counts against the limit."""

    def search(text: str) -> re.Match[str] | None:
        _watch.searches += 1
        _watch.pattern = pattern.pattern
        try:
            return pattern.search(text)
        finally:
            _watch.pattern = ""

    return search
