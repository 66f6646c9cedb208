"""Training jobs: what their record holds, which targets a request gets, and how the outcome is merged. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packager.errors import Fault, RequestError, printable
from packager.model.targets import COMPILED_ONNX, SERVED_BY_IMPORTED_ONNX, served_by, target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Entry = dict[str, Any]
"""The outcome of one target in a record or reply: packaged with a URI, or failed with an error."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """One entry of `compilation_jobs`; None stands for a field that is missing or no text."""

    target: str
    status: str
    compiled_model_s3: str | None
    export_format: str | None
    job_name: str | None


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """The fields of a training job's record that packaging needs.

    `imported_onnx` is None when only the artifact itself can tell (its manifest). `foreign_kind` names the kind of a
    model that only the portal's own function packages; else it is empty. `bad_before` tells whether an earlier request
    found one of its artifacts at fault.
    """

    training_id: str
    usecase_id: str
    model_name: str
    artifact_s3: str | None
    imported_onnx: bool | None
    compilations: tuple[Compilation, ...]
    foreign_kind: str = ""
    bad_before: bool = False


@dataclass(frozen=True, slots=True)
class ChosenTargets:
    """The targets that are packaged for a request.

    Attributes:
        compiled: URI by compile target; empty for an imported ONNX model.
        imported_targets: targets of an imported ONNX model; empty: not one, or all that it serves.
        targets: the targets that the reply covers.
        failed: entries of targets whose record is unusable.
        missing: requested targets that no completed compilation serves.
    """

    compiled: Mapping[str, str]
    imported_targets: tuple[str, ...]
    targets: tuple[str, ...]
    failed: tuple[Entry, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def is_imported(self) -> bool:
        return not self.compiled and not self.failed


def training_job(record: Mapping[str, Any]) -> TrainingJob:
    """The usable fields of a record; RequestError when it belongs to no use case."""
    usecase_id = _text(record, "usecase_id")
    if usecase_id is None:
        raise RequestError(
            "The training job belongs to no use case.",
            next_step="Set usecase_id in its record.",
            field="training_job.usecase_id",
        )
    jobs = record.get("compilation_jobs")
    return TrainingJob(
        training_id=str(record["training_id"]),
        usecase_id=usecase_id,
        model_name=_text(record, "model_name") or "model",
        artifact_s3=_text(record, "artifact_s3"),
        imported_onnx=_imported_onnx(record),
        bad_before=any(
            isinstance(entry, dict) and entry.get("fault") == "artifact"
            for entry in _listed(record.get("packaged_components"))
        ),
        compilations=tuple(
            Compilation(
                target=_text(job, "target") or "",
                status=(_text(job, "status") or "").upper(),
                compiled_model_s3=_text(job, "compiled_model_s3"),
                export_format=(_text(job, "export_format") or "").lower() or None,
                job_name=_text(job, "compilation_job_name"),
            )
            for job in _listed(jobs)
            if isinstance(job, dict)
        ),
        foreign_kind=_foreign_kind(record),
    )


def choose(job: TrainingJob, wanted: Sequence[str]) -> ChosenTargets:
    """Choose what to package of `job` for the `wanted` targets (without any, for all). RequestError when nothing is."""
    if job.foreign_kind:
        raise RequestError(
            f"A model of the kind {job.foreign_kind} is not packaged here; the portal's own function packages it.",
            next_step="Send the request to the portal's own packaging function.",
            field="training_job",
        )
    if job.imported_onnx or (job.imported_onnx is None and not job.compilations):
        names = tuple(target(name).name for name in wanted)
        return ChosenTargets({}, names, names or tuple(each.name for each in SERVED_BY_IMPORTED_ONNX))
    if not job.compilations:
        raise no_compilations()
    completed = {each.target: each for each in job.compilations if each.status == "COMPLETED" and each.target}
    if not completed:
        raise RequestError(
            "No completed compilation jobs found", next_step="Wait for one to complete.", field="compilation_jobs"
        )
    served = {each: _served(each, wanted) for each in completed.values()}
    served = {each: names for each, names in served.items() if names}
    if not served:
        raise RequestError(
            f"No completed compilation jobs for requested targets: {printable(list(wanted), 1000)}",
            next_step="Compile for them, or name others.",
            field="body.targets",
        )
    return _choice(served, wanted)


def no_compilations() -> RequestError:
    return RequestError(
        "No compilation jobs found. Run compilation first.",
        next_step="Compile the model for a target.",
        field="compilation_jobs",
    )


def _choice(served: Mapping[Compilation, tuple[str, ...]], wanted: Sequence[str]) -> ChosenTargets:
    compiled: dict[str, str] = {}
    failed: list[Entry] = []
    targets: list[str] = []
    for compilation, names in served.items():
        if reason := _unusable(compilation):
            failed += [failed_entry(name, reason, "request") for name in names]
        else:
            # One export serves three targets: as one component, uploaded once.
            compiled[COMPILED_ONNX if _is_onnx(compilation) else compilation.target] = str(
                compilation.compiled_model_s3
            )
            targets += names
    known = {name for compilation, names in served.items() for name in (*names, compilation.target)}
    missing = tuple(name for name in wanted if name not in known)
    return ChosenTargets(compiled, (), tuple(dict.fromkeys(targets)), tuple(failed), missing)


def failed_entry(name: str, reason: str, fault: Fault) -> Entry:
    return {"target": name, "status": "failed", "error": printable(reason, 1000), "fault": fault}


def merged(before: object, entries: Sequence[Entry]) -> list[Any]:
    """`packaged_components` after the new entries replaced those of the same targets.

    A failed entry does not replace a packaged one: the component is still there and good.
    """
    together = [*_listed(before)]
    place = {each.get("target"): index for index, each in enumerate(together) if isinstance(each, dict)}
    for entry in entries:
        index = place.get(entry["target"])
        if index is None:
            place[entry["target"]] = len(together)
            together.append(entry)
        elif entry["status"] == "packaged" or together[index].get("status") != "packaged":
            together[index] = entry
    return together


def recorded_entries(record: Mapping[str, Any]) -> list[Entry]:
    """The entries of `packaged_components` with the fields that replies have, whatever else stands there."""
    entries = record.get("packaged_components")
    known = ("target", "component_package_s3", "status", "error", "fault")
    return [
        {name: each[name] for name in known if isinstance(each.get(name), str)}
        for each in (entries if isinstance(entries, list) else ())
        if isinstance(each, dict)
    ]


def _served(compilation: Compilation, wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted targets that an artifact serves; an unknown target serves itself, to be refused by name."""
    try:
        names = tuple(each.name for each in served_by(compilation.target, compilation.export_format))
    except RequestError:
        names = (compilation.target,)
    return names if not wanted or compilation.target in wanted else tuple(name for name in names if name in wanted)


