"""What a run did over time: its spans, and samples of progress and memory while it worked."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from packager.limits.memory import resident_bytes
from telemetry import collected_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from packager.results import OnProgress, ProcessingState
    from telemetry import Span

FIRST_INTERVAL_S = 0.02
MAX_SAMPLES = 512
"""When there are more, every other one goes and the interval doubles: memory is the same for any run."""


@dataclass(frozen=True, slots=True)
class ProgressSample:
    """The process at one moment.

    Attributes:
        at_s: seconds since the run began.
        resident_bytes: memory of the process in RAM.
        done_bytes: packed bytes read so far, by stage.
    """

    at_s: float
    resident_bytes: int
    done_bytes: Mapping[str, int]


@dataclass
class RunRecording:
    """Records what happens inside the `with` block; `on_progress` has to be told of the work's progress.

    Attributes:
        started_at: when the run began.
        duration_s: how long it took; set at the end.
        spans: of the run, in the order in which they ended.
        samples: first to last.
    """

    clock: Callable[[], float] = time.perf_counter
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    duration_s: float = 0.0
    spans: Sequence[Span] = ()
    samples: list[ProgressSample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began_s = self.clock()
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._opened = ExitStack()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="report-samples", daemon=True)

    def __enter__(self) -> Self:
        self.spans = self._opened.enter_context(collected_spans())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._opened.close()
        self.duration_s = self.clock() - self._began_s

    def on_progress(self, inner: OnProgress | None) -> OnProgress:
        """What to hand to the work: it is recorded, and handed on to `inner`."""

        def told(state: ProcessingState) -> None:
            if state.bytes_done and state.phase != "done":
                stage = f"{state.phase.replace('_', ' ')} {state.target}".strip()
                with self._lock:
                    self._done[stage] = max(state.bytes_done, self._done.get(stage, 0))
            if inner is not None:
                inner(state)

        return told

    def _sample_until_stopped(self) -> None:
        interval_s = FIRST_INTERVAL_S
        self._sample()
        while not self._stop.wait(interval_s):
            self._sample()
            if len(self.samples) >= MAX_SAMPLES:
                del self.samples[1::2]
                interval_s *= 2
        self._sample()

    def _sample(self) -> None:
        with self._lock:
            done = dict(self._done)
        self.samples.append(ProgressSample(self.clock() - self._began_s, resident_bytes(), done))
