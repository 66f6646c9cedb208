"""Compilations that ended: update of the training job's record, packaging of the target, publishing after the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packager.errors import RequestError
from packager.portal import jobs
from packager.portal.deliveries import NotDoneError
from packager.portal.publish import publish_once, trigger_publish
from packager.portal.tables import now_ms, retry_on_conflict
from packager.portal.users import PORTAL
from telemetry import context

if TYPE_CHECKING:
    from packager.portal.events import CompilationEnded
    from packager.portal.service import Portal
    from packager.portal.tables import Record

_STILL_RUNNING = {"", "STARTING", "INPROGRESS", "STOPPING"}


def on_compilation_ended(portal: Portal, ended: CompilationEnded) -> dict[str, Any]:
    """Record the end of a compilation in its training job, and package its target when it COMPLETED.

    Returns the outcome as a document. When the last compilation of a job has ended, the publishing function is invoked
    for whatever is packaged. Errors as for Portal.answer.
    """
    training_id = _training_id_of(portal, ended.job_name)
    with context(training_id=training_id):
        record = retry_on_conflict("training_jobs", lambda: _recorded(portal, training_id, ended))
        job = jobs.training_job(record)
        with context(usecase_id=job.usecase_id):
            return _package_and_publish(portal, job, ended, record)


def _package_and_publish(
    portal: Portal, job: jobs.TrainingJob, ended: CompilationEnded, record: Record
) -> dict[str, Any]:
    entries: tuple[jobs.Entry, ...] = ()
    message = f"The compilation job ended as {ended.status}."
    if ended.status == "COMPLETED":
        mine = tuple(each.target for each in job.compilations if each.job_name == ended.job_name)
        outcome = portal.package(job, mine, PORTAL)
        entries, message, record = outcome.entries, outcome.message, outcome.record
        if outcome.left or any(entry.get("fault") == "service" for entry in entries):
            raise NotDoneError(message, next_step="It is tried again when the event is delivered again.")
    return {
        "training_id": job.training_id,
        "compilation_job_name": ended.job_name,
        "status": ended.status,
        "packaged_components": list(entries),
        "left": [],
        "message": message,
        "component_creation_triggered": _is_last(record) and _published(portal, job, record),
    }


def _published(portal: Portal, job: jobs.TrainingJob, record: Record) -> bool:
    """Publish once, however often the event is delivered. NotDoneError when the publishing function was not reached."""
    function = portal.settings.publish_function
    if not function:
        return trigger_publish(function, job)
    triggered = publish_once(portal.records, function, job, record)
    if not triggered:
        raise NotDoneError(
            "The components are packaged, and the publishing function was not reached.",
            next_step="It is tried again when the event is delivered again.",
        )
    return triggered


def _is_last(record: Record) -> bool:
    """Whether every compilation of the job has ended, and there is a component to publish."""
    running = any(each.status in _STILL_RUNNING for each in jobs.training_job(record).compilations)
    components = record.get("packaged_components")
    there = isinstance(components, list) and any(
        isinstance(each, dict) and each.get("status") == "packaged" for each in components
    )
    return there and not running


def _training_id_of(portal: Portal, job_name: str) -> str:
    """The training job that lists the compilation: found by the index, when there is one, else by a scan."""
    if portal.settings.compilation_job_index:
        by_index = portal.records.pages(
            "training_jobs",
            IndexName=portal.settings.compilation_job_index,
            KeyConditionExpression="compilation_job_name = :name",
            ExpressionAttributeValues={":name": job_name},
        )
        for page in by_index:
            for record in page:
                return str(record["training_id"])
        # The scan also finds a record that the index does not hold yet.
    for page in portal.records.pages("training_jobs", ProjectionExpression="training_id, compilation_jobs"):
        for record in page:
            if _positions(record, job_name):
                return str(record["training_id"])
    raise _unknown()


class UnknownCompilationError(RequestError):
    """No training job lists the compilation: it is none of the portal's."""


def _unknown() -> UnknownCompilationError:
    return UnknownCompilationError(
        "No training job lists this compilation job.",
        next_step="Nothing when it was started by hand; else look for its name in compilation_jobs of the records.",
        field="detail.CompilationJobName",
    )


def _positions(record: Record, job_name: str) -> list[int]:
    """Positions of the compilation in the record's list."""
    listed = record.get("compilation_jobs")
    return [
        position
        for position, each in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(each, dict) and each.get("compilation_job_name") == job_name
    ]


def _recorded(portal: Portal, training_id: str, ended: CompilationEnded) -> Record:
    """Update the entry, if it is still at the position where it was read, and return the record."""
    record = portal.records.get("training_jobs", {"training_id": training_id})
    positions = _positions(record, ended.job_name) if record else []
    if not positions:
        raise _unknown()
    # Only this entry is written, so that simultaneous events for other entries of the list are not undone.
    entry = f"#compilation_jobs[{positions[0]}]"
    field, value = (
        ("compiled_model_s3", ended.compiled_model_s3)
        if ended.status == "COMPLETED"
        else ("failure_reason", ended.failure_reason)
    )
    return portal.records.update(
        "training_jobs",
        {"training_id": training_id},
        f"SET {entry}.#status = :status, {entry}.#{field} = :value, #updated_at = :now",
        f"{entry}.#compilation_job_name = :name",
        status=ended.status,
        value=value,
        now=now_ms(),
        name=ended.job_name,
    )