def _unusable(compilation: Compilation) -> str:
    try:
        served_by(compilation.target, compilation.export_format)
    except RequestError as error:
        return str(error)
    if compilation.compiled_model_s3 is None:
        return "The compilation completed without an artifact: compiled_model_s3 is missing. Compile again."
    if not compilation.compiled_model_s3.startswith("s3://"):
        return "compiled_model_s3 is no s3:// URI. Correct the record, or compile again."
    return ""


def _is_onnx(compilation: Compilation) -> bool:
    return COMPILED_ONNX in {compilation.target, compilation.export_format}


def _foreign_kind(record: Mapping[str, Any]) -> str:
    """The kind of a model that is not packaged here; empty for those that are."""
    if "vllm" in {(_text(record, name) or "").lower() for name in ("model_type", "source")}:
        return "vllm"
    if record.get("conversion") is not None:
        return "conversion"
    blocks = (record, *_notes(record))
    runs_onnx = any((_text(block, "runtime") or "").lower() == COMPILED_ONNX for block in blocks)
    detects = any(block.get("detection") is not None for block in blocks)
    return "onnx detection" if runs_onnx and detects and record.get("source") != "imported" else ""


def _notes(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the portal noted about a model: when it was trained, and when it was imported and validated."""
    result = record.get("validation_result")
    notes = [record.get("metadata"), result.get("metadata") if isinstance(result, dict) else None]
    return [each for each in notes if isinstance(each, dict)]


def _imported_onnx(record: Mapping[str, Any]) -> bool | None:
    """Whether the model was imported as ONNX, according to the metadata that the portal recorded."""
    if record.get("source") != "imported":
        return False
    known = _notes(record)
    for note in known:
        if framework := _text(note, "framework") or _text(note, "runtime"):
            return framework.lower() == COMPILED_ONNX
    files = [_text(note, name) for note in known for name in ("model_file", "pt_file")]
    return True if any(name and name.lower().endswith(".onnx") for name in files) else None


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(holder: Mapping[str, Any], name: str) -> str | None:
    value = holder.get(name)
    return value if isinstance(value, str) and value else None
