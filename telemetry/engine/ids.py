"""Ids of traces and spans, of X-Ray's form, that no two processes share, whatever they were restored or forked from.

https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-traceids
"""

from __future__ import annotations

import os
import random
import time

from opentelemetry.sdk.trace.id_generator import IdGenerator

_RANDOM_BYTES = 12


class RandomIds(IdGenerator):
    """Draws from the system. OpenTelemetry's generators draw from `random`, whose state is part of a snapshot.

    Every environment that SnapStart restores from one snapshot would give the same ids.
    """

    def generate_span_id(self) -> int:
        return int.from_bytes(os.urandom(8)) or 1

    def generate_trace_id(self) -> int:
        """Return the time in seconds, then 96 random bits."""
        return int(time.time()) << 8 * _RANDOM_BYTES | int.from_bytes(os.urandom(_RANDOM_BYTES))


def reseed_after_restore() -> None:
    """Have the module `random`, from which AWS's libraries draw their pauses, begin anew in each restored process."""
    try:
        from snapshot_restore_py import (  # type: ignore[import-untyped]  # noqa: PLC0415  of Lambda's runtime
            register_after_restore,
        )
    except ImportError:
        return  # a runtime that takes no snapshots
    register_after_restore(random.seed)
