"""The group of all commands, which refuses wrong use with a document where `--json` asks for documents."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from packager.cli.output import WRONG_USE, show
from packager.errors import RequestError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LONGEST_MESSAGE = 2000
_ASKS_JSON = f"{__name__}.asks_json"


class JsonErrorsGroup(click.Group):
    """A group whose usage errors, of any command in it, go to standard output as JSON too when `--json` is given.

    click refuses wrong use before a command runs, so that no command can say it in its own form.
    """

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401  click's
    ) -> click.Context:
        asks_json = "--json" in _before_dashes(args)
        with _documented(None, asks_json=asks_json):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_ASKS_JSON] = asks_json
        return context

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's
        with _documented(ctx, asks_json=ctx.meta[_ASKS_JSON]):
            return super().invoke(ctx)


def _before_dashes(args: Sequence[str]) -> Sequence[str]:
    return args[: args.index("--")] if "--" in args else list(args)


@contextmanager
def _documented(group: click.Context | None, *, asks_json: bool) -> Iterator[None]:
    """Print the document of a usage error on its way to click, which says it on standard error and exits."""
    try:
        yield
    except click.ClickException as error:
        if asks_json:
            command = (group and group.invoked_subcommand) or ""
            show({**_shape(command), "error": _as_request_error(error, command).as_dict()}, unwritten=WRONG_USE)
        raise


def _shape(command: str) -> dict[str, Any]:
    """What a failed document of the command holds beside its error."""
    if command != "package":
        return {}
    from packager.results import PackageResult  # noqa: PLC0415  kept off the path of --help

    return PackageResult().as_dict()


def _as_request_error(error: click.ClickException, command: str) -> RequestError:
    parameter = getattr(error, "param", None)
    return RequestError(
        printable(error.format_message(), _LONGEST_MESSAGE),
        next_step=f"See '{f'packager {command}'.strip()} --help'.",
        field=parameter.name if parameter else None,
    )
