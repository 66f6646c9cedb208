"""Results, findings and progress of a call: frozen records, with their JSON documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from packager.errors import PackagerError, RequestError, printable

PACKAGED, ALREADY_THERE, FAILED, LEFT = "packaged", "already_there", "failed", "left"
DONE = (PACKAGED, ALREADY_THERE)
LONGEST_S = 10**9

LEFT_OUT = "left-out"
"""Rule of the warning about members that packaging passed over."""

EXTERNAL_DATA = "external-data"
"""Rule of the warning about members that an ONNX model may load, and that it is parted from."""

_PARTED_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: which, what is wrong (with its numbers), what to do."""

    rule: str
    message: str
    next_step: str
    subject: str = ""


def parted_warning(paths: Sequence[str]) -> tuple[Finding, ...]:
    """What may be the external data of an ONNX model, and does not lie where the device's copy looks for it."""
    if not paths:
        return ()
    shown = ", ".join(repr(printable(path, 100)) for path in paths[:_PARTED_SHOWN])
    more = f", and {len(paths) - _PARTED_SHOWN} more" if len(paths) > _PARTED_SHOWN else ""
    return (
        Finding(
            EXTERNAL_DATA,
            f"The model is written to the top of its stage's folder, and what lies beside it in the artifact is not: "
            f"{shown}{more}. If that is its external data (ONNX), the device does not find the weights.",
            "Export the model with its weights inside (onnx.save_model with save_as_external_data=False), or pack a "
            "compiled one at the top of its artifact with the data beside it.",
        ),
    )


def left_out_warning(count: int, names: Sequence[str]) -> tuple[Finding, ...]:
    """The warning that so many members of an artifact were left out, of which the first few are named; if any."""
    if not count:
        return ()
    more = f", and {count - len(names)} more" if count > len(names) else ""
    members = "1 member of the artifact was" if count == 1 else f"{count} members of the artifact were"
    return (
        Finding(
            LEFT_OUT,
            f"{members} left out of the component: {', '.join(names)}{more}.",
            "If the model needs them, do not exclude them; what macOS adds (._NAME, .DS_Store, __MACOSX) is always "
            "left out, so give a file of the model another name.",
        ),
    )


@dataclass(frozen=True, slots=True)
class ComponentResult:
    """The outcome of one target; sizes are bytes.

    `status` is packaged, already_there, failed, or left: not done for want of time or space, for the next call.
    """

    target: str
    status: str
    strategy: str
    duration_s: float
    uri: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    files: int | None = None
    warnings: Sequence[Finding] = ()
    error: PackagerError | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "status": self.status,
            "uri": self.uri,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "files": self.files,
            "strategy": self.strategy,
            "duration_s": round(self.duration_s, 3),
            "warnings": [asdict(w) for w in self.warnings],
            "error": self.error.as_dict() if self.error else None,
        }


@dataclass(frozen=True, slots=True)
class WrittenRecipe:
    """The recipe beside a component: its URI, None when there is none, and what nucleus lite does not take of it."""

    uri: str | None = None
    warnings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True)
class PackageResult:
    """The outcome of one call. `error` is set when nothing could begin, or when the recipe could not be written.

    Its document can be handed to the next call, which goes on with what is not done.
    """

    components: Sequence[ComponentResult] = ()
    manifest: dict[str, Any] | None = None
    peak_scratch_bytes: int = 0
    error: PackagerError | None = None
    recipe: WrittenRecipe | None = None

    @property
    def recipe_failed(self) -> bool:
        """Whether there is a component, and not the recipe that was asked for."""
        return self.recipe is not None and self.recipe.uri is None and any(each.uri for each in self.components)

    @property
    def left(self) -> tuple[str, ...]:
        """Targets that the next call would go on with."""
        return tuple(each.target for each in self.components if each.status == LEFT)

    @property
    def succeeded(self) -> bool:
        return self.error is None and all(c.error is None for c in self.components)

    def as_dict(self) -> dict[str, Any]:
        return {
            "components": [c.as_dict() for c in self.components],
            "manifest": self.manifest,
            "peak_scratch_bytes": self.peak_scratch_bytes,
            "left": list(self.left),
            "error": self.error.as_dict() if self.error else None,
            **self._recipe_as_dict(),
        }

    def _recipe_as_dict(self) -> dict[str, Any]:
        """Nothing when no recipe was asked for."""
        if self.recipe is None:
            return {}
        return {"recipe": self.recipe.uri, "recipe_warnings": [asdict(each) for each in self.recipe.warnings]}


Phase = Literal["inspecting", "planning", "identifying", "reading_manifest", "listing", "staging", "packaging", "done"]
PublicationPhase = Literal["uploading", "publishing"]


@dataclass(frozen=True, slots=True)
class ProcessingState:
    """How far the work is, for progress bars and callbacks.

    Attributes:
        phase: of a package `identifying` (the artifact of a target), `reading_manifest` (the trained artifact, once for
            all targets), `listing` and `staging` (a target whose members are put on scratch), `packaging`, and `done`;
            of a plan `reading_manifest` and `planning`; of an inspection `inspecting`; of a component version that is
            published `uploading` and `publishing`.
        target: the target it is about; empty while the work is shared.
        bytes_done, bytes_total: packed bytes read so far and in all.
        files_done, files_total: members written so far, and in all when that is known.
        scratch_bytes: scratch in use.
        cleaned_up: whether the cleanup of this target has run.
        remaining_s: estimated seconds left; None before the first bytes.
    """

    phase: Phase | PublicationPhase
    target: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    files_done: int = 0
    files_total: int | None = None
    scratch_bytes: int = 0
    cleaned_up: bool = False
    remaining_s: float | None = None


OnProgress = Callable[[ProcessingState], None]
"""Called with the progress of the work, in its threads, one call at a time. It may raise to stop a target."""


def done_before(document: Mapping[str, Any] | None) -> dict[str, ComponentResult]:
    """The components that an earlier result's document says are done, by target; RequestError names a wrong field."""
    components = _field(document or {"components": []}, "components", list, "previous")
    done = (_component(each, f"previous.components[{number}]") for number, each in enumerate(components))
    return {component.target: component for component in done if component.status in DONE}


def _component(document: object, where: str) -> ComponentResult:
    status = _field(document, "status", str, where)
    target = _field(document, "target", str, where)
    strategy = _field(document, "strategy", str, where)
    if status not in DONE:
        return ComponentResult(target, status, strategy, 0)
    return ComponentResult(
        target,
        status,
        strategy,
        _seconds(document, where),
        _field(document, "uri", str, where),
        _field(document, "sha256", str, where),
        _field(document, "size_bytes", int, where),
        _field(document, "files", (int, type(None)), where),
    )


def _seconds(document: object, where: str) -> float:
    value = _field(document, "duration_s", (int, float), where)
    if not 0 <= value <= LONGEST_S:
        raise RequestError(
            f"{where}.duration_s is not between 0 and {LONGEST_S} seconds.",
            next_step="Pass the document of an earlier result, unchanged.",
            field=f"{where}.duration_s",
        )
    return float(value)


def _field(document: object, name: str, kind: type | tuple[type, ...], where: str) -> Any:  # noqa: ANN401  of that kind
    value = document.get(name, ...) if isinstance(document, Mapping) else ...
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    found = "missing" if value is ... else f"{type(value).__name__} {printable(value, 40)}"
    raise RequestError(
        f"{where}.{name} is {found}.",
        next_step="Pass the document of an earlier result, unchanged.",
        field=f"{where}.{name}",
    )
