"""The table of strategies, and the choice of the one that a package is made by, within the limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from packager.deadline import ABORT_RESERVE_S, time_left_s
from packager.errors import InsufficientStorageError, RequestError, StagingNeededError, in_units, printable
from packager.limits.memory import resident_bytes
from packager.settings import STRATEGY_NAMES
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from packager.limits.memory import MemoryMonitor
    from packager.limits.storage import StorageManager
    from packager.settings import Settings

AUTO, STREAMING, STANDARD, SEQUENTIAL, PARTIAL = STRATEGY_NAMES


@dataclass(frozen=True, slots=True)
class Demand:
    """What is to be made.

    Attributes:
        staged_bytes: scratch that each target takes when its members are put on the disk; one figure a target.
        needs_staging: whether an archive can only be read with its members on the disk (hard links to earlier bytes).
        time_s: how long all targets are expected to take one after another; 0 when nobody knows.
    """

    staged_bytes: Sequence[int]
    needs_staging: bool = False
    time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Supply:
    """What there is to make it with.

    Attributes:
        scratch_bytes: what can be reserved of scratch, in `path`.
        memory_bytes: what the process may still take; None without a limit.
        memory_per_target_bytes: what one target under way takes, whatever its size.
        at_once: targets that may be under way at the same time.
        time_left_s: infinity without a limit.
        streaming_enabled: whether `auto` may stream.
    """

    scratch_bytes: int
    path: Path
    memory_bytes: int | None = None
    memory_per_target_bytes: int = 64 << 20
    at_once: int = 1
    time_left_s: float = math.inf
    streaming_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to make a package.

    Attributes:
        scratch_bytes: what it takes of scratch for a demand with so many targets at once.
        reads_again: whether it serves archives that need earlier bytes again, for a hard link.
        side_by_side: whether it makes several targets at a time.
        makes_all: whether one call makes all targets, however long that takes.
        reason: why one would choose it.
    """

    name: str
    scratch_bytes: Callable[[Demand, int], int]
    reads_again: bool
    side_by_side: bool
    makes_all: bool
    reason: str

    @property
    def stages_always(self) -> bool:
        """Whether it puts members on the disk although a stream would do."""
        return self.reads_again and self.makes_all


def _largest(demand: Demand, count: int) -> int:
    return sum(sorted(demand.staged_bytes, reverse=True)[:count])


def _smallest_if_staged(demand: Demand, _: int) -> int:
    return min(demand.staged_bytes, default=0) if demand.needs_staging else 0


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        each.name: each
        for each in (
            Strategy(STREAMING, lambda _, __: 0, False, True, True, "no scratch and constant memory"),
            Strategy(STANDARD, _largest, True, True, True, "the targets fit on scratch side by side"),
            Strategy(SEQUENTIAL, _largest, True, False, True, "the targets fit on scratch one after another"),
            Strategy(
                PARTIAL, _smallest_if_staged, True, False, False, "what fits is made, the next call makes the rest"
            ),
        )
    }
)
"""Every strategy, in the order in which `auto` tries them. All of them give the same bytes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The result of `choose`.

    Attributes:
        strategy: a name of STRATEGIES.
        reason: why this one; when others were refused, also why.
        at_once: how many targets to have under way at a time, 1 or more.
        scratch_bytes: what that takes of scratch at most; `partial` takes what is there.
        stages: whether members are put on the disk.
        refused: the reason for each strategy that was tried before.
    """

    strategy: str
    reason: str
    at_once: int
    scratch_bytes: int
    stages: bool
    refused: Mapping[str, str]


def choose(wanted: str, demand: Demand, supply: Supply) -> Choice:
    """The strategy for a demand: `wanted`, or for `auto` the first of the table that fits.

    The same arguments give the same choice. Time counts for `auto` only: it is an estimate, which must not overrule a
    caller who names a strategy. Memory decides how many targets are under way, never whether one is.

    Errors: RequestError for an unknown name; InsufficientStorageError with figures and suggestions when scratch
    is short; StagingNeededError when streaming is wanted for an archive that cannot be streamed.
    """
    if wanted not in STRATEGY_NAMES:
        raise RequestError(
            f"There is no strategy {printable(wanted)!r}.",
            next_step=f"Name one of {', '.join(STRATEGY_NAMES)}.",
            field="strategy",
            found=printable(wanted),
        )
    with observe(catalog.CHOOSE_STRATEGY, strategy=wanted, available_bytes=supply.scratch_bytes) as step:
        if wanted == AUTO and not supply.streaming_enabled:
            demand = replace(demand, needs_staging=True)
        refused: dict[str, str] = {}
        for strategy in STRATEGIES.values() if wanted == AUTO else (STRATEGIES[wanted],):
            at_once = most_at_once(strategy, demand, supply)
            why_not = refusal(strategy, demand, supply, at_once, auto=wanted == AUTO)
            if not why_not:
                choice = _choice(strategy, demand, at_once, refused)
                step.add(
                    strategy=choice.strategy,
                    fell_back="true" if refused else "false",
                    required_bytes=choice.scratch_bytes,
                    reason=choice.reason,
                )
                return choice
            refused[strategy.name] = why_not
        step.add(reason="; ".join(f"{name}: {why}" for name, why in refused.items()))
        raise _nothing_fits(wanted, demand, supply, refused)


