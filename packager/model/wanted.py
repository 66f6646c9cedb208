"""What a call asks for, by layout, and the components that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packager.core.ports import KEYS_BEGIN_WITH
from packager.errors import RequestError, printable
from packager.model.layouts import Component, components_of
from packager.model.trained import TrainedArtifact
from packager.settings import FILES_LAYOUT, MODEL_LAYOUT
from packager.stores.address import path_within
from packager.stores.archive import ARCHIVE, Archive, Exclusions, patterns
from packager.stores.standard_streams import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from packager.core.ports import Sink
    from packager.results import ProcessingState
    from packager.settings import Settings
    from packager.stores import Stores

_COMPONENTS = KEYS_BEGIN_WITH.partition("/")[0]
"""The folder of all components below an output."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call names; see `packager.packaging.package`."""

    model: str
    compiled: Mapping[str, str]
    imported_targets: Sequence[str] = ()
    exclude: Sequence[str] = ()
    model_file: str | None = None
    layout: str = MODEL_LAYOUT
    name: str | None = None
    version: str | None = None
    prefix: str = ""
    output: str = ""

    def components(
        self,
        stores: Stores,
        settings: Settings,
        report: Callable[[ProcessingState], None],
        prepared_at: Sink | None = None,
    ) -> list[Component]:
        """The components to be made; nothing is read yet. A kept manifest is looked for at `prepared_at`.

        RequestError for what cannot be.
        """
        self._check(is_prepared=prepared_at is not None)
        if self.layout == FILES_LAYOUT:
            from packager.model.any_files import component_of_files  # noqa: PLC0415  the other layout needs none of it

            archive = Archive(stores.model(self.model, settings), ARCHIVE, patterns(self.exclude), of_any_kind=True)
            self._check_output(archive.exclude)
            return [component_of_files(archive, self.name or "", self.version or "", self.prefix)]
        model = TrainedArtifact(stores.source(self.model), settings, report=report, exclude=patterns(self.exclude))
        if prepared_at is None:
            return components_of(model, self.compiled, stores, self.imported_targets, model, self.model_file)
        from packager.model.prepared import PreparedManifest  # noqa: PLC0415  few calls have one

        manifest_source = PreparedManifest(model, prepared_at, stores.source)
        return components_of(model, self.compiled, stores, self.imported_targets, manifest_source, self.model_file)

    def _check(self, *, is_prepared: bool) -> None:
        if self.layout != MODEL_LAYOUT:
            from packager.model.any_files import check_layout  # noqa: PLC0415  most calls name none

            check_layout(self.layout)
        if self.layout == FILES_LAYOUT and (self.compiled or self.imported_targets or self.model_file or is_prepared):
            raise RequestError(
                "The layout `files` takes no compiled artifacts, targets, model file or prepared manifest.",
                next_step="Name the model alone: its files go into one component as they are.",
                field="layout",
            )
        if self.layout == MODEL_LAYOUT and (self.name or self.version or self.prefix):
            raise RequestError(
                "A name, a version and a prefix belong to the layout `files`.",
                next_step="Ask for the layout `files`, or leave them out.",
                field="layout",
            )

    def _check_output(self, exclude: Sequence[str]) -> None:
        """A component that lies among the files of its model would be a part of the next one."""
        if not self.output or STREAM in (self.output, self.model):
            return
        below = path_within(self.output, self.model)
        if below is not None and not Exclusions(exclude).cover(f"{below}/{_COMPONENTS}".removeprefix("./")):
            raise RequestError(
                f"The output {printable(self.output)!r} lies among the files of the model {printable(self.model)!r}.",
                next_step="Give another output, or leave it out of the component: exclude its folder.",
                field="output",
            )
