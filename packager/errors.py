"""The packager's errors: few types, each with its numbers as fields and the next step; and which of them can pass."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

Fault = Literal["artifact", "request", "service"]
"""Whose failure it is: the artifact's owner mends it, the caller, or whoever runs the service (AWS for them)."""

NOT_A_FILE = frozenset({"EISDIR", "EINVAL", "ELOOP", "ENAMETOOLONG"})
"""Codes of StoreError for paths that name a folder, a device or nothing that could be."""

Figure = str | int | float | bool | None | Sequence[Any] | Mapping[str, Any]


def printable(text: object, limit: int = 200) -> str:
    """Untrusted text made safe for a log or a terminal: control characters escaped, length capped (characters)."""
    begin = str(text)[: limit + 1]  # a name can have megabytes
    shown = begin
    if not begin.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in begin)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def in_units(size_bytes: float) -> str:
    """A size for people: bytes below 1 KiB, else KiB, MiB, GiB or TiB with one decimal."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:  # noqa: PLR2004  binary units
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


class PackagerError(Exception):
    """Base of all failures.

    Attributes:
        message: what happened, with its numbers.
        next_step: what the reader can do about it; empty when there is nothing.
        figures: the numbers and names of the message, by field; each is also an attribute of the error.
        fault: whose failure it is.
    """

    fault: Fault = "service"

    def __init__(self, message: str, *, next_step: str = "", **figures: Figure) -> None:
        self.message = message
        self.next_step = next_step
        self.figures = figures
        super().__init__(f"{message} {next_step}".strip())

    def __getattr__(self, name: str) -> Figure:
        figures = self.__dict__.get("figures", {})
        if name in figures:
            figure: Figure = figures[name]
            return figure
        raise AttributeError(f"{type(self).__name__} has no figure {name!r}; it has {', '.join(figures) or 'none'}")

    def name_artifact(self, role: str, uri: str) -> None:
        """Say once which artifact the error is about: in the message, and as the figures `role` and `uri`."""
        if "role" in self.figures:
            return
        shown = printable(uri, 1000)
        if "uri" not in self.figures:
            self.message = f"The {role} {shown}: {self.message}"
            self.args = (f"{self.message} {self.next_step}".strip(),)
        self.figures = {**self.figures, "role": role, "uri": shown}

    def as_dict(self) -> dict[str, Any]:
        """The error as a JSON object: `type`, `fault`, `message`, `next_step` and every figure."""
        about = {"type": type(self).__name__, "fault": self.fault, "message": self.message, "next_step": self.next_step}
        return {**about, **self.figures}


class SettingsError(PackagerError, ValueError):
    """A setting has a value that cannot be used; figures name it."""


class RequestError(PackagerError, ValueError):
    """The caller asked for something that cannot be: a bad URI, an unknown target, a missing field."""

    fault: Fault = "request"


class StoreError(PackagerError, OSError):
    """A file system or S3 refused or failed; `operation`, `uri` and `code` say which and how."""

    def __init__(self, message: str, *, next_step: str = "", **figures: Figure) -> None:
        super().__init__(message, next_step=next_step, **figures)
        if figures.get("code") in NOT_A_FILE:
            self.fault = "request"


class ArtifactNotFoundError(StoreError, FileNotFoundError):
    """There is no such file, bucket or object."""

    fault: Fault = "request"


class ArtifactChangedError(StoreError):
    """The artifact was replaced while it was being read; nothing of the mixture is published."""

    fault: Fault = "artifact"


class AccessDeniedError(StoreError, PermissionError):
    """The credentials or file modes in use do not allow the operation."""


class ManifestError(PackagerError, ValueError):
    """The trained artifact lacks, or garbles, something the manifest is made of."""

    fault: Fault = "artifact"


class ExtractionError(PackagerError, ValueError):
    """The archive is damaged, cut short, or not an archive at all."""

    fault: Fault = "artifact"


class UnsafeArchiveError(ExtractionError):
    """A member that must never reach a device: outside the root, a link, a device, a duplicate."""


class LimitExceededError(ExtractionError):
    """Something exceeds a limit of the settings.

    Attributes:
        setting: the environment variable that sets it.
        limit: its value.
        found: what was found, as far as it was read.
    """

    def __init__(self, setting: str, limit: int, found: int, what: str = "The archive") -> None:
        super().__init__(
            f"{what} exceeds {setting} = {limit} (found {found}).",
            next_step=f"If its maker is to be trusted, raise {setting}; else make it smaller.",
            setting=setting,
            limit=limit,
            found=found,
        )


def within(setting: str, limit: int, found: int, what: str = "The archive") -> None:
    """Raise LimitExceededError when `found` is above `limit`, which is the value of `setting`."""
    if found > limit:
        raise LimitExceededError(setting, limit, found, what)


class StagingNeededError(ExtractionError):
    """The archive can only be read with its members on disk: a hard link refers to bytes that have gone by."""

    fault: Fault = "request"


class CompressionError(PackagerError, ValueError):
    """The component cannot be written as a ZIP that every reader takes."""

    fault: Fault = "artifact"


class ComponentRefusedError(PackagerError, ValueError):
    """Strict mode: the component breaks a rule of the device; `findings` lists them."""

    fault: Fault = "artifact"


class PublishError(PackagerError):
    """Greengrass refused a component version, or it did not become deployable; `code` or `state` say how."""


class OperationAbortedError(PackagerError, RuntimeError):
    """The work was told to stop (time nearly up, a signal, another target) and left nothing behind."""


class OutOfTimeError(OperationAbortedError, TimeoutError):
    """The time the caller gave is nearly up; what is not done is left for the next call."""


class InsufficientStorageError(PackagerError, OSError):
    """What has to be stored does not fit.

    Attributes:
        required_bytes, available_bytes, missing_bytes: the shortage.
        path: the file system that is short.
        suggestions: what to try, best first.
    """

    required_bytes: int
    available_bytes: int
    missing_bytes: int
    path: str
    suggestions: list[str]

    def __init__(
        self, what: str, *, required_bytes: int, available_bytes: int, path: str | Path, suggestions: Sequence[str] = ()
    ) -> None:
        super().__init__(
            f"{what} needs {in_units(required_bytes)} ({required_bytes} bytes) in {path}, where "
            f"{in_units(available_bytes)} ({available_bytes} bytes) can be had.",
            next_step="Try: " + "; or ".join(suggestions) + "." if suggestions else "",
            required_bytes=required_bytes,
            available_bytes=available_bytes,
            missing_bytes=max(0, required_bytes - available_bytes),
            path=str(path),
            suggestions=list(suggestions),
        )
        self.errno = errno.ENOSPC  # OSError's own __init__ resets it


class CleanupFailedError(PackagerError, OSError):
    """The work succeeded, but something of it could not be removed.

    Attributes:
        failures: one `{"path", "cause"}` for each thing that is left.
    """

    failures: list[dict[str, str]]

    def __init__(self, failures: Sequence[Mapping[str, str]]) -> None:
        listed = "; ".join(f"{printable(f['path'])}: {printable(f['cause'])}" for f in failures)
        super().__init__(
            f"{len(failures)} paths could not be removed: {listed}.",
            next_step="Remove them by hand, or make their folders writable; they take up scratch space.",
            failures=[dict(f) for f in failures],
        )


BUSY_CODES = frozenset(
    (
        # S3 and other services of AWS that are busy or failed for a moment:
        # https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
        *("429", "500", "502", "503", "504", "InternalError", "RequestTimeout", "RequestTimeoutException"),
        *("ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "ThrottledException"),
        *("RequestThrottled", "RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded"),
        *("TooManyRequestsException", "ProvisionedThroughputExceededException"),
    )
)
"""Codes and HTTP statuses after which the same request can succeed a moment later."""

RECOVERABLE_CODES = BUSY_CODES.union(
    # an upload that somebody removed, or whose bytes changed on their way, begins anew
    ("NoSuchUpload", "BadDigest"),
    # the connection broke: the types of botocore, urllib3 and the standard library
    ("ConnectTimeoutError", "ConnectionClosedError", "EndpointConnectionError", "IncompleteReadError"),
    ("ReadTimeoutError", "ResponseStreamingError", "ProtocolError", "SSLError", "TimeoutError"),
    ("BrokenTransferError", "ConnectionError", "ConnectionResetError", "ConnectionAbortedError"),
    ("BrokenPipeError", "ConnectionRefusedError"),
    # a file system, often one on a network, that could not answer this time
    ("EAGAIN", "EINTR", "ETIMEDOUT", "ESTALE", "ECONNRESET"),
)
"""Codes of StoreError after which the same work, begun anew, can succeed."""


def is_recoverable(error: BaseException) -> bool:
    """Whether the same work can succeed a moment later: a store that was busy or broken, or scratch that ran out.

    Not an artifact that was replaced meanwhile: the component's key was made from the old one. Not a damaged archive:
    reading it again takes the same time and ends the same way.
    """
    if isinstance(error, StoreError) and not isinstance(error, ArtifactChangedError):
        return error.figures.get("code") in RECOVERABLE_CODES
    return isinstance(error, InsufficientStorageError)
