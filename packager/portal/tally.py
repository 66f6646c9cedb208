"""What an invocation counts for in the alarms on the service: requests, targets, models, and whose failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from packager.errors import PackagerError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packager.errors import Fault


class NothingPackagedError(PackagerError):
    """Every target failed; `fault` is the service's when any of them failed through it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(
            f"All {len(faults)} targets failed.",
            next_step="See the error of each target.",
            faults=sorted(faults),
        )
        self.fault = "service" if "service" in faults else next(iter(faults), "request")


class UnservedError(PackagerError):
    """Stands for an error whose text can hold what the request held: it has its kind alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"The request ended with {type(error).__name__}.",
            next_step="See the line of the request, which names field or place.",
            kind=type(error).__name__,
        )
        self.fault = error.fault if isinstance(error, PackagerError) else "service"


def writable(error: Exception) -> PackagerError:
    """Return the error as it may be written to metrics, spans and lines."""
    if isinstance(error, PackagerError) and not isinstance(error, RequestError):
        return error
    return UnservedError(error)


@dataclass(frozen=True, slots=True)
class Tally:
    """Fields of the row of an invocation; all zero for one that was to package nothing.

    Attributes:
        requests: 1 for a caller who waits for the outcome; 0 where a state machine or Lambda tries again by itself.
        service_failed: 1 when the service failed the request or any target of it.
        models: 1 for each model, whoever asked.
        models_bad: 1 when an artifact of the model is at fault, and was not before.
    """

    requests: int = 0
    service_failed: int = 0
    targets: int = 0
    targets_failed_by_service: int = 0
    models: int = 0
    models_bad: int = 0

    @property
    def unrequested(self) -> Tally:
        """The same for a call that nobody waits for: a state machine or Lambda tries again, and fails by itself."""
        return Tally(models=self.models, models_bad=self.models_bad)

    def as_fields(self) -> dict[str, int]:
        return asdict(self)


NOTHING = Tally()
"""An invocation that was to package nothing."""

UNANSWERED = Tally(requests=1, service_failed=1)
"""What a request counts for until it is answered: it stays so when the clock or the memory ends the function."""


def of_request(faults: Sequence[Fault], packaged: int, left: int, *, bad_before: bool = False) -> Tally:
    """Return the tally of an answered request: the faults of its failed targets, the others packaged or left."""
    by_service = sum(fault == "service" for fault in faults)
    return Tally(
        requests=1,
        service_failed=int(by_service > 0 or (left > 0 and packaged == 0)),
        targets=len(faults) + packaged + left,
        targets_failed_by_service=by_service,
        models=1,
        models_bad=int("artifact" in faults and not bad_before),
    )


def of_entries(entries: Sequence[Mapping[str, Any]]) -> Tally:
    """Return the tally of a record's new entries; nothing when there are none."""
    faults = [entry["fault"] for entry in entries if "fault" in entry]
    return of_request(faults, len(entries) - len(faults), 0) if entries else NOTHING


def together(tallies: Iterable[Tally]) -> Tally:
    """Return the tally of several requests in one invocation."""
    summed = Counter[str]()
    for each in tallies:
        summed.update(each.as_fields())
    return Tally(**summed)


def of_execution(tally: Tally, event: dict[str, Any]) -> Tally:
    """Return what a call of an execution counts for: it calls once a target, and the first speaks for the model."""
    prepares = event.get("manifest") == "prepare" or not event.get("compiled")
    first = not event["execution"].get("target_number")
    return Tally(models=int(prepares), models_bad=tally.models_bad if first else 0)


def of_error(error: Exception) -> Tally:
    """Return the tally of a request that was refused or failed as a whole."""
    fault = error.fault if isinstance(error, PackagerError) else "service"
    return Tally(
        requests=1,
        service_failed=int(fault == "service"),
        models=int(fault == "artifact"),
        models_bad=int(fault == "artifact"),
    )
