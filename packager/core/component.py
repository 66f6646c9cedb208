"""Making one component: its name, its entries, its check against the device's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from posixpath import basename
from typing import TYPE_CHECKING, Any, Self

from packager.core.members import ArchiveReader, Member
from packager.core.pipeline import File, Lookahead, zip_bytes
from packager.core.zip import Piece, ZipEncoder
from packager.device import rules
from packager.device.listing import MANIFEST, ComponentListing, Entry
from packager.errors import ExtractionError, RequestError
from packager.model.identity import component_identity, component_key
from packager.model.manifest import EXPORTS, for_compiled_onnx, is_onnx, render, stage_types
from packager.model.targets import COMPILED_ONNX as COMPILED_ONNX_TARGET
from telemetry import add, carrying, catalog, current, observe

if TYPE_CHECKING:
    from packager.model.targets import Target
    from packager.model.trained import ManifestSource
    from packager.results import Finding
    from packager.settings import Settings
    from packager.stores import Sink, Source, StoredComponent
    from telemetry import Step

COMPILED, COMPILED_ONNX, IMPORTED_ONNX = "compiled", "compiled onnx", "imported onnx"
"""How the entries of a component are arranged; part of its identity."""

Members = Callable[[], AbstractContextManager[tuple[Iterator[Member], Callable[[], int]]]]
"""Opens an artifact: its members in order, and how many of its packed bytes have been read so far."""


@dataclass(frozen=True, slots=True)
class Component:
    """What one component is made from, and for whom.

    Attributes:
        label: the compile target it was asked for as.
        targets: the targets it serves.
        source: the artifact that its files come from.
        layout: one of COMPILED, COMPILED_ONNX, IMPORTED_ONNX.
        manifest_source: where its manifest comes from.
    """

    label: str
    targets: tuple[Target, ...]
    source: Source
    layout: str
    manifest_source: ManifestSource

    def identity(self) -> str:
        """The full identity: 64 hex digits that decide every byte of the component."""
        manifest = self.manifest_source.stands_for_manifest  # first: what it fails with, every component fails with
        return component_identity([self.source.identity().marks], manifest, self.layout)


def layout_of(compile_target: str, *, imported: bool = False) -> str:
    if compile_target.startswith(COMPILED_ONNX_TARGET):
        return COMPILED_ONNX
    return IMPORTED_ONNX if imported else COMPILED


class IdentityLookup:
    """The key and identity of a component. A file's are worked out in a thread while it is already being packaged."""

    def __init__(self, component: Component, sink: Sink, *, look: bool) -> None:
        self._sink = sink
        self._look = look
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="identity")
        self._identity: Future[str] = self._pool.submit(carrying(component.identity))
        if component.source.identity_is_at_hand:
            self._identity.exception()  # waits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def resolve(self) -> tuple[str, str]:
        """Key and identity; waits for them."""
        identity = self._identity.result()
        return component_key(identity), identity

    def found(self) -> StoredComponent | None:
        """The very component, if it is there already. Looks once, as soon as the identity is known; never waits."""
        if not self._look or not self._identity.done():
            return None
        self._look = False
        key, identity = self.resolve()
        there = self._sink.find(key)
        return there if there and there.identity == identity else None


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a component.

    Attributes:
        stored: where it is.
        new: whether it was written just now; else it was there.
        files: how many entries were written.
        read_bytes: packed bytes read for them.
        findings: the device's rules that it breaks.
    """

    stored: StoredComponent
    new: bool = False
    files: int = 0
    read_bytes: int = 0
    findings: Sequence[Finding] = ()


def make_component(  # noqa: PLR0913  what a run lends to each of its components, by name
    component: Component,
    name: IdentityLookup,
    sink: Sink,
    members: Members,
    *,
    settings: Settings,
    strict: bool,
    report: Callable[[int, int], None],
    lookahead: Lookahead,
    measured: Callable[[Step | None], AbstractContextManager[None]],
) -> Made:
    """Write the component, or find half-way that it is there already and leave it alone.

    `measured` wraps a step so that it tells what scratch held; `report` is told packed bytes read and files done after
    every chunk, and what it raises ends the work without a trace.
    """
    manifest = _manifest(component, settings)
    head = render(manifest)
    encoder = ZipEncoder()
    with (
        members() as (found, packed_bytes),
        sink.open(name.resolve) as upload,
        measured(current()),
        observe(catalog.ZIP_COMPONENT) as step,
        measured(step),
    ):
        files = _arranged(component, manifest, found)
        with closing(zip_bytes(files, encoder, [Piece(MANIFEST, len(head), head, last=True)], lookahead)) as chunks:
            for chunk in chunks:
                upload.write(chunk)
                if there := name.found():
                    return Made(there)
                report(packed_bytes(), len(encoder.entries))
        step.add(files=len(encoder.entries), bytes_in=encoder.bytes_in, bytes_out=encoder.bytes_out)
        findings = _checked(component, encoder, head, name, strict=strict)
        if there := name.found():  # by now the identity is known, however long it took beside a short artifact
            return Made(there)
        report(packed_bytes(), len(encoder.entries))
        stored = upload.commit()
        read_bytes = packed_bytes()
    add(bytes_in=read_bytes, files=len(encoder.entries), ratio=encoder.bytes_out / encoder.bytes_in)
    return Made(stored, new=True, files=len(encoder.entries), read_bytes=read_bytes, findings=findings)


@contextmanager
def streamed_members(source: Source, settings: Settings) -> Iterator[tuple[Iterator[Member], Callable[[], int]]]:
    """The members as they come from the store; a hard link among them is StagingNeededError."""
    with source.open() as reader:
        archive = ArchiveReader(reader, settings)
        yield archive.files(), lambda: archive.packed_bytes


def _manifest(component: Component, settings: Settings) -> dict[str, Any]:
    manifest = component.manifest_source.manifest
    if component.layout == COMPILED_ONNX:
        return for_compiled_onnx(manifest, _first_onnx_name(component.source, settings))
    if is_onnx(manifest) != (component.layout == IMPORTED_ONNX):
        raise RequestError(
            "The trained artifact is an imported ONNX model, which takes no compiled artifact."
            if is_onnx(manifest)
            else "The trained artifact is a model that has to be compiled, and no compiled artifact is named.",
            next_step="Name the compiled artifact of each target for a trained model, none for an imported ONNX model.",
            field="compiled",
        )
    return manifest


def _first_onnx_name(source: Source, settings: Settings) -> str:
    """The manifest comes first in the component and names the model's file, so that is looked for beforehand."""
    with source.open() as reader:
        for member in ArchiveReader(reader, settings).files_and_links():
            if member.path.endswith(".onnx"):
                return basename(member.path)
    raise ExtractionError(
        "The compiled artifact holds no .onnx file.", next_step="Export the model as ONNX again, and pack the export."
    )


