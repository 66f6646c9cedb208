"""A finished component looked at from outside: would a device take it, and how is it published."""

from __future__ import annotations

import hashlib
import time
import zlib
from functools import partial
from posixpath import basename
from typing import TYPE_CHECKING

from packager.core.splice import Part
from packager.core.zip import STORED, Whole
from packager.deadline import time_limit
from packager.device import rules
from packager.device.listing import HEAD_BYTES, CheckedComponent, ComponentEntry, ComponentListing, holds_head
from packager.errors import ArtifactNotFoundError, OutOfTimeError, RequestError, StoreError, printable
from packager.model import targets
from packager.model.manifest import MANIFEST, is_onnx
from packager.settings import FILES_LAYOUT, MODEL_LAYOUT, Settings, from_process_environment
from packager.stores import Stores
from packager.stores.archive import COMPONENT, naming
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from packager.core.pipeline import File
    from packager.core.splice import End
    from packager.core.zip import Packed, ZipEncoder, ZipEntry
    from packager.device.recipe import Artifact
    from packager.model.targets import Target
    from packager.results import Finding
    from packager.stores import Source
    from telemetry import Step

_HASH_BYTES = 1 << 20
_ASK_S = 15
"""How long a bucket is waited for that may not be reachable from here."""

_OF_ANOTHER_KIND = frozenset({"target-runtime", "library-machine"})


def check_component(  # noqa: PLR0913  every choice of a call, by name
    uri: str | Path,
    target: str | None = None,
    *,
    strict: bool = False,
    settings: Settings | None = None,
    stores: Stores | None = None,
    client: S3Client | None = None,
    endpoint_url: str | None = None,
    layout: str = MODEL_LAYOUT,
) -> list[Finding]:
    """Every rule of the device that the component breaks; every byte of it is read against its checksum.

    In the layout `files`, the rules of Greengrass alone. Errors: ExtractionError when it is damaged or no ZIP,
    RequestError for an unknown target, ComponentRefusedError in strict mode, StoreError and its kinds.
    """
    if layout == FILES_LAYOUT and target:
        raise RequestError(
            "The layout `files` is for no target.", next_step="Leave out the target or the layout.", field="target"
        )
    known = targets.target(target) if target else targets.NO_TARGET if layout == FILES_LAYOUT else None
    source = (stores or Stores(client, endpoint_url)).source(str(uri))
    return check(source, known, strict=strict, settings=settings, verify=True)


def check(
    source: Source, target: Target | None, *, strict: bool, settings: Settings | None = None, verify: bool = False
) -> list[Finding]:
    """As check_component, which it is without `verify` but for the bytes: only directory and manifest are read."""
    with observe(catalog.CHECK_COMPONENT, strict=strict, source=source.uri) as step:
        return _findings(read(source, settings, verify=verify), target, step, strict=strict)


def read(source: Source, settings: Settings | None = None, *, verify: bool = False) -> ComponentListing:
    """What a finished component holds, as `read_listing`; errors name it."""
    from packager.device.component_zip import read_listing  # noqa: PLC0415  kept off the path of packaging

    settings = settings or from_process_environment()
    with naming(source, COMPONENT):
        return read_listing(source.read_range, source.size_bytes(), source.uri, settings, verify=verify)


