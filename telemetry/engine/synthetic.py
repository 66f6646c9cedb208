"""Synthetic runs: every row of a vocabulary driven with values of its kind, as recordings for previews and tests."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import TYPE_CHECKING

from telemetry.engine.configure import to_directory
from telemetry.engine.health import HEALTH
from telemetry.engine.observing import context, observe
from telemetry.engine.operation import Unit
from telemetry.engine.settings import Settings
from telemetry.engine.steps import clocks

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.engine.operation import Operation
    from telemetry.engine.steps import Step
    from telemetry.engine.vocabulary import Vocabulary

_SECOND = 1_000_000_000
_LARGEST = {
    Unit.COUNT: 20,
    Unit.BYTES: 4 * 1024**3,
    Unit.BYTES_PER_SECOND: 200e6,
    Unit.MILLISECONDS: 60_000,
    Unit.SECONDS: 900,
    Unit.PERCENT: 100,
    Unit.NONE: 1,
}
_PROBLEM = "a synthetic failure"


class SyntheticError(Exception):
    """How a synthetic step fails."""

    next_step = "do nothing: nothing was done"


class _SyntheticClock:
    """A clock that goes on only when it is told to."""

    def __init__(self, start_ns: int) -> None:
        self.now_ns = start_ns

    def __call__(self) -> int:
        return self.now_ns


def record_runs(  # noqa: PLR0913  one an option of the command
    vocabulary: Vocabulary, folder: Path, *, runs: int, failing: float, end_ns: int, apart_s: float, seed: int
) -> None:
    """Record runs into `telemetry.jsonl` and `spans.jsonl`, `apart_s` apart, the last of them ending about `end_ns`.

    Each run is one step of every row inside one invocation, if the vocabulary has such a row; the share `failing` of
    steps fails. The same arguments give the same values, times and outcomes; ids differ. Raises OSError when the folder
    cannot be written.
    """
    chance = random.Random(seed)  # noqa: S311  nobody is kept from guessing it
    apart_ns = int(apart_s * _SECOND)
    clock = _SyntheticClock(end_ns - runs * apart_ns)
    HEALTH.take()  # what was counted before is nothing of these runs
    with clocks(clock, clock), to_directory(vocabulary, folder, Settings()) as pipeline:
        for run in range(runs):
            clock.now_ns = end_ns - (runs - run) * apart_ns
            _run(vocabulary, clock, chance, failing)
            pipeline.report_health()


def _run(vocabulary: Vocabulary, clock: _SyntheticClock, chance: random.Random, failing: float) -> None:
    names = {key.field: f"{key.field}-{chance.randrange(100)}" for key in vocabulary.context_keys}
    outer = vocabulary.invocation
    with ExitStack() as stack:
        stack.enter_context(context(vocabulary, **names))
        if outer is not None:
            step = stack.enter_context(observe(outer))
            _fill(step, outer, chance)
        for row in vocabulary.rows:
            if row is not outer and row is not vocabulary.health:
                with observe(row) as step:
                    clock.now_ns += chance.randrange(1_000_000, 2 * _SECOND)
                    _fill(step, row, chance)
                    if chance.random() < failing:
                        step.fail(SyntheticError(_PROBLEM))


def _fill(step: Step, row: Operation, chance: random.Random) -> None:
    for metric in row.metrics:
        largest = _LARGEST[metric.unit]
        step.add(**{metric.field: chance.randrange(int(largest)) if metric.is_whole else chance.uniform(0, largest)})
    step.add(**{each.field: chance.choice(each.values) for each in row.dimensions})
    step.add(**{each.field: f"{each.field}-{chance.randrange(100)}" for each in row.properties})
