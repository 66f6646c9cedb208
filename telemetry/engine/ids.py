"""Ids of traces and spans, of X-Ray's form, that no two processes share, whatever they were restored or forked from.

https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-traceids
"""

from __future__ import annotations

import functools
import os
import random
import time

from opentelemetry.sdk.trace.id_generator import IdGenerator

_RANDOM_BITS = 96


@functools.cache
def _draw() -> random.Random:
    """Return the one source of random numbers, seeded by the system at the first use, and again in a forked child."""
    made = random.Random()  # noqa: S311  ids are no secrets
    os.register_at_fork(after_in_child=made.seed)
    return made


class RandomIds(IdGenerator):
    """Draws from a source of its own, seeded when it is made: not in the init phase.

    OpenTelemetry's generators draw from the module `random`, whose state is part of a snapshot: every environment that
    SnapStart restores from one would give the same ids. To ask the system for each takes as long as to write a line.
    """

    def __init__(self) -> None:
        self._bits = _draw().getrandbits

    def generate_span_id(self) -> int:
        return self._bits(64) or 1

    def generate_trace_id(self) -> int:
        """Return the time in seconds, then 96 random bits."""
        return int(time.time()) << _RANDOM_BITS | self._bits(_RANDOM_BITS)


def reseed_after_restore() -> None:
    """Have Python's random numbers begin anew in each restored process: AWS's libraries draw pauses from them."""
    try:
        from snapshot_restore_py import (  # type: ignore[import-untyped]  # noqa: PLC0415  of Lambda's runtime
            register_after_restore,
        )
    except ImportError:
        return  # a runtime that takes no snapshots
    register_after_restore(random.seed)
    register_after_restore(_draw.cache_clear)