class Written:
    """A component while it is being written: what the rules ask of it, besides what its directory will tell."""

    def __init__(self, manifest: bytes | None) -> None:
        self._manifest = manifest
        self._heads: dict[str, bytes] = {}

    def watch(self, files: Iterator[File]) -> Iterator[File]:
        """The files, of which the beginnings of libraries are remembered while they are read."""
        for file in files:
            yield self._watched(file) if holds_head(file.name) else file

    def _watched(self, file: File) -> File:
        self._heads[file.name] = b""
        splice, packed = file.splice, file.packed
        return file._replace(
            readinto=partial(self._read, file),
            splice=partial(self._spliced, file.name, splice) if splice else None,
            packed=partial(self._packed, packed) if packed else None,
        )

    def _remember(self, name: str, content: bytes | bytearray | memoryview) -> None:
        if len(self._heads[name]) < HEAD_BYTES:
            self._heads[name] = (self._heads[name] + bytes(content[:HEAD_BYTES]))[:HEAD_BYTES]

    def _read(self, file: File, buffer: memoryview) -> int:
        count = file.readinto(buffer)
        self._remember(file.name, buffer[:count])
        return count

    def _spliced(self, name: str, splice: Callable[[], Iterator[Part | End]]) -> Iterator[Part | End]:
        inflate = zlib.decompressobj(-15)
        for part in splice():
            if isinstance(part, Part) and len(self._heads[name]) < HEAD_BYTES:
                self._remember(name, part.data if part.to_pack else inflate.decompress(part.data, HEAD_BYTES))
            yield part

    def _packed(self, packed: Callable[[str], Iterator[Packed]], name: str) -> Iterator[Packed]:
        inflate = zlib.decompressobj(-15)
        for item in packed(name):
            if isinstance(item, Whole | Part) and len(self._heads[name]) < HEAD_BYTES:
                is_stored = isinstance(item, Whole) and item.method == STORED
                self._remember(name, item.data if is_stored else inflate.decompress(item.data, HEAD_BYTES))
            yield item

    def check(self, key: str, written: ZipEncoder, target: Target, *, strict: bool) -> list[Finding]:
        """As check_component, for what was written and is not visible yet."""
        listing = ComponentListing(
            file_name=basename(key),
            size_bytes=written.bytes_out,
            entries=map(self._entry, written.entries),
            manifest=self._manifest,
        )
        with observe(catalog.CHECK_COMPONENT, strict=strict) as step:
            return _findings(listing, target, step, strict=strict)

    def _entry(self, entry: ZipEntry) -> ComponentEntry:
        head = self._heads.get(entry.name)
        return ComponentEntry(entry.name, entry.size_bytes, entry.packed_bytes, entry.method, entry.flags, head=head)


def _findings(listing: ComponentListing, target: Target | None, step: Step, *, strict: bool) -> list[Finding]:
    findings = rules.check(listing, target)
    step.add(findings=len(findings))
    rules.refuse_if_strict(findings, strict=strict)
    return findings


def published_artifact(
    uri: str, target: Target | None, stores: Stores, published_as: str | None = None, settings: Settings | None = None
) -> Artifact:
    """What a recipe says of the component at `uri`: its digest and size, and the S3 URI that it is published as.

    ExtractionError for a component that is damaged. RequestError for one of another kind than a target's, and for a
    `published_as` that is not there or holds something else; it is not held against a bucket that cannot be read.
    """
    from packager.device import recipe  # noqa: PLC0415  kept off the path of packaging

    source = stores.source(uri)
    listing = read(source, settings, verify=True)
    if target:
        _refuse_other_kind(listing, target)
    artifact = recipe.Artifact(published_as or uri, sha256_of(source), source.size_bytes())
    if published_as:
        (recipe.check_artifact if target else recipe.check_publishable)(artifact)
        _check_published(artifact, stores.source(published_as))
    elif not target:
        recipe.check_publishable(artifact)
    return artifact


def _refuse_other_kind(listing: ComponentListing, target: Target) -> None:
    component = CheckedComponent(listing, target)
    wrong = [each.message for each in rules.check(listing, target) if each.rule in _OF_ANOTHER_KIND]
    if listing.manifest is None:
        wrong.append(f"It has no readable {MANIFEST} at its root, as every model for this target has.")
    served = (*targets.SERVED_BY_COMPILED_ONNX, *targets.SERVED_BY_IMPORTED_ONNX)
    if is_onnx(component.manifest) and target not in served:
        wrong.append("The component holds an ONNX model, which this target does not run.")
    if wrong:
        raise RequestError(
            f"The component is not made for {target.name}: {' '.join(wrong)}",
            next_step="Name the target that the component was packaged for, or the component of this target.",
            field="target",
            found=target.name,
        )


def _check_published(artifact: Artifact, there: Source) -> None:
    """Hold what lies where the recipe says against the component."""
    started = time.monotonic()
    try:
        with time_limit(lambda: _ASK_S - (time.monotonic() - started)):
            same = there.size_bytes() == artifact.size_bytes
        same = same and sha256_of(there) == artifact.sha256
    except ArtifactNotFoundError:
        raise _not_published(artifact, "There is nothing at") from None
    except (StoreError, OutOfTimeError) as error:
        log("warning", "published artifact not checked", error_type=type(error).__name__, error=error.message)
        return
    if not same:
        raise _not_published(artifact, "Another file than the component is at")


def _not_published(artifact: Artifact, what: str) -> RequestError:
    uri = printable(artifact.uri, 1000)
    return RequestError(
        f"{what} {uri}, where the component is said to be published.",
        next_step="Upload the very ZIP there first (aws s3 cp), and then make the recipe.",
        field="published_as",
        found=uri,
    )


def sha256_of(source: Source) -> str:
    """The SHA-256 of what lies there, in hexadecimal; all of it is read."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_HASH_BYTES))
    with source.open() as reader:
        while count := reader.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()
