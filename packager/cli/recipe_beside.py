"""The recipe that `package --recipe` writes beside a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from packager.cli.output import warn
from packager.errors import PackagerError, StoreError, printable
from packager.settings import FILES_LAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packager.results import PackageResult


class RecipeBeside:
    """A recipe from a template, if one is wanted; `wanted` holds the options name, version and stores."""

    def __init__(self, template: str | None, layout: str, wanted: Mapping[str, Any]) -> None:
        if template is not None and layout != FILES_LAYOUT:
            raise click.UsageError(f"--recipe does not belong to --layout {layout}: see `packager recipe`.")
        self._named = template
        self._wanted = wanted
        self._uri: str | None = None
        self._template: Any = None
        self._is_json = False
        self.failed = False

    def check(self) -> None:
        """RequestError, before anything is packaged, for a template that no recipe can come of."""
        if self._named is None:
            return
        from packager.device.recipe_template import read_template  # noqa: PLC0415  kept off the path of --help
        from packager.publishing.beside import check_template  # noqa: PLC0415  same

        try:
            self._template, self._is_json = read_template(self._named, self._wanted["stores"])
        except StoreError as error:
            raise click.BadParameter(str(error), param_hint="--recipe") from error
        check_template(self._template, self._wanted["name"] or "", self._wanted["version"] or "")

    def write(self, result: PackageResult) -> None:
        """Write it when there is a component; a failure is said on standard error."""
        if self._named is None or not result.components or result.components[0].uri is None:
            return
        from packager.publishing.beside import write_recipe  # noqa: PLC0415  kept off the path of --help

        name, version, stores = (self._wanted[each] for each in ("name", "version", "stores"))
        try:
            self._uri, findings = write_recipe(
                self._template, self._is_json, result.components[0], name, version, stores
            )
        except PackagerError as error:
            click.echo(f"Error: The recipe was not written: {error}", err=True)
            self.failed = True
        else:
            warn(findings)

    def as_dict(self) -> dict[str, Any]:
        return {} if self._named is None else {"recipe": self._uri}

    def lines(self) -> Iterator[str]:
        if self._uri is not None:
            yield f"    {printable(self._uri, 1100)}"
