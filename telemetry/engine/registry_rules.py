"""Rules for a registry of semantic conventions, made from the description of its format: what Weaver would refuse.

https://github.com/open-telemetry/weaver/blob/main/schemas/semconv.schema.v2.json
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

MANIFEST = "manifest.yaml"
_STABILITIES = ("stable", "development", "alpha", "beta", "release_candidate")
_KINDS = ("internal", "client", "server", "producer", "consumer")
_INSTRUMENTS = ("counter", "updowncounter", "gauge", "histogram")
_TYPES = re.compile(r"(string|int|double|boolean)(\[\])?|any|template\[((string|int|double|boolean)(\[\])?|any)\]")
_SCHEMA_URL = re.compile(r"https?://[^/\s]+(/[^/\s]+)*/\d+(\.\d+)*[^/\s]*")
_UNIT = re.compile(r"1|%|(\{\w+\}|[A-Za-z]+)(/([A-Za-z]+|\{\w+\}))?")
_LEVELS = ("required", "recommended", "opt_in")
_CONDITIONS = ("conditionally_required", "recommended", "opt_in")
_ABOUT = ("brief", "stability", "note", "deprecated", "annotations")
_SIGNAL = (*_ABOUT, "attributes", "entity_associations", "requirement_level")

# Of each section: the key that names an entry, the other keys that it must have, and all keys that it may have.
_SECTIONS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "attributes": ("key", ("type",), ("type", "examples", *_ABOUT)),
    "metrics": ("name", ("unit", "instrument"), ("unit", "instrument", *_SIGNAL)),
    "spans": ("type", ("kind", "name"), ("kind", "name", *_SIGNAL)),
    "events": ("name", (), _SIGNAL),
}


def load(folder: Path) -> dict[str, Any]:
    """Return the documents of a folder by file name. Raises OSError, or ValueError when a file is no YAML."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            found[path.name] = yaml.safe_load(path.read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no YAML: {error}") from error
    return found


def faults(documents: Mapping[str, Any], imported: Collection[str] = ()) -> list[str]:
    """Return what is wrong with a registry, each finding with its file; empty when nothing is.

    `imported` are the attributes of the registries that it depends on.
    """
    found = [f"{MANIFEST}: {fault}" for fault in _manifest_faults(documents.get(MANIFEST))]
    entries: dict[str, list[dict[str, Any]]] = {section: [] for section in _SECTIONS}
    for name, document in documents.items():
        if name != MANIFEST:
            found += [f"{name}: {fault}" for fault in _file_faults(document, entries)]
    known = {entry["key"] for entry in entries["attributes"] if isinstance(entry.get("key"), str)} | set(imported)
    for section, (key, _, _) in _SECTIONS.items():
        names = [str(entry.get(key)) for entry in entries[section]]
        found += [f"{section}: {name} is there twice" for name, count in Counter(names).items() if count > 1]
        for entry in entries[section]:
            found += [f"{section}: {entry.get(key)}: {fault}" for fault in _entry_faults(section, entry, known)]
    return found


def _manifest_faults(manifest: object) -> Iterator[str]:
    if not isinstance(manifest, dict):
        yield "is not there, or holds no mapping"
        return
    for url in (manifest, *manifest.get("dependencies", ())):
        if not _SCHEMA_URL.fullmatch(str(url.get("schema_url"))):
            yield f"schema_url {url.get('schema_url')!r} is not http[s]://server/path/VERSION"
    if manifest.get("stability", "development") not in _STABILITIES:
        yield f"stability {manifest['stability']!r} is none of {', '.join(_STABILITIES)}"


def _file_faults(document: object, entries: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    if not isinstance(document, dict) or document.get("file_format") != "definition/2":
        yield "file_format is not definition/2"
        return
    for section, found in document.items():
        if section == "file_format":
            continue
        if section not in entries:
            yield f"{section} is no section that is known here"
        elif not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            yield f"{section} is no list of mappings"
        else:
            entries[section] += found


def _entry_faults(section: str, entry: dict[str, Any], known: Collection[str]) -> Iterator[str]:
    key, must, may = _SECTIONS[section]
    for name in (key, *must, "brief", "stability"):
        if not entry.get(name):
            yield f"has no {name}"
    for name in sorted(entry.keys() - {key, *may}):
        yield f"has the unknown key {name}"
    if entry.get("stability") not in _STABILITIES:
        yield f"stability {entry.get('stability')!r} is none of {', '.join(_STABILITIES)}"
    check = {"attributes": _attribute_faults, "metrics": _metric_faults, "spans": _span_faults}.get(section)
    if check is not None:
        yield from check(entry)
    if section != "attributes":
        yield from _reference_faults(entry.get("attributes", []), known)


def _attribute_faults(entry: dict[str, Any]) -> Iterator[str]:
    kind = entry.get("type")
    if isinstance(kind, dict):
        members = kind.get("members")
        if not isinstance(members, list) or not members or not all(isinstance(one, dict) for one in members):
            yield "its enumeration has no members"
            return
        ids = [one.get("id") for one in members]
        if not all(isinstance(one, str) and one for one in ids) or len(set(ids)) < len(ids):
            yield "members of its enumeration have no id, or the same"
        if any(one.get("stability") not in _STABILITIES for one in members):
            yield "members of its enumeration have no stability"
        if len({type(one.get("value", one.get("id"))) for one in members}) > 1:
            yield "members of its enumeration have values of several types"
    elif not _TYPES.fullmatch(str(kind)):
        yield f"the type {kind!r} is none of the format's"


def _metric_faults(entry: dict[str, Any]) -> Iterator[str]:
    if entry.get("instrument") not in _INSTRUMENTS:
        yield f"the instrument {entry.get('instrument')!r} is none of {', '.join(_INSTRUMENTS)}"
    if not _UNIT.fullmatch(str(entry.get("unit"))):
        yield f"the unit {entry.get('unit')!r} is none of UCUM's"


def _span_faults(entry: dict[str, Any]) -> Iterator[str]:
    if entry.get("kind") not in _KINDS:
        yield f"the kind {entry.get('kind')!r} is none of {', '.join(_KINDS)}"
    name = entry.get("name")
    if not isinstance(name, dict) or set(name) != {"note"}:
        yield "its name is no mapping with a note"


def _reference_faults(references: object, known: Collection[str]) -> Iterator[str]:
    if not isinstance(references, list) or not all(isinstance(one, dict) for one in references):
        yield "attributes is no list of references"
        return
    keys = [str(one.get("ref")) for one in references]
    for key, count in Counter(keys).items():
        if count > 1:
            yield f"refers twice to {key}"
        if key not in known:
            yield f"refers to {key}, which is no attribute here or in what it depends on"
    for one in references:
        if not _is_level(one.get("requirement_level", "recommended")):
            yield f"{one.get('ref')}: the requirement level {one.get('requirement_level')!r} is none of the format's"


def _is_level(level: object) -> bool:
    if isinstance(level, dict):
        return len(level) == 1 and all(name in _CONDITIONS and isinstance(text, str) for name, text in level.items())
    return level in _LEVELS
