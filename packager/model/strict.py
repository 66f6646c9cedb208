"""JSON and YAML from untrusted archives: read strictly, or refused with the reason."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn

from packager.errors import ManifestError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 64
"""Levels of nesting: a manifest has about six, and readers on devices recurse."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")


def values_at_most(data: bytes) -> int:
    """A quick bound, from above, of the values in JSON: by the million they take little room there and much here."""
    return sum(map(data.count, (b",", b"[", b"{")))


def read_json(data: bytes, name: str) -> Any:  # noqa: ANN401  any JSON value
    """The JSON value in `data`; ManifestError names the file and what is wrong.

    Stricter than the standard library: UTF-8 only, no NaN or infinity, no key twice, at most MAX_DEPTH levels.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
        _check_depth(value)
    except RecursionError as error:
        raise _refused(name, "JSON", f"it is nested more than {MAX_DEPTH} levels deep") from error
    except (ValueError, MemoryError) as error:
        raise _refused(name, "JSON", error or "it does not fit into memory") from error
    return value


def read_yaml(data: bytes, name: str) -> Any:  # noqa: ANN401  any plain YAML value
    """The one document in `data` as plain values; ManifestError names the file and what is wrong.

    Only what a configuration needs: mappings with simple keys, lists, text. Unquoted decimal integers become int, every
    other scalar stays text, so that no reader-dependent rule (octal, base 60, yes and no) decides a number. Anchors,
    aliases and tags are refused: a few of them expand to gigabytes.
    """
    import yaml  # noqa: PLC0415  only this path needs it, and the function's cold start pays for every import

    # The C parser is 10 times faster; wheels for the usual platforms bring it along.
    parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _only_document(yaml, yaml.parse(data.decode("utf-8"), Loader=parser))
    except (yaml.YAMLError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(name, "YAML", error) from error


def _refused(name: str, kind: str, reason: object) -> ManifestError:
    shown = printable(" ".join(str(reason).split()))
    return ManifestError(
        f"{name} cannot be read as {kind}: {shown}.",
        next_step=f"Write {name} again as plain UTF-8 {kind}, and pack the archive again.",
        file=name,
        reason=shown,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(key, times)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {printable(key[:60])!r} stands {times} times in one object")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {printable(text[:60])} is too large")
    return number


def _check_depth(value: object) -> None:
    level = [each for each in (value,) if isinstance(each, dict | list)]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    if level:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _only_document(yaml: Any, events: Iterable[Any]) -> Any:  # noqa: ANN401  the module, and any plain YAML value
    # A stack instead of the library's recursion, which deep nesting drives into the end of the C stack.
    documents: list[Any] = []
    unfinished = [documents]
    for event in events:
        _refuse_expansion(yaml, event)
        if isinstance(event, yaml.ScalarEvent):
            unfinished[-1].append(_scalar(event))
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(unfinished) > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
            unfinished.append([])
        elif isinstance(event, yaml.CollectionEndEvent):
            items = unfinished.pop()
            unfinished[-1].append(_mapping(items) if isinstance(event, yaml.MappingEndEvent) else items)
    if len(documents) > 1:
        raise ValueError(f"it holds {len(documents)} documents instead of one")
    return documents[0] if documents else None


def _refuse_expansion(yaml: Any, event: Any) -> None:  # noqa: ANN401  the module and one of its events
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise ValueError(f"line {line} uses an anchor or an alias")
    if getattr(event, "tag", None):
        raise ValueError(f"line {line} uses the tag {printable(event.tag, 60)}")


def _scalar(event: Any) -> str | int:  # noqa: ANN401  an event of the YAML library
    text: str = event.value
    plain = event.style in (None, "")
    return int(text) if plain and _INTEGER.fullmatch(text) else text


def _mapping(items: list[Any]) -> dict[str, Any]:
    keys, values = items[::2], items[1::2]
    if any(isinstance(key, dict | list) for key in keys):
        raise ValueError("a key is a list or a mapping")
    return _object([(str(key), value) for key, value in zip(keys, values, strict=True)])
