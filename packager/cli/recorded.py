"""What `package` records of a run on request: telemetry in a folder, a tree of spans, a page."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from packager.errors import StoreError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packager.report.recording import RunRecording
    from packager.results import OnProgress, PackageResult


@contextmanager
def recorded(folder: str | None, *, trace: bool) -> Iterator[None]:
    """Record the work as the options of telemetry say."""
    import telemetry  # noqa: PLC0415  kept off the path of --help

    with ExitStack() as stack:
        if folder:
            try:
                stack.enter_context(telemetry.to_directory(Path(folder)))
            except OSError as error:
                raise click.BadParameter(f"cannot write there: {error.strerror}", param_hint="--telemetry") from error
        spans = stack.enter_context(telemetry.collected_spans()) if trace else []
        yield
        if trace:
            click.echo(telemetry.waterfall(spans), err=True)


_PAGE_HEAD_BYTES = 512
PAGE_MARK = b'<meta name="generator" content="edge-model-packager report">'
"""Stands in the head of every page about a run; whatever else lies at its path may be the model itself."""


def _refuse_what_is_no_report(path: Path) -> None:
    """Let only a page or an empty file be replaced."""
    try:
        with path.open("rb") as file:
            begins = file.read(_PAGE_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise click.BadParameter(
            f"{printable(path)!r} is there already and cannot be read: {error.strerror}. Name another file.",
            param_hint="--report",
        ) from error
    if begins and PAGE_MARK not in begins:
        raise click.BadParameter(
            f"{printable(path)!r} is there already and is no report of a former run, so it is not replaced. "
            "Name another file, or remove this one.",
            param_hint="--report",
        )


class RunReport:
    """The page about a run, if one is wanted: what is recorded for it, and whether it could be written."""

    def __init__(self, name: str | None) -> None:
        self._path = path = Path(name) if name is not None else None
        self._recording: RunRecording | None = None
        self.failed = False
        if path is None:
            return
        if not path.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no folder for {printable(path)!r}", param_hint="--report")
        if path.exists() and not path.is_file():  # a device would be replaced by a file
            raise click.BadParameter(f"{printable(path)!r} is no file", param_hint="--report")
        _refuse_what_is_no_report(path)
        from packager.report.recording import RunRecording  # noqa: PLC0415  kept off the path of --help

        self._recording = RunRecording()

    @property
    def recording(self) -> RunRecording | nullcontext[None]:
        """What to be in while the work is done."""
        return self._recording or nullcontext()

    def on_progress(self, inner: OnProgress | None) -> OnProgress | None:
        return self._recording.on_progress(inner) if self._recording else inner

    def write(self, result: PackageResult, title: str) -> None:
        """Write the page, whole or not at all; a failure is said on standard error."""
        if self._path is None or self._recording is None:
            return
        from packager.os_errors import written_whole  # noqa: PLC0415  kept off the path of --help
        from packager.report.page import render_report  # noqa: PLC0415  same

        try:
            with written_whole(self._path.absolute()) as file:
                file.write(render_report(self._recording, result, title))
        except OSError as error:  # ours are OSErrors too
            reason = error.message if isinstance(error, StoreError) else error
            click.echo(f"Error: The report was not written: {reason}", err=True)
            self.failed = True
