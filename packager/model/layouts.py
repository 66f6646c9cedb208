"""Components to be made, and their layouts: which members of an artifact go where, behind which manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from posixpath import basename
from typing import TYPE_CHECKING, Any

from packager.core.component import Contents
from packager.core.names import safe_path
from packager.errors import ExtractionError, PackagerError, RequestError
from packager.model import targets
from packager.model.identity import component_identity, component_key
from packager.model.manifest import EXPORTS, MANIFEST, for_compiled_onnx, is_onnx, render, stage_types
from packager.model.model_file import (
    ENDING,
    ambiguous,
    is_wanted,
    may_be_external_data,
    only_model_file,
    refuse_taken_place,
)
from packager.stores.archive import COMPILED as COMPILED_ARTIFACT
from packager.stores.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from packager.core.component import ArtifactFile
    from packager.core.pipeline import File
    from packager.core.ports import Source
    from packager.model.targets import Target
    from packager.model.trained import ManifestSource, TrainedArtifact
    from packager.settings import Settings
    from packager.stores import Stores


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which the members of an artifact are arranged in a component.

    Attributes:
        name: part of the component's identity.
        manifest: the component's manifest, from the model's, and the path of the file that is the model where one is.
        select: the members that go along, each with its path below the folder of the first stage. Into the list go
            the paths of what may be the model's external data, where it would not find that.
    """

    name: str
    manifest: Callable[[dict[str, Any], Component, Settings], tuple[dict[str, Any], str | None]]
    select: Callable[
        [Mapping[str, Any], str | None, Iterator[ArtifactFile], list[str]], Iterator[tuple[str, ArtifactFile]]
    ]


@dataclass(frozen=True, slots=True)
class Arranged(Contents):
    """What goes into a component; `files` fills `parted` with what the model may load and is parted from."""

    parted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Component:
    """What one component is made from, and for whom.

    Attributes:
        label: the compile target it was asked for as.
        targets: the targets it serves.
        archive: the artifact that its files come from.
        layout: how they are arranged.
        manifest_source: where its manifest comes from; None when it needs none.
        model_file: path or name of the ONNX model in the artifact, where that holds several.
        prefix: the folder that its files lie below, where no manifest names one.
    """

    label: str
    targets: tuple[Target, ...]
    archive: Archive
    layout: Layout
    manifest_source: ManifestSource | None
    model_file: str | None = None
    prefix: str = ""

    @property
    def folders_above(self) -> int:
        """How many folders of its own a component puts above the paths of the artifact."""
        return 1 if self.manifest_source else len(self.prefix.split("/")) if self.prefix else 0

    @property
    def source(self) -> Source:
        return self.archive.source

    def identify(self) -> tuple[str, str]:
        """Its key, and its full identity: 64 hex digits that decide every byte of it."""
        # The manifest's first: when the trained artifact cannot be read, all components fail with the same error.
        manifest_identity = self.manifest_source.manifest_identity if self.manifest_source else None
        exclude = list(self.archive.exclude)
        choice = self.model_file or self.prefix
        chosen = [exclude, choice or None] if exclude or choice else []
        identity = component_identity([self.archive.marks()], manifest_identity, self.layout.name, chosen)
        return component_key(identity), identity

    def contents(self, settings: Settings) -> Arranged:
        """What goes into it. Errors: those of its manifest, and RequestError when that is of another kind of model."""
        if self.manifest_source is None:
            return Arranged([], partial(_files, self.layout, {}, None, self.prefix, []))
        manifest, model_file = self.layout.manifest(self.manifest_source.manifest, self, settings)
        head = render(manifest, settings.max_manifest_bytes)
        folder = stage_types(manifest)[0]  # where devices look for the files
        parted: list[str] = []
        files = partial(_files, self.layout, manifest, model_file, folder, parted)
        return Arranged([(MANIFEST, head)], files, parted)

    def packed_bytes(self) -> int:
        """The size of its artifact; 0 when it cannot be had, an error that making the component will raise."""
        try:
            return self.source.size_bytes()
        except PackagerError:
            return 0


def components_of(  # noqa: PLR0913, PLR0917  what a call names
    model: TrainedArtifact,
    compiled: Mapping[str, str],
    stores: Stores,
    imported_targets: Sequence[str] = (),
    manifest_source: ManifestSource | None = None,
    model_file: str | None = None,
) -> list[Component]:
    """One component for each compiled artifact, or one for an imported model. RequestError for a wrong target.

    The manifest comes from `manifest_source`, by default the model itself. What is left out of the trained artifact is
    left out of the compiled ones.
    """
    manifest_source = manifest_source or model
    if imported_targets and compiled:
        raise RequestError(
            "Targets of an imported model were named together with compiled artifacts.",
            next_step="Name either the compiled artifact of each target, or the targets of an imported ONNX model.",
            field="targets",
        )
    if not compiled:
        named = dict.fromkeys(targets.target(name) for name in imported_targets)
        served = tuple(named) or targets.SERVED_BY_IMPORTED_ONNX
        label = served[0].name
        return [Component(label, served, model.archive, layout_of(label, imported=True), manifest_source, model_file)]
    return [
        Component(
            target,
            targets.served_by(target),
            Archive(stores.source(uri), COMPILED_ARTIFACT, model.archive.exclude),
            layout_of(target),
            manifest_source,
            model_file,
        )
        for target, uri in compiled.items()
    ]


