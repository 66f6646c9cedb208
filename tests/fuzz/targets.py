"""What is fuzzed: each target reads bytes of an outsider, and raises nothing but typed errors, which it swallows."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards.cloudwatch.alarm_files import Definitions, collect
from dashboards.cloudwatch.documents import load
from dashboards.cloudwatch.emf import EmfReader
from dashboards.cloudwatch.errors import DashboardError
from dashboards.cloudwatch.expressions import parse_expression
from dashboards.cloudwatch.insights import query
from dashboards.cloudwatch.lint import lint
from dashboards.cloudwatch.notation import parse_notation
from dashboards.cloudwatch.rules import parse_rule
from dashboards.cloudwatch.search import parse_search
from dashboards.cloudwatch.series import Store
from packager.core.gunzip import Gunzip, PackedCount
from packager.core.members import ArchiveReader
from packager.device.component_zip import read_listing
from packager.device.rules import check
from packager.errors import PackagerError
from packager.model.manifest import TrainedFacts, build_manifest, render, stage_types
from packager.model.targets import target
from packager.portal.api import is_api_event, package_call, route
from packager.portal.deliveries import messages
from packager.portal.events import compilation_ended, is_delivery, is_event_bridge_event, machine_call
from packager.settings import MIB, Settings
from tests import archives
from tests.fuzz import mutations
from tests.hostile import zips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from packager.device.listing import ComponentListing

CORPUS = Path(__file__).parent / "corpus"
SMALL = Settings(
    max_unpacked_bytes=4 * MIB, max_extension_header_bytes=MIB // 16, max_members=2000, max_names_bytes=MIB
)
"""Limits under which no execution takes long."""

Mutate = mutations.Mutate


@dataclass(frozen=True, slots=True)
class Target:
    """A reader of bytes, seeds that it accepts or refuses in words, and how inputs are made of them."""

    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate = mutations.mutate_bytes


def read_gzip(data: bytes) -> None:
    stream, inflated = Gunzip(PackedCount(archives.Chopped(data)), SMALL), bytearray()
    try:
        while piece := stream.read_exactly(1 << 16):
            inflated += piece
    except PackagerError:
        return
    assert gzip.decompress(data) == inflated, "what is taken is what another reader makes of it"


def read_tar(data: bytes) -> None:
    reader = ArchiveReader(archives.Chopped(archives.gz(data, levels=(0,))), SMALL)
    try:
        for member in reader.files_and_links():
            assert len(member.read()) == member.size_bytes or member.same_as
    except PackagerError:
        return


def read_zip(data: bytes) -> None:
    try:
        listing = read_listing(
            lambda offset, size: data[offset : offset + size], len(data), "a.zip", SMALL, verify=True
        )
        if check(listing, target("jetson-xavier")):
            return
    except PackagerError:
        return
    with suppress(NotImplementedError):  # the version that a reader must have, which no other reader looks at
        _assert_others_find_as_much(data, listing)


def _assert_others_find_as_much(data: bytes, listing: ComponentListing) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == len(listing.entries)


def read_manifest(data: bytes) -> None:
    """A configuration and a manifest, apart by a zero byte."""
    config, _, manifest = data.partition(b"\0")
    try:
        built, _ = build_manifest(TrainedFacts(config, manifest, "model.pt", ("export_artifacts/model.onnx",)))
        stage_types(built)
        json.loads(render(built, MIB))
    except PackagerError:
        return


def read_event(data: bytes) -> None:
    """A request of machines, of EventBridge, or messages that hold one."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        if is_event_bridge_event(event):
            compilation_ended(event)
        elif is_delivery(event):
            for message in messages(event):
                machine_call(message.request(), in_lambda=True)
        else:
            machine_call(event)
    except PackagerError:
        return


def read_request(data: bytes) -> None:
    """A request of the portal's API."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not is_api_event(event):
        return
    try:
        package_call(event, route(event))
    except PackagerError:
        return


def read_emf(data: bytes) -> None:
    for keeps_lines in (True, False):
        reader = EmfReader(Store(), keeps_lines=keeps_lines)
        for line in data.decode("utf-8", "replace").splitlines():
            reader.read(line, 0)
        reader.flush()


def read_alarms(data: bytes) -> None:
    """A template, an answer of the API, or a plan of Terraform, as JSON or YAML."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(data)
        try:
            found = Definitions()
            collect(found, load(Path(file.name)), "a.yaml", {})
            lint(found)
        except DashboardError:
            return


def read_expression(data: bytes) -> None:
    """The small languages: metric math, rules of composite alarms, searches, series, queries of logs."""
    text = data.decode("utf-8", "replace")
    for parse in (parse_expression, parse_rule, parse_search, parse_notation, _queried):
        try:
            parse(text)
        except DashboardError:
            continue


def _queried(text: str) -> object:
    return query(text, [{"@message": "a", "n": 1, "deep": {"x": [1, None]}}, {"@message": "", "n": "x"}])


@cache
def _corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def _small(data: dict[str, bytes]) -> list[bytes]:
    return [each for each in data.values() if len(each) < 20_000]


@cache
def _tars() -> list[bytes]:
    packed = [archives.compiled_model(), archives.trained_model(), *_small(archives.unsafe())]
    return [*map(gzip.decompress, packed[:120]), *_corpus("tar")]


@cache
def _gzips() -> list[bytes]:
    return [archives.compiled_model(b"x" * 9), *_small(archives.damaged()), *_corpus("gunzip")]


@cache
def _zips() -> list[bytes]:
    return [*_small(zips.sound()), *_small(zips.lying()), *_corpus("zip")]


def _of(name: str) -> Callable[[], list[bytes]]:
    return lambda: _corpus(name)


TARGETS = {
    "gunzip": Target(read_gzip, _gzips),
    "tar": Target(read_tar, _tars, mutations.mutate_tar),
    "zip": Target(read_zip, _zips),
    "manifest": Target(read_manifest, _of("manifest"), mutations.mutate_documents),
    "event": Target(read_event, _of("event"), mutations.mutate_json),
    "request": Target(read_request, _of("request"), mutations.mutate_json),
    "emf": Target(read_emf, _of("emf"), mutations.mutate_json),
    "alarms": Target(read_alarms, _of("alarms"), mutations.mutate_json),
    "templates": Target(read_alarms, _of("templates"), mutations.mutate_json),
    "expressions": Target(read_expression, _of("expressions"), mutations.mutate_text),
}
