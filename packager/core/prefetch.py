"""Work done ahead in a thread: the two cores of the function inflate and deflate at the same time."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from telemetry import carrying

if TYPE_CHECKING:
    from collections.abc import Generator
    from queue import Queue

Item = TypeVar("Item")


class _Ended(Generic[Item]):
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(items: Generator[Item, None, None], queue: Queue[Any]) -> Generator[Item, None, None]:
    """The same items, made in a thread that runs ahead by as many items as the new `queue` holds.

    An error of `items` is raised here, as it was. Closing the generator closes `items` and waits for its thread,
    so that nothing goes on behind the caller's back.
    """
    abandoned = threading.Event()

    def work() -> None:
        error = None
        try:
            with closing(items):
                for item in items:
                    queue.put(item)
                    if abandoned.is_set():
                        break
        except BaseException as raised:  # noqa: BLE001  it is raised again in the consumer's thread
            error = raised
        queue.put(_Ended(error))

    thread = threading.Thread(target=carrying(work), name="ahead", daemon=True)
    thread.start()
    item: Item | _Ended[Item] | None = None
    try:
        while not isinstance(item := queue.get(), _Ended):
            yield item
            item = None  # a buffer must not be kept alive while the next one is made
        if item.error:
            raise item.error
    finally:
        abandoned.set()
        while not isinstance(item, _Ended):
            item = queue.get()
        thread.join()
