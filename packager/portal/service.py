"""Packaging of a training job for the portal: permission, package, update of the record, audit entry, publishing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from packager.errors import OperationAbortedError, PackagerError, RequestError, printable
from packager.model.targets import served_by
from packager.portal import jobs
from packager.portal.audit import Audit
from packager.portal.aws import AwsRefusedError
from packager.portal.credentials import usecase_s3
from packager.portal.events import PackageArguments
from packager.portal.executions import RUNNING, Executions, ExecutionState
from packager.portal.outcome import RequestOutcome
from packager.portal.publish import publish_once, trigger_publish
from packager.portal.replies import OK, ForbiddenError, shared_failure
from packager.portal.tables import Records, now_ms, retry_on_conflict
from packager.portal.users import Role, User, has_role
from packager.results import LEFT, ComponentResult, PackageResult
from packager.stores import Stores
from telemetry import context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from packager.portal.api import PackageCall
    from packager.portal.jobs import ChosenTargets, Entry, TrainingJob
    from packager.portal.settings import PortalSettings


class NotRecordedError(PackagerError):
    """The components exist, but the record could not be updated; `packaged_components` and `left` say which."""


class Portal:
    """Serves the portal's requests; `package` is `packager.packaging.package` within the function's time."""

    def __init__(self, settings: PortalSettings, package: Callable[[PackageArguments], PackageResult]) -> None:
        self.settings = settings
        self.records = Records(settings)
        self.audit = Audit(self.records, settings.audit_days)
        machine = settings.request_machine_arn
        self._executions = Executions(self.records, machine) if machine else None
        self._package = package

    def answer(self, call: PackageCall) -> tuple[RequestOutcome, dict[str, Any]]:
        """The outcome of a request, and the body of its reply.

        Errors: RequestError and its kind for what the caller can correct, ForbiddenError, AwsRefusedError, StoreError.
        """
        record = self._record_of(call.training_id)
        job = jobs.training_job(record)
        with context(usecase_id=job.usecase_id):
            self._authorize(call.user, job, Role.DataScientist)
            executions = self._executions if call.through_gateway else None
            if executions and executions.is_running(record, call):
                return _handed_over(call, RequestOutcome((), (), (), record))
            outcome = self._outcome(job, call.targets, call.user)
            if outcome.left and executions and executions.hand_over(call, outcome):
                self.audit.write(call.user.id, job.training_id, "accepted", _details(outcome))
                return _handed_over(call, outcome)
            self.audit.write(call.user.id, job.training_id, _verdict(outcome), _details(outcome))
            outcome = _with_done(outcome, call.done or ())
            triggered = _is_publishable(call, outcome) and self._publish(job, outcome, call)
        body = {
            "training_id": job.training_id,
            "packaged_components": list(outcome.entries),
            "message": outcome.message,
            "component_creation_triggered": triggered,
        }
        if outcome.left:
            body["left"] = list(outcome.left)
        if outcome.status != OK:
            body["error"] = f"Failed to package components: {outcome.message}"
        return outcome, body

    def state(self, call: PackageCall) -> dict[str, Any]:
        """What has become of the last request for a training job that was handed to the state machine, as a document.

        Errors as for `answer`.
        """
        record = self._record_of(call.training_id)
        job = jobs.training_job(record)
        with context(usecase_id=job.usecase_id):
            self._authorize(call.user, job, Role.Viewer)
            state = self._executions.state(record) if self._executions else ExecutionState()
        return {
            "training_id": job.training_id,
            **state.as_fields(),
            "packaged_components": jobs.recorded_entries(record),
        }

    def _authorize(self, user: User, job: TrainingJob, least: Role) -> None:
        if not has_role(user, job.usecase_id, least, self.records):
            raise ForbiddenError(
                "Insufficient permissions", next_step=f"Ask for the role {least.name} in this use case."
            )

    def _publish(self, job: TrainingJob, outcome: RequestOutcome, call: PackageCall) -> bool:
        function = self.settings.publish_function
        if not function or not call.request_id:
            return trigger_publish(function, job)
        return publish_once(self.records, function, job, outcome.record, call.request_id)

    def package(self, job: TrainingJob, wanted: Sequence[str], user: User) -> RequestOutcome:
        """Package the wanted targets of a job (without any, all), record the outcome of each, and audit it."""
        outcome = self._outcome(job, wanted, user)
        self.audit.write(user.id, job.training_id, _verdict(outcome), _details(outcome))
        return outcome

    def _outcome(self, job: TrainingJob, wanted: Sequence[str], user: User) -> RequestOutcome:
        choice = jobs.choose(job, wanted)
        usecase = self.records.get("usecases", {"usecase_id": job.usecase_id})
        if usecase is None:
            raise RequestError(
                "The use case of the training job does not exist.",
                next_step="Correct usecase_id in its record.",
                field="usecase_id",
            )
        if job.artifact_s3 is None:
            raise RequestError(
                "Training job has no model artifact", next_step="Train or import the model first.", field="artifact_s3"
            )
        try:
            with usecase_s3(usecase, user) as client:
                stores = Stores(client)
                choice = _openable(choice, stores)
                result = self._result(job, choice, usecase, stores)
            entries, left = _entries(choice, result)
            record = self._recorded(job.training_id, entries, left)
        except Exception as error:
            about = {"error_type": type(error).__name__, "targets": list(choice.targets)}
            self.audit.write(user.id, job.training_id, "failure", about)
            raise
        return RequestOutcome(entries, left, choice.missing, record, bad_before=job.bad_before)

    def _record_of(self, training_id: str) -> dict[str, Any]:
        record = self.records.get("training_jobs", {"training_id": training_id})
        if record is None:
            raise RequestError(
                f"There is no training job {printable(training_id)!r}.",
                next_step="Check the id in the path.",
                field="pathParameters.id",
            )
        return record

    def _result(
        self, job: TrainingJob, choice: ChosenTargets, usecase: dict[str, Any], stores: Stores
    ) -> PackageResult:
        bucket = usecase.get("s3_bucket")
        if not isinstance(bucket, str) or not bucket:
            raise RequestError(
                "The use case has no bucket.", next_step="Set s3_bucket in its record.", field="usecase.s3_bucket"
            )
        if not str(job.artifact_s3).startswith("s3://"):
            raise RequestError(
                "artifact_s3 of the training job is no s3:// URI.",
                next_step="Correct its record.",
                field="training_job.artifact_s3",
            )
        if choice.failed and not choice.compiled:
            return PackageResult()
        arguments = PackageArguments(
            str(job.artifact_s3), choice.compiled, f"s3://{bucket}", choice.imported_targets, stores=stores
        )
        result = self._package(arguments)
        _check_shared(choice, result)
        return result

    def _recorded(self, training_id: str, entries: Sequence[Entry], left: Sequence[str]) -> dict[str, Any]:
        try:
            return self._merge(training_id, entries)
        except AwsRefusedError as error:
            raise NotRecordedError(
                error.message,
                next_step=f"{error.next_step} Then send the request again: what was packaged is found, not made again.",
                packaged_components=list(entries),
                left=list(left),
            ) from None

    def _merge(self, training_id: str, entries: Sequence[Entry]) -> dict[str, Any]:
        """Merge the entries into the record, whatever others write at the same time, and return it."""

        def write() -> dict[str, Any]:
            before = self._record_of(training_id).get("packaged_components")
            same = "packaged_components = :before" if before is not None else _NOTHING_YET
            values = {"before": before} if before is not None else {"nothing": None}
            same = same.replace("packaged_components", "#packaged_components")
            return self.records.update(
                "training_jobs",
                {"training_id": training_id},
                "SET #packaged_components = :after, #updated_at = :now",
                f"attribute_exists(#training_id) AND {same}",
                after=jobs.merged(before, entries),
                now=now_ms(),
                **values,
            )

        return retry_on_conflict("training_jobs", write)


_NOTHING_YET = "(attribute_not_exists(packaged_components) OR packaged_components = :nothing)"


def _openable(choice: ChosenTargets, stores: Stores) -> ChosenTargets:
    """The choice without artifacts whose URIs are invalid: those fail alone."""
    compiled: dict[str, str] = {}
    failed = list(choice.failed)
    for target, uri in choice.compiled.items():
        try:
            stores.source(uri)
        except RequestError as error:
            served = (each.name for each in served_by(target))
            failed += [jobs.failed_entry(name, str(error), error.fault) for name in served if name in choice.targets]
        else:
            compiled[target] = uri
    return replace(choice, compiled=compiled, failed=tuple(failed))


def _check_shared(choice: ChosenTargets, result: PackageResult) -> None:
    """Raise the error that kept every target from being tried."""
    errors = [each.error for each in result.components]
    if choice.is_imported and errors and all(_wants_compilations(error) for error in errors):
        raise jobs.no_compilations()
    if error := shared_failure(result):
        raise error


def _wants_compilations(error: PackagerError | None) -> bool:
    return isinstance(error, RequestError) and error.figures.get("field") == "compiled"


def _entries(choice: ChosenTargets, result: PackageResult) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """One entry for each target of the choice, in the order of the result, and the targets that are left."""
    entries = [_entry(each) for each in result.components if each.target in choice.targets]
    left = tuple(each for each in result.left if each in choice.targets)
    return (*entries, *choice.failed), left


def _entry(component: ComponentResult) -> Entry:
    if component.uri is not None and component.error is None:
        return {"target": component.target, "component_package_s3": component.uri, "status": "packaged"}
    error = component.error
    if error is None or component.status == LEFT or isinstance(error, OperationAbortedError):
        # The error's own next step speaks of earlier results, which a user of the portal does not have.
        why = "Not done for want of time or space. Send the request again."
        return jobs.failed_entry(component.target, why, "service")
    return jobs.failed_entry(component.target, str(error), error.fault)


def _handed_over(call: PackageCall, outcome: RequestOutcome) -> tuple[RequestOutcome, dict[str, Any]]:
    """The outcome without what the machine goes on with, and the body of a reply that says where to look."""
    done = tuple(entry for entry in outcome.entries if entry["target"] not in outcome.left)
    body = {
        "training_id": call.training_id,
        "state": RUNNING,
        "status_url": call.status_url,
        "message": "Packaging goes on. GET status_url tells what has become of it.",
        "packaged_components": list(done),
        "left": list(outcome.left),
    }
    return replace(outcome, entries=done, left=(), handed_over=True), body


def _with_done(outcome: RequestOutcome, done: Sequence[Entry]) -> RequestOutcome:
    """The outcome together with what earlier calls for the same request have done."""
    targets = {entry["target"] for entry in outcome.entries}
    return replace(outcome, entries=(*(each for each in done if each["target"] not in targets), *outcome.entries))


def _is_publishable(call: PackageCall, outcome: RequestOutcome) -> bool:
    """Whether publishing follows: once, at the end of a request that takes several calls."""
    return call.auto_triggered and outcome.packaged > 0 and (call.done is None or not outcome.left)


def _verdict(outcome: RequestOutcome) -> str:
    if outcome.packaged == len(outcome.entries) and not outcome.left:
        return "success"
    return "partial" if outcome.packaged else "failure"


def _details(outcome: RequestOutcome) -> dict[str, Any]:
    return {
        "targets": [entry["target"] for entry in outcome.entries],
        "packaged_count": outcome.packaged,
        "failed_count": len(outcome.entries) - outcome.packaged,
        "failed": [entry["target"] for entry in outcome.entries if entry["status"] != "packaged"],
        "left": list(outcome.left),
    }
