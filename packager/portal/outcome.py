"""The outcome of one request of the portal by target, and what it comes to: status, message, tally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packager.portal.replies import ACCEPTED, BAD_REQUEST, OK, SERVER_ERROR
from packager.portal.tally import Tally, of_request

if TYPE_CHECKING:
    from packager.errors import Fault
    from packager.portal.jobs import Entry


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """The outcome of one request by target, and the job's record after it was updated.

    `bad_before` tells whether one of its artifacts was found at fault by an earlier request, `handed_over` whether the
    state machine goes on with it.
    """

    entries: tuple[Entry, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    record: dict[str, Any]
    bad_before: bool = False
    handed_over: bool = False

    @property
    def faults(self) -> list[Fault]:
        """Whose failure it is, of each target that failed."""
        return [entry["fault"] for entry in self.entries if "fault" in entry and entry["target"] not in self.left]

    @property
    def tally(self) -> Tally:
        if not self.entries:
            return Tally(requests=1)
        return of_request(self.faults, self.packaged, len(self.left), bad_before=self.bad_before)

    @property
    def packaged(self) -> int:
        return sum(entry["status"] == "packaged" for entry in self.entries)

    @property
    def failed(self) -> int:
        return len(self.entries) - self.packaged - len(self.left)

    @property
    def status(self) -> int:
        """The HTTP status: an error when every target failed."""
        if self.handed_over:
            return ACCEPTED
        if self.failed < len(self.entries):
            return OK
        return SERVER_ERROR if "service" in self.faults else BAD_REQUEST

    @property
    def message(self) -> str:
        """What was packaged, failed, left and not found, in one to three sentences."""
        text = f"Packaged {self.packaged} of {len(self.entries)} targets" if self.packaged else "No target was packaged"
        text += f", {self.failed} failed." if self.failed else "."
        if self.failed == len(self.entries):
            text = f"No target was packaged: all {self.failed} failed."
        if self.left:
            text += f" Not done for want of time or space: {', '.join(self.left)}; send the request again for them."
        if self.missing:
            text += f" {len(self.missing)} requested targets have no completed compilation job."
        return text