def _arranged(component: Component, manifest: Mapping[str, Any], members: Iterator[Member]) -> Iterator[File]:
    """The files of the component where devices look for them: below a folder named after the first stage's type."""
    folder = stage_types(manifest)[0]
    count = 0
    for member in members:
        path = member.path
        if component.layout == IMPORTED_ONNX:
            if count or basename(path) != manifest["runtime_artifact"] or not path.startswith(EXPORTS):
                continue
            path = basename(path)
        count += 1
        yield f"{folder}/{path}", member.size_bytes, member.readinto
    if not count:
        raise ExtractionError(
            "The artifact holds no file for the component.",
            next_step="Compile the model again; an empty component would fail on every device.",
        )


def _checked(
    component: Component, encoder: ZipEncoder, head: bytes, name: IdentityLookup, *, strict: bool
) -> list[Finding]:
    listing = ComponentListing(
        file_name=basename(name.resolve()[0]),
        size_bytes=encoder.bytes_out,
        entries=tuple(
            Entry(each.name, each.size_bytes, each.packed_bytes, each.method, each.flags) for each in encoder.entries
        ),
        manifest=head,
    )
    with observe(catalog.CHECK_COMPONENT, strict=strict) as step:
        findings = rules.check(listing, component.targets[0])
        step.add(findings=len(findings))
        rules.refuse_if_strict(findings, strict=strict)
    return findings
