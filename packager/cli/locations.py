"""Paths and URIs on the command line: completed as names of files, and `-` refused where nothing can be piped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from packager.stores.standard_streams import STREAM

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Location(click.ParamType[str]):
    """A path or URI, as text.

    Args:
        takes_stream: whether `-` stands for standard input or output.
        is_folder: whether folders alone are offered.
    """

    name = "uri"

    def __init__(self, *, takes_stream: bool = False, is_folder: bool = False) -> None:
        self._takes_stream = takes_stream
        self._kind = "dir" if is_folder else "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401  click's
        if value == STREAM and not self._takes_stream:
            self.fail(
                "'-' is not taken here: this cannot be piped. Name a file; './-' is a file of this name.",
                param,
                ctx,
            )
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002  click's
        from click.shell_completion import CompletionItem  # noqa: PLC0415  kept off the path of all else

        return [CompletionItem(incomplete, type=self._kind)]
