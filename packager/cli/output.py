"""What commands print, and the status they end with."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from packager import settings
from packager.errors import PackagerError, RequestError, SettingsError
from packager.stores import s3_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from packager.results import Finding, OnProgress

FAILED = 1
WRONG_USE = 2
UNDECIDED = 3
"""A comparison could not be made, which is neither equal nor different."""


def show(what: dict[str, Any] | str, *, err: bool = False, unwritten: int = FAILED) -> None:
    """Print text or a document; exit with `unwritten` when standard output cannot be written."""
    text = what if isinstance(what, str) else json.dumps(what, indent=2, allow_nan=False)
    if err:
        click.echo(text, err=True)
    else:
        with written(unwritten):
            click.echo(text)


def write(what: str | bytes) -> None:
    """Write to standard output, or exit as `written` does."""
    with written():
        click.echo(what, nl=False)


@contextmanager
def written(status: int = FAILED) -> Iterator[None]:
    """Exit with `status` when what the block prints cannot be written; in one line, unless the reader has gone."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or isinstance(error, PackagerError):  # these are not of the output
            raise
        # What could not be written is still buffered, and would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if error.errno != errno.EPIPE:
            _say_error(f"Standard output cannot be written: {error.strerror}.")
        sys.exit(status)


def finding_line(finding: Finding) -> str:
    return f"warning: {finding.rule}: {finding.message} {finding.next_step}"


@contextmanager
def usage_errors(document: dict[str, Any] | None) -> Iterator[None]:
    """Exit with WRONG_USE for what cannot be asked for; with `document`, the error is printed in it as JSON.

    A setting that cannot be used is wrong use of every command, whether it reads that setting or not.
    """
    try:
        settings.from_process_environment()
        s3_options.from_process_environment()
        yield
    except (RequestError, SettingsError) as error:
        fail(error, WRONG_USE, document)


@contextmanager
def failures(*, as_json: bool, status: int = FAILED) -> Iterator[None]:
    """Exit with `status`, or WRONG_USE, for an error of the library."""
    document: dict[str, Any] | None = {} if as_json else None
    try:
        with usage_errors(document):
            yield
    except PackagerError as error:
        fail(error, status, document)


def fail(error: PackagerError, status: int, document: dict[str, Any] | None) -> NoReturn:
    if document is not None:
        show({**document, "error": error.as_dict()}, unwritten=status)
    _say_error(str(error))
    sys.exit(status)


def _say_error(message: str) -> None:
    """On standard error; where that cannot be written either, the exit status alone tells."""
    try:
        click.echo(f"Error: {message}", err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@contextmanager
def progress(*, quiet: bool = False, verbose: bool = False) -> Iterator[OnProgress | None]:
    """Progress on standard error: bars for people at a terminal, a line now and then for a log."""
    if quiet:
        yield None
    elif verbose or not sys.stderr.isatty():
        from packager.cli.progress_lines import ProgressLines  # noqa: PLC0415  kept off the path of --help

        with ProgressLines(phases=verbose) as lines:
            yield lines
    else:
        from packager.cli.progress import ProgressBars  # noqa: PLC0415  rich takes a third of the start-up time

        with ProgressBars() as bars:
            yield bars


def counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def warn(findings: Iterable[Finding]) -> None:
    """Say findings that refuse nothing, on standard error."""
    for each in findings:
        click.echo(finding_line(each), err=True)