def layout_of(compile_target: str, *, imported: bool = False) -> Layout:
    """The layout for the artifact of a compile target, or for an imported model."""
    if compile_target.startswith(targets.COMPILED_ONNX):
        return COMPILED_ONNX
    return IMPORTED_ONNX if imported else COMPILED


def _files(  # noqa: PLR0913, PLR0917  what a layout goes by
    layout: Layout,
    manifest: Mapping[str, Any],
    model_file: str | None,
    folder: str,
    parted: list[str],
    members: Iterator[ArtifactFile],
) -> Iterator[File]:
    """The files of a component, below its folder."""
    empty = True
    for path, member in layout.select(manifest, model_file, members, parted):
        empty = False
        yield member.as_file(safe_path(f"{folder}/{path}") if folder else path)  # together they can be too long
    if empty:
        raise ExtractionError(
            "The artifact holds no file for the component.",
            next_step="Make the artifact again, or exclude less; an empty component would fail on every device.",
        )


def _every_file(
    _: Mapping[str, Any], model_file: str | None, members: Iterator[ArtifactFile], parted: list[str]
) -> Iterator[tuple[str, ArtifactFile]]:
    """Every file under its own path, but the model's: devices look for that at the top."""
    moved = model_file or ""
    for each in members:
        if "/" in moved and may_be_external_data(each.path, moved):
            parted.append(each.path)
        yield basename(each.path) if each.path == model_file else each.path, each


def _runtime_artifact(
    manifest: Mapping[str, Any], model_file: str | None, members: Iterator[ArtifactFile], parted: list[str]
) -> Iterator[tuple[str, ArtifactFile]]:
    """The export that the manifest names; the others are read past, to the archive's checked end."""
    found: list[str] = []
    others: list[str] = []
    for member in members:
        path, name = member.path, basename(member.path)
        if name == manifest["runtime_artifact"] and path.startswith(EXPORTS) and is_wanted(path, model_file):
            if found:
                raise ambiguous([*found, path], model_file)
            found.append(path)
            yield name, member
        elif path.startswith(EXPORTS):
            others.append(path)
    parted += (path for path in others if found and may_be_external_data(path, found[0]))


def _no_manifest(_: dict[str, Any], __: Component, ___: Settings) -> tuple[dict[str, Any], None]:
    return {}, None


def _compiled_manifest(manifest: dict[str, Any], _: Component, __: Settings) -> tuple[dict[str, Any], None]:
    if is_onnx(manifest):
        raise _wrong_kind("The trained artifact is an imported ONNX model, which takes no compiled artifact.")
    return manifest, None


def _imported_manifest(
    manifest: dict[str, Any], component: Component, _: Settings
) -> tuple[dict[str, Any], str | None]:
    if not is_onnx(manifest):
        raise _wrong_kind("The trained artifact is a model that has to be compiled, and no compiled artifact is named.")
    return manifest, component.model_file


def _wrong_kind(message: str) -> RequestError:
    return RequestError(
        message,
        next_step="Name the compiled artifact of each target for a trained model, none for an imported ONNX model.",
        field="compiled",
    )


def _exported_manifest(
    manifest: dict[str, Any], component: Component, settings: Settings
) -> tuple[dict[str, Any], str]:
    """The manifest comes first in the component and names the model's file, so that is looked for beforehand."""
    paths: list[str] = []
    at_the_top: set[str] = set()
    with component.archive.open(settings) as archive:
        for each in archive.files_and_links():
            first, slash, _ = each.path.partition("/")
            if each.path.endswith(ENDING):
                paths.append(each.path)
            if slash and first.endswith(ENDING):
                at_the_top.add(first)
        path = only_model_file(paths, component.model_file)
        refuse_taken_place(path, at_the_top.union(paths))
    return for_compiled_onnx(manifest, basename(path)), path


COMPILED = Layout("compiled", _compiled_manifest, _every_file)
COMPILED_ONNX = Layout("compiled onnx", _exported_manifest, _every_file)
IMPORTED_ONNX = Layout("imported onnx", _imported_manifest, _runtime_artifact)
FILES = Layout("files", _no_manifest, _every_file)
