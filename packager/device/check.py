"""A finished component looked at from outside: would a device take it, and how is it published."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from posixpath import basename
from typing import TYPE_CHECKING, BinaryIO, cast

from packager.device import rules
from packager.device.listing import ComponentListing, Entry
from packager.device.recipe import Artifact
from packager.model import targets
from packager.stores import Stores
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from packager.core.zip import ZipEncoder
    from packager.model.targets import Target
    from packager.results import Finding
    from packager.settings import Settings
    from packager.stores import Source
    from telemetry import Step

_HASH_BYTES = 1 << 20


def check_component(  # noqa: PLR0913  every choice of a call, by name
    uri: str | Path,
    target: str | None = None,
    *,
    strict: bool = False,
    settings: Settings | None = None,
    stores: Stores | None = None,
    client: S3Client | None = None,
    endpoint_url: str | None = None,
) -> list[Finding]:
    """Every rule of the device that the component breaks; every byte of it is read against its checksum.

    Errors: ExtractionError when it is damaged or no ZIP, RequestError for an unknown target, ComponentRefusedError in
    strict mode, StoreError and its kinds.
    """
    known = targets.target(target) if target else None
    source = (stores or Stores(client, endpoint_url)).source(str(uri))
    return check(source, known, strict=strict, settings=settings, verify=True)


def check(
    source: Source, target: Target | None, *, strict: bool, settings: Settings | None = None, verify: bool = False
) -> list[Finding]:
    """As check_component, which it is without `verify` but for the bytes: only directory and manifest are read."""
    with observe(catalog.CHECK_COMPONENT, strict=strict, source=source.uri) as step:
        from packager.device.component_zip import read_listing  # noqa: PLC0415  zipfile is kept off the path of packaging

        with _seekable(source) as file:
            listing = read_listing(file, source.uri, verify=verify, settings=settings)
        return _findings(listing, target, step, strict=strict)


def check_written(key: str, written: ZipEncoder, manifest: bytes, target: Target, *, strict: bool) -> list[Finding]:
    """As check_component for a component that was just written and is not visible yet; `manifest` is its manifest."""
    listing = ComponentListing(
        file_name=basename(key),
        size_bytes=written.bytes_out,
        entries=tuple(
            Entry(each.name, each.size_bytes, each.packed_bytes, each.method, each.flags) for each in written.entries
        ),
        manifest=manifest,
    )
    with observe(catalog.CHECK_COMPONENT, strict=strict) as step:
        return _findings(listing, target, step, strict=strict)


def _findings(listing: ComponentListing, target: Target | None, step: Step, *, strict: bool) -> list[Finding]:
    findings = rules.check(listing, target)
    step.add(findings=len(findings))
    rules.refuse_if_strict(findings, strict=strict)
    return findings


def published_artifact(uri: str, stores: Stores, published_as: str | None = None) -> Artifact:
    """What a recipe says of the component at `uri`: its digest and size, and the S3 URI that it is published as."""
    source = stores.source(uri)
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_HASH_BYTES))
    with source.open() as reader:
        while count := reader.readinto(buffer):
            digest.update(buffer[:count])
    return Artifact(published_as or uri, digest.hexdigest(), source.size_bytes())


@contextmanager
def _seekable(source: Source) -> Iterator[BinaryIO]:
    from packager.device.component_zip import RangedFile  # noqa: PLC0415  same

    with RangedFile(source.read_range, source.size_bytes()) as file:
        yield cast("BinaryIO", file)
