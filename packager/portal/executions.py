"""Requests that the state machine goes on with: how they are handed over, and what has become of them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packager.portal.aws import AwsRefusedError, call_aws, client, map_aws_errors
from packager.portal.replies import SERVER_ERROR
from packager.portal.tables import ConflictError
from telemetry import log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from packager.portal.api import PackageCall
    from packager.portal.outcome import RequestOutcome
    from packager.portal.tables import Record, Records

FIELD = "package_execution"
"""Of a training job's record: the execution that goes on with the last request that was handed over."""

IDLE, RUNNING, SUCCEEDED, FAILED = "idle", "running", "succeeded", "failed"
REPLIED = frozenset({"RequestFailed", "RequestLeft"})
"""Errors of executions whose cause is the reply that could not be made better."""
_STATES = {"RUNNING": RUNNING, "PENDING_REDRIVE": RUNNING, "SUCCEEDED": SUCCEEDED}


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """What has become of a request that was handed over; `reply` is what it ended in, `statusCode` and `body`.

    Without a reply a request has failed through Lambda or AWS, whose words are not for the caller.
    """

    state: str = IDLE
    started_at: str | None = None
    ended_at: str | None = None
    reply: dict[str, Any] | None = None

    def as_fields(self) -> dict[str, Any]:
        told = {"started_at": self.started_at, "ended_at": self.ended_at, "reply": self.reply}
        return {"state": self.state, **{name: value for name, value in told.items() if value is not None}}


class Executions:
    """Executions of the state machine for the portal's requests. Errors: AwsRefusedError."""

    def __init__(self, records: Records, machine_arn: str) -> None:
        self._records = records
        self._machine_arn = machine_arn
        self._prefix = machine_arn.replace(":stateMachine:", ":execution:", 1) + ":"

    def hand_over(self, call: PackageCall, outcome: RequestOutcome) -> bool:
        """Have the machine go on with what is left of a request; whether it does. A failure is logged.

        The record names the execution before it is started: one that runs must never be one that nobody finds.
        """
        arn = self._prefix + str(uuid.uuid4())
        note = {"arn": arn, "targets": list(call.targets), "auto_triggered": call.auto_triggered}
        key = {"training_id": call.training_id}
        try:
            self._records.update(
                "training_jobs", key, f"SET #{FIELD} = :note", "attribute_exists(#training_id)", note=note
            )
            with map_aws_errors("Step Functions StartExecution"):
                call_aws(
                    client("stepfunctions").start_execution,
                    stateMachineArn=self._machine_arn,
                    name=arn.removeprefix(self._prefix),
                    input=json.dumps({"request": _request(call, outcome)}),
                )
        except (AwsRefusedError, ConflictError) as error:
            step = "Allow the function's role to start the machine; until then the reply says what is left."
            log("error", "request not handed over", error_type=type(error).__name__, error=str(error), next_step=step)
            return False
        log("info", "request handed over", execution=arn, targets=list(outcome.left))
        return True

    def is_running(self, record: Record, call: PackageCall) -> bool:
        """Whether the machine is at the same request already, as far as it can be told."""
        note = record.get(FIELD)
        asked = {"targets": list(call.targets), "auto_triggered": call.auto_triggered}
        if not isinstance(note, dict) or {name: note.get(name) for name in asked} != asked:
            return False
        try:
            return self.state(record).state == RUNNING
        except AwsRefusedError as error:
            log("warning", "state of a request not known", error=error.message, next_step=error.next_step)
            return False

    def state(self, record: Record) -> ExecutionState:
        """What has become of the last request of a training job that was handed over."""
        note = record.get(FIELD)
        arn = note.get("arn") if isinstance(note, dict) else None
        if not isinstance(arn, str) or not arn.startswith(self._prefix):
            return ExecutionState()
        try:
            with map_aws_errors("Step Functions DescribeExecution"):
                found = call_aws(client("stepfunctions").describe_execution, executionArn=arn)
        except AwsRefusedError as error:
            if error.figures.get("code") == "ExecutionDoesNotExist":  # never started, or ended 90 days ago
                return ExecutionState()
            raise
        state = _STATES.get(found["status"], FAILED)
        return ExecutionState(state, _text(found["startDate"]), _text(found.get("stopDate")), _reply(found))


def _request(call: PackageCall, outcome: RequestOutcome) -> Mapping[str, Any]:
    return {
        "training_id": call.training_id,
        "user_id": call.user.id,
        "body": {"targets": list(outcome.left), "auto_triggered": call.auto_triggered},
        "done": [entry for entry in outcome.entries if entry["target"] not in outcome.left],
    }


def _reply(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The reply that an execution ended in: its output, or what the machine says why it failed."""
    if found.get("output"):
        reply: dict[str, Any] = json.loads(found["output"])
        return reply
    if found.get("error") in REPLIED:
        return {"statusCode": SERVER_ERROR, "body": json.loads(found["cause"])}
    return None


def _text(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
