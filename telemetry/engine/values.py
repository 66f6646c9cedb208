"""What may leave the process, made of what the work handed in: finite numbers, short texts, closed sets."""

from __future__ import annotations

import functools
import json
import math
import sys
import time
from dataclasses import dataclass, field
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, TypeGuard

from telemetry.engine.emf import LARGEST, MAX_LINE_BYTES, SMALLEST
from telemetry.engine.health import HEALTH
from telemetry.engine.operation import OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from telemetry.engine.operation import Operation

MAX_TEXT = 1024
"""Characters of a property; the worst case can still be found by the beginning of its key."""
SHORT_TEXT = 32
"""Characters that every text keeps; no value of a dimension is longer."""
MAX_ITEMS = 50

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]


@dataclass(slots=True)
class Rendered:
    """A step's fields in the form that leaves the process, made once and shared by all recorders."""

    metrics: dict[str, float] = field(default_factory=dict)
    """By field, without duration, success and failure."""
    named_metrics: dict[str, float] = field(default_factory=dict)
    """The same by CloudWatch name."""
    dimensions: dict[str, str] = field(default_factory=dict)
    """By CloudWatch name, without the operation."""
    dimension_fields: dict[str, str] = field(default_factory=dict)
    """By their key in log lines."""
    properties: dict[str, Plain] = field(default_factory=dict)
    """The row's properties and the identifiers of the context."""
    duration_ms: float = 0


def render(row: Operation, fields: Mapping[str, Any], context: Mapping[str, Plain]) -> Rendered:
    """Return a step's fields, checked. Bad ones are dropped or replaced, and counted as faults; never raises."""
    out = Rendered({}, {}, {}, {}, dict(context))
    for metric in row.metrics:
        if metric.field in fields:
            number = metric_value(fields[metric.field])
            if number is None:
                bad = _named(fields[metric.field])
                HEALTH.fault(f"{row.name}.{metric.field} is {bad}, not a number that CloudWatch takes; dropped")
            else:
                out.metrics[metric.field] = out.named_metrics[metric.name] = number
    for dimension in row.dimensions:
        given = plain(fields[dimension.field]) if dimension.field in fields else context.get(dimension.field)
        value = dimension.value(given)
        out.dimensions[dimension.name] = out.dimension_fields[dimension.key] = value
        if value == OTHER and given is not None:
            out.properties[dimension.key] = given
        elif dimension.field not in row.kept_dimensions:
            out.properties[dimension.key] = value
    for prop in row.properties:
        if prop.field in fields:
            out.properties[prop.field] = plain(fields[prop.field])
    return out


def metric_value(value: object) -> float | None:
    """Return a number that CloudWatch takes (bool as 0 or 1, Decimal as float), or None when there is none in it."""
    number = value if type(value) is int or type(value) is float else _number(value)
    if number is None or not -LARGEST <= number <= LARGEST:  # NaN compares false
        return None
    return 0 if -SMALLEST < number < SMALLEST else number


def _is_decimal(value: object) -> TypeGuard[Decimal]:
    decimal = sys.modules.get("decimal")  # whoever has one has loaded it
    return decimal is not None and isinstance(value, decimal.Decimal)


def _number(value: object) -> float | None:
    try:
        if isinstance(value, int):
            return int(value)
        return float(value) if isinstance(value, float) or _is_decimal(value) else None
    except Exception:  # noqa: BLE001  a foreign __int__ or __class__ may do anything
        return None


def plain(value: object, depth: int = 3) -> Plain:
    """Return what JSON can hold of any value, in bounded size; never raises.

    Long texts are cut (and counted), bytes become their size, NaN and infinity their names, deep or foreign things
    their `str`.
    """
    if type(value) is str:
        return _short(value)
    try:
        return _plain_number(value) if isinstance(value, int | float | None) else _container(value, depth)
    except Exception as error:  # noqa: BLE001  a foreign __str__, __iter__ or __class__ may do anything
        HEALTH.fault(f"a value of type {type(value).__name__} cannot be shown: {type(error).__name__}")
        return f"<{type(value).__name__}>"


def _plain_number(value: float | None) -> Plain:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= LARGEST else "too large"
    return float(value) if math.isfinite(value) else str(float(value))


def _container(value: object, depth: int) -> Plain:
    if isinstance(value, str):
        return _short(str.__str__(value))  # the text itself, which the `str` of an enumeration is not
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth and isinstance(value, dict):
        pairs = list(value.items())[:MAX_ITEMS]
        return {str(plain(key, 0)): plain(item, depth - 1) for key, item in pairs}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
    return _short(str(value))


def _short(text: str, limit: int = MAX_TEXT) -> str:
    if len(text) <= limit:
        return writable(text)
    HEALTH.count("lines_trimmed")
    return f"{writable(text[:limit])}... ({len(text)} characters)"


def json_encoder(default: Callable[[Any], Any] | None = None) -> Callable[[object], str]:
    """Return what makes JSON text as `json.dumps` does, in half the time: that makes an encoder for each document."""
    slow = json.JSONEncoder(default=default)
    try:
        separators = slow.key_separator, slow.item_separator
        fast: Any = c_make_encoder(None, slow.default, encode_basestring_ascii, None, *separators, False, False, True)
    except TypeError:  # another Python's
        return slow.encode
    return lambda document: "".join(fast(document, 0))


def iso_time(time_ns: int) -> str:
    """Return nanoseconds since 1970 as ISO 8601 in UTC, with microseconds."""
    second, rest_ns = divmod(time_ns, 1_000_000_000)
    return f"{_iso_second(second)}.{rest_ns // 1000:06d}Z"


@functools.lru_cache(maxsize=2)
def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def writable(text: str) -> str:
    """Return the text without lone surrogates, as of a file name that is no UTF-8: nothing can write them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _named(value: object) -> str:
    return f"{value}" if type(value) is float else f"of type {type(value).__name__}"


def fitted(document: Mapping[str, Any], limit_bytes: int = MAX_LINE_BYTES) -> dict[str, Any]:
    """Return the document with its longest texts cut until its JSON fits, and the names of those under `trimmed`.

    Numbers, the members that EMF needs and short texts stay as they are.
    """
    HEALTH.count("lines_trimmed")
    out, trimmed = dict(document), list[str]()
    left = len(json.dumps(document, default=str)) - limit_bytes
    texts = [name for name, value in document.items() if name != "_aws" and isinstance(value, str | list | dict)]
    for keep in (MAX_TEXT // 4, SHORT_TEXT):
        for name in sorted(texts, key=lambda name: len(json.dumps(out[name], default=str)), reverse=True):
            if left <= 0:
                break
            text = out[name] if isinstance(out[name], str) else json.dumps(out[name], default=str)
            if len(text) > keep:
                left -= len(json.dumps(out[name], default=str)) - len(json.dumps(text[:keep]))
                out[name] = text[:keep]
                if name not in trimmed:
                    trimmed.append(name)
                    left += len(name) + 8  # its place in the list
    out["trimmed"] = trimmed
    return out
