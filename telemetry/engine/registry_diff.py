"""What a change of a registry breaks, and for whom: alarms, dashboards, and queries of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECTIONS = {"attributes": "key", "metrics": "name", "spans": "type", "events": "name"}


@dataclass(frozen=True, order=True)
class Difference:
    """One difference. `breaks` says whether what reads the old telemetry would read the new one wrongly, or not at all.

    `users` are the alarms and panels that use the thing, as the old registry names them.
    """

    breaks: bool
    what: str
    users: tuple[str, ...] = ()

    def __str__(self) -> str:
        used = f"; used by {', '.join(self.users)}" if self.users else ""
        return f"{'breaks' if self.breaks else 'adds'}: {self.what}{used}"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return the differences of two registries (their documents by file), what breaks first."""
    found = list(_changes(_entries(old), _entries(new)))
    return sorted(found, key=lambda change: (not change.breaks, change.what))


def _entries(documents: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        section: {
            entry[key]: entry
            for document in documents.values()
            if isinstance(document, dict)
            for entry in document.get(section, ())
        }
        for section, key in _SECTIONS.items()
    }


def _changes(
    old: dict[str, dict[str, dict[str, Any]]], new: dict[str, dict[str, dict[str, Any]]]
) -> Iterator[Difference]:
    for section in _SECTIONS:
        kind = section.removesuffix("s")
        for name in old[section].keys() | new[section].keys():
            before, after = old[section].get(name), new[section].get(name)
            if before is None:
                yield Difference(False, f"{kind} {name} is new")
            elif after is None:
                yield Difference(True, f"{kind} {name} is gone", _users(before))
            elif before != after:
                yield from _changed(kind, name, before, after)


def _changed(kind: str, name: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    for key in ("unit", "instrument", "kind", "name"):
        if before.get(key) != after.get(key):
            what = f"{kind} {name}: {key} was {_shown(before.get(key))} and is {_shown(after.get(key))}"
            yield Difference(True, what, _users(before))
    yield from _type_changes(f"{kind} {name}", before.get("type"), after.get("type"))
    references = [{one["ref"] for one in entry.get("attributes", ())} for entry in (before, after)]
    for key in references[0] - references[1]:
        yield Difference(True, f"{kind} {name} has no {key} any more", _users(before))
    for key in references[1] - references[0]:
        yield Difference(False, f"{kind} {name} has {key}")
    if kind == "metric":
        yield from _row_changes(name, before, after)


def _type_changes(what: str, before: Any, after: Any) -> Iterator[Difference]:  # noqa: ANN401  a name or an enumeration
    members = [{one["id"] for one in kind["members"]} if isinstance(kind, dict) else None for kind in (before, after)]
    if members[0] is None or members[1] is None:
        if before != after:
            yield Difference(True, f"{what}: type was {_shown(before)} and is {_shown(after)}")
        return
    for value in members[0] - members[1]:
        yield Difference(True, f"{what} has no value {value} any more")
    for value in members[1] - members[0]:
        yield Difference(False, f"{what} has the value {value}")


def _row_changes(name: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    old, new = (entry.get("annotations", {}).get("rows", {}) for entry in (before, after))
    for row in old.keys() - new.keys():
        yield Difference(True, f"metric {name} of {row} is gone", tuple(old[row]["used_by"]))
    for row in new.keys() - old.keys():
        yield Difference(False, f"metric {name} of {row} is new")
    for row in old.keys() & new.keys():
        for names in old[row]["dimension_sets"]:
            if names not in new[row]["dimension_sets"]:
                users = tuple(old[row]["used_by"])
                yield Difference(True, f"metric {name} of {row} is not kept by {', '.join(names)} any more", users)


def _users(entry: dict[str, Any]) -> tuple[str, ...]:
    rows = entry.get("annotations", {}).get("rows", {})
    return tuple(sorted({user for row in rows.values() for user in row["used_by"]}))


def _shown(value: object) -> str:
    return str(value.get("note", "an enumeration")) if isinstance(value, dict) else str(value)
