"""The portal's audit log: who sent a request, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packager.errors import PackagerError
from packager.portal.replies import FORBIDDEN, SERVER_ERROR
from packager.portal.tables import ConflictError, now_ms, retry_on_conflict

if TYPE_CHECKING:
    from packager.portal.tables import Records

PACKAGE = "package_components"
LOOK = "view_package_state"
UNKNOWN = "unknown"
"""Stands for the user or the training job of a request that does not name one."""

_DAY_S = 86_400


class Audit:
    """Writes the entries of one request; `written` tells whether there is one."""

    def __init__(self, records: Records, days: int) -> None:
        self._records = records
        self._days = days
        self.written = False

    def write(
        self, user_id: str, training_id: str, result: str, details: dict[str, Any], action: str = PACKAGE
    ) -> None:
        """Write an entry. A failure is logged by its step and raises nothing: what it tells of has happened by then."""
        entry = {
            "user_id": user_id,
            "action": action,
            "resource_type": "training_job",
            "resource_id": training_id,
            "result": result,
            "details": details,
        }
        at_ms = now_ms()

        def put() -> None:
            nonlocal at_ms
            dated = {"event_id": f"{user_id}_{at_ms}", "timestamp": at_ms, "ttl": at_ms // 1000 + self._days * _DAY_S}
            try:
                self._records.put_new("audit_log", {**entry, **dated}, "event_id")
            except ConflictError:
                at_ms += 1  # the same user has another entry of this millisecond
                raise

        self.written = True
        try:
            retry_on_conflict("audit_log", put)
        except PackagerError:
            return

    def write_failure(self, user_id: str, training_id: str, status: int, error: Exception, action: str) -> None:
        """Write the entry of a request that was refused for who sent it, or failed through the service."""
        nobody = user_id == UNKNOWN != training_id
        if self.written or not (status == FORBIDDEN or status >= SERVER_ERROR or nobody):
            return
        result = "failure" if status >= SERVER_ERROR else "denied"
        self.write(user_id, training_id, result, {"error_type": type(error).__name__, "status": status}, action)
