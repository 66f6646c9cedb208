"""A compilation has ended: its record is brought up to date, and what can be packaged is packaged at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packager.errors import RequestError
from packager.portal import jobs
from packager.portal.publish import trigger_publish
from packager.portal.tables import now_ms, retry_on_conflict
from packager.portal.users import PORTAL
from telemetry import context

if TYPE_CHECKING:
    from packager.portal.events import CompilationEnded
    from packager.portal.service import Portal
    from packager.portal.tables import Record

_STILL_RUNNING = {"", "STARTING", "INPROGRESS", "STOPPING"}


def on_compilation_ended(portal: Portal, news: CompilationEnded) -> dict[str, Any]:
    """Note the news in the training job that the compilation belongs to, and package its target when it COMPLETED.

    What became of it. When the last compilation of a job has ended,
    the publishing function is asked to go on with whatever is packaged. Errors as for Portal.answer.
    """
    training_id = _training_id_of(portal, news.job_name)
    with context(training_id=training_id):
        record = retry_on_conflict("training_jobs", lambda: _noted(portal, training_id, news))
        job = jobs.training_job(record)
        with context(usecase_id=job.usecase_id):
            return _gone_on(portal, job, news, record)


def _gone_on(portal: Portal, job: jobs.TrainingJob, news: CompilationEnded, record: Record) -> dict[str, Any]:
    entries: tuple[jobs.Entry, ...] = ()
    left: tuple[str, ...] = ()
    message = f"The compilation job ended as {news.status}."
    if news.status == "COMPLETED":
        mine = tuple(each.target for each in job.compilations if each.job_name == news.job_name)
        outcome = portal.package(job, mine, PORTAL)
        entries, left, message, record = outcome.entries, outcome.left, outcome.message, outcome.record
    return {
        "training_id": job.training_id,
        "compilation_job_name": news.job_name,
        "status": news.status,
        "packaged_components": list(entries),
        "left": list(left),
        "message": message,
        "component_creation_triggered": _is_last(record) and trigger_publish(portal.settings.publish_function, job),
    }


def _is_last(record: Record) -> bool:
    """Whether every compilation of the job has ended, and there is a component to publish."""
    running = any(each.status in _STILL_RUNNING for each in jobs.training_job(record).compilations)
    components = record.get("packaged_components")
    there = isinstance(components, list) and any(
        isinstance(each, dict) and each.get("status") == "packaged" for each in components
    )
    return there and not running


def _training_id_of(portal: Portal, job_name: str) -> str:
    """The training job whose record lists the compilation: by the index, when there is one, else page by page."""
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
        # A record that the index does not hold (yet) is still found.
    for page in portal.records.pages("training_jobs", ProjectionExpression="training_id, compilation_jobs"):
        for record in page:
            if _places(record, job_name):
                return str(record["training_id"])
    raise _unknown()


def _unknown() -> RequestError:
    return RequestError(
        "No training job lists this compilation job.",
        next_step="Nothing, when it was started by hand; else look for its name in compilation_jobs of the records.",
        field="detail.CompilationJobName",
    )


def _places(record: Record, job_name: str) -> list[int]:
    """Where the compilation stands in the record's list."""
    listed = record.get("compilation_jobs")
    return [
        place
        for place, each in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(each, dict) and each.get("compilation_job_name") == job_name
    ]


def _noted(portal: Portal, training_id: str, news: CompilationEnded) -> Record:
    """Write the news into the entry, if it still stands where it was read; the record afterwards."""
    record = portal.records.get("training_jobs", {"training_id": training_id})
    places = _places(record, news.job_name) if record else []
    if not places:
        raise _unknown()
    # Only this entry is written: two events for two entries of one list undo nothing of each other's.
    entry = f"#compilation_jobs[{places[0]}]"
    told, value = (
        ("compiled_model_s3", news.compiled_model_s3)
        if news.status == "COMPLETED"
        else ("failure_reason", news.failure_reason)
    )
    return portal.records.update(
        "training_jobs",
        {"training_id": training_id},
        f"SET {entry}.#status = :status, {entry}.#{told} = :told, #updated_at = :now",
        f"{entry}.#compilation_job_name = :name",
        status=news.status,
        told=value,
        now=now_ms(),
        name=news.job_name,
    )