def supply_of(settings: Settings, storage: StorageManager, memory: MemoryMonitor) -> Supply:
    """What there is to work with now, within the time limit of the caller's context."""
    return Supply(
        scratch_bytes=storage.get_unreserved_space(),
        path=storage.path,
        memory_bytes=None if memory.limit_bytes is None else max(0, memory.limit_bytes - resident_bytes()),
        at_once=settings.max_concurrent_operations,
        time_left_s=time_left_s() - ABORT_RESERVE_S,
        streaming_enabled=settings.streaming_enabled,
    )


def most_at_once(strategy: Strategy, demand: Demand, supply: Supply) -> int:
    """The most targets at a time that the supply allows; for want of scratch alone no fewer than two."""
    most = min(len(demand.staged_bytes), supply.at_once) if strategy.side_by_side else 1
    if supply.memory_bytes is not None:
        most = min(most, supply.memory_bytes // supply.memory_per_target_bytes)
    most = max(1, most)
    fewest = min(2, most)
    fits = (n for n in range(most, fewest, -1) if strategy.scratch_bytes(demand, n) <= supply.scratch_bytes)
    return next(fits, fewest)


def refusal(strategy: Strategy, demand: Demand, supply: Supply, at_once: int, *, auto: bool) -> str:
    """Why the strategy cannot make the demand with the supply; empty when it can."""
    if demand.needs_staging and not strategy.reads_again:
        return "is switched off" if auto and not supply.streaming_enabled else "cannot go back to earlier bytes"
    needed = strategy.scratch_bytes(demand, at_once)
    if needed > supply.scratch_bytes:
        return f"takes {in_units(needed)} of scratch, {in_units(supply.scratch_bytes)} can be had"
    needed_s = demand.time_s / at_once
    if auto and strategy.makes_all and needed_s > supply.time_left_s:
        return f"takes about {needed_s:.0f} s, {supply.time_left_s:.0f} s are left"
    return ""


def _choice(strategy: Strategy, demand: Demand, at_once: int, refused: Mapping[str, str]) -> Choice:
    before = "; ".join(f"{name} {why}" for name, why in refused.items())
    scratch_bytes = strategy.scratch_bytes(demand, at_once)
    return Choice(
        strategy=strategy.name,
        reason=f"{strategy.reason} ({before})" if before else strategy.reason,
        at_once=at_once,
        scratch_bytes=scratch_bytes,
        stages=strategy.stages_always or demand.needs_staging,
        refused=MappingProxyType(dict(refused)),
    )


def _nothing_fits(
    wanted: str, demand: Demand, supply: Supply, refused: Mapping[str, str]
) -> InsufficientStorageError | StagingNeededError:
    last = STRATEGIES[next(reversed(list(refused)))]
    if demand.needs_staging and not last.reads_again:
        return StagingNeededError(
            f"The strategy {last.name} cannot make this package: {refused[last.name]}.",
            next_step="Use the strategy auto, standard or sequential; they put the members on scratch.",
            strategy=last.name,
        )
    required_bytes = last.scratch_bytes(demand, most_at_once(last, demand, supply))
    return InsufficientStorageError(
        f"The strategy {wanted}" if wanted != AUTO else "Every strategy is refused; the least of them, partial,",
        required_bytes=required_bytes,
        available_bytes=supply.scratch_bytes,
        path=supply.path,
        suggestions=tuple(_suggestions(wanted, demand, supply, required_bytes)),
    )


def _suggestions(wanted: str, demand: Demand, supply: Supply, required_bytes: int) -> Iterator[str]:
    if wanted == AUTO and not supply.streaming_enabled:
        yield "set ENABLE_STREAMING_PROCESSING=true: streaming takes no scratch"
    for each in STRATEGIES.values():
        if wanted not in (AUTO, each.name):
            at_once = most_at_once(each, demand, supply)
            if not refusal(each, demand, supply, at_once, auto=False):
                yield f"use the strategy {each.name}: {each.reason}"
    yield f"make {in_units(required_bytes)} of scratch available (the function's ephemeral storage, SCRATCH_DIR)"
