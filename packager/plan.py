"""The plan of a package: what it would take, from reading and packing the artifacts, with nothing written."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from packager.device.rules import COMPONENT_BUDGET_BYTES, DEVICE_STORE_BYTES
from packager.errors import InsufficientStorageError, StagingNeededError, in_units
from packager.limits.memory import MemoryMonitor, memory_limit_bytes
from packager.limits.storage import StorageManager
from packager.limits.strategy import (
    AUTO,
    STRATEGIES,
    Demand,
    Strategy,
    Supply,
    choose,
    most_at_once,
    refusal,
    supply_of,
)
from packager.model.wanted import Wanted
from packager.results import Finding, ProcessingState
from packager.settings import MODEL_LAYOUT, Settings, from_process_environment
from packager.stores import Stores
from packager.survey import PlannedComponent, Survey
from telemetry import catalog, traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from packager.model.layouts import Component
    from packager.results import OnProgress


@dataclass(frozen=True, slots=True)
class PlannedStrategy:
    """What a strategy would take: scratch and memory in bytes, targets at a time; or why it is refused."""

    name: str
    scratch_bytes: int
    memory_bytes: int
    at_once: int
    refused: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What `plan` found.

    Attributes:
        components: one for each artifact.
        strategies: one for each row of the table.
        strategy: the one that would be chosen; empty when nothing fits.
        reason: why.
        expected_s: seconds that reading and packing everything took just now; writing goes on at the same time.
        warnings: budgets of Greengrass and of devices that would be exceeded.
    """

    components: tuple[PlannedComponent, ...]
    strategies: tuple[PlannedStrategy, ...]
    strategy: str
    reason: str
    expected_s: float
    warnings: tuple[Finding, ...]

    @property
    def fits(self) -> bool:
        """Whether `package` could begin, with nothing wrong in any artifact."""
        return bool(self.strategy) and not any(component.findings for component in self.components)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "expected_s": round(self.expected_s, 1), "fits": self.fits}

    def lines(self) -> Iterator[str]:
        """The plan as text for people."""
        for each in self.components:
            sizes = f"{in_units(each.bytes_in)} in, {in_units(each.bytes_unpacked)} unpacked in {each.files} files"
            yield f"{', '.join(each.targets)}: {sizes}, about {in_units(each.bytes_out)} out"
            yield from (f"    {finding.rule}: {finding.message} {finding.next_step}" for finding in each.findings)
        for strategy in self.strategies:
            takes = f"{in_units(strategy.scratch_bytes)} of scratch, {in_units(strategy.memory_bytes)} of memory"
            refused = f"; refused: {strategy.refused}" if strategy.refused else ""
            yield f"{strategy.name}: {takes}, {strategy.at_once} at a time{refused}"
        yield f"Strategy: {self.strategy or 'none'} ({self.reason})"
        yield f"Expected time: about {self.expected_s:.0f} s"
        yield from (f"{warning.rule}: {warning.message} {warning.next_step}" for warning in self.warnings)


@traced(catalog.PLAN_PACKAGE)
def plan(  # noqa: PLR0913  every choice of a call, by name
    trained: str,
    compiled: Mapping[str, str],
    output: str,
    *,
    imported_targets: Sequence[str] = (),
    strategy: str = AUTO,
    settings: Settings | None = None,
    stores: Stores | None = None,
    client: S3Client | None = None,
    endpoint_url: str | None = None,
    on_progress: OnProgress | None = None,
    exclude: Sequence[str] = (),
    model_file: str | None = None,
    layout: str = MODEL_LAYOUT,
    name: str | None = None,
    version: str | None = None,
    prefix: str = "",
) -> Plan:
    """What `package` with the same arguments would need and take, found out by making it for nobody.

    Errors: RequestError for wrong arguments; ManifestError, ExtractionError and StoreError with their kinds for a
    trained artifact that is no use, StoreError for a compiled one that cannot be read.
    """
    settings = settings or from_process_environment()
    report: OnProgress = on_progress or (lambda _: None)
    storage = StorageManager(settings)
    stores = (stores or Stores(client, endpoint_url)).with_scratch(storage)
    stores.sink(output)  # refuses a wrong output before anything is read
    asked = Wanted(trained, compiled, imported_targets, exclude, model_file, layout, name, version, prefix, output)
    wanted = asked.components(stores, settings, report)
    started = time.monotonic()
    if manifest_source := wanted[0].manifest_source:
        _ = manifest_source.manifest
    surveys = [Survey(each, settings, _reporter(report, each)) for each in wanted]
    expected_s = time.monotonic() - started
    demand = Demand(
        staged_bytes=[storage.estimate_space_needed(each.staged) for each in surveys],
        needs_staging=any(each.has_links for each in surveys),
    )
    there = supply_of(settings, storage, MemoryMonitor(memory_limit_bytes(settings, os.environ)))
    components = tuple(each.planned() for each in surveys)
    chosen, reason = _chosen(strategy, demand, there)
    return Plan(
        components=components,
        strategies=tuple(_strategy(each, demand, there) for each in STRATEGIES.values()),
        strategy=chosen,
        reason=reason,
        expected_s=expected_s,
        warnings=tuple(warning for each in components for warning in _budget_warnings(each)),
    )


def _reporter(report: OnProgress, component: Component) -> Callable[[int], None]:
    total_bytes = component.source.size_bytes()
    return lambda done_bytes: report(ProcessingState("planning", component.label, done_bytes, total_bytes))


def _chosen(wanted: str, demand: Demand, there: Supply) -> tuple[str, str]:
    try:
        choice = choose(wanted, demand, there)
    except (InsufficientStorageError, StagingNeededError) as nothing_fits:
        return "", str(nothing_fits)
    return choice.strategy, choice.reason


def _strategy(strategy: Strategy, demand: Demand, there: Supply) -> PlannedStrategy:
    at_once = most_at_once(strategy, demand, there)
    return PlannedStrategy(
        name=strategy.name,
        scratch_bytes=strategy.scratch_bytes(demand, at_once),
        memory_bytes=at_once * there.memory_per_target_bytes,
        at_once=at_once,
        refused=refusal(strategy, demand, there, at_once, auto=False),
    )


def _budget_warnings(component: PlannedComponent) -> Iterator[Finding]:
    names = ", ".join(component.targets)
    if component.bytes_out > COMPONENT_BUDGET_BYTES:
        yield Finding(
            "component-size",
            f"The component has about {component.bytes_out} bytes; Greengrass takes {COMPONENT_BUDGET_BYTES}.",
            "Make the model smaller (fewer or narrower weights) before it is compiled.",
            names,
        )
    stored_bytes = component.bytes_out + component.bytes_unpacked
    if stored_bytes > DEVICE_STORE_BYTES:
        yield Finding(
            "device-store",
            f"The ZIP and its unpacked copy take {stored_bytes} bytes; a device's store has {DEVICE_STORE_BYTES}.",
            "Raise componentStoreMaxSizeBytes on the devices, or make the model smaller.",
            names,
        )
