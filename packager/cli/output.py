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


def show(what: dict[str, Any] | str, *, err: bool = False) -> None:
    text = what if isinstance(what, str) else json.dumps(what, indent=2, allow_nan=False)
    if err:
        click.echo(text, err=True)
    else:
        write(f"{text}\n")


def write(what: str | bytes) -> None:
    """Write to standard output, or exit as `written` does."""
    with written():
        click.echo(what, nl=False)


@contextmanager
def written() -> Iterator[None]:
    """Exit with FAILED and one line when what the block prints cannot be written, as on a full disk."""
    try:
        yield
    except OSError as error:
        # EPIPE: whoever read has gone, which click knows how to end. Others that name a file are not of the output.
        if error.errno == errno.EPIPE or error.filename is not None or isinstance(error, PackagerError):
            raise
        # What could not be written is still buffered, and would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        click.echo(f"Error: Standard output cannot be written: {error.strerror}.", err=True)
        sys.exit(FAILED)


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
        show({**document, "error": error.as_dict()})
    click.echo(f"Error: {error}", err=True)
    sys.exit(status)


@contextmanager
def progress(*, quiet: bool = False, verbose: bool = False) -> Iterator[OnProgress | None]:
    """Progress on standard error: bars for people at a terminal, a line now and then for a log."""
    if quiet:
        yield None
    elif verbose or not sys.stderr.isatty():
        from packager.cli.progress_lines import ProgressLines  # noqa: PLC0415  kept off the path of --help

        yield ProgressLines(phases=verbose)
    else:
        from packager.cli.progress import ProgressBars  # noqa: PLC0415  rich takes a third of the start-up time

        with ProgressBars() as bars:
            yield bars


def warn(findings: Iterable[Finding]) -> None:
    """Say findings that refuse nothing, on standard error."""
    for each in findings:
        click.echo(finding_line(each), err=True)
