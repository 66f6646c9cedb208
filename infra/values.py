"""Values of settings: read from JSON or the command line, and checked; the bounds that AWS sets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MIB = 1 << 20
BOUNDS_JSON = Path(__file__).parent / "bounds.json"
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}


class SettingError(ValueError):
    """A setting that cannot be deployed: `name` says which, the message says why and what is possible."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"{name}: {problem}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what a wrong name was probably meant to be, in words, else all that there is."""
    names = list(known)
    near = get_close_matches(name, names, 1, 0.6)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"


@dataclass(frozen=True)
class Bound:
    """What AWS lets a limit be, with the page that says so and the day it was read."""

    least: int
    most: int
    step: int
    source: str
    as_of: str

    def problem(self, value: int) -> str:
        """Return what is wrong with a value, or nothing."""
        if self.least <= value <= self.most and value % self.step == 0:
            return ""
        steps = f" in steps of {self.step:,}" if self.step > 1 else ""
        return (
            f"{value:,} is outside of {self.least:,} to {self.most:,}{steps} ({self.source}, {self.as_of}); "
            "the setting `bounds` overrules that"
        )


def bounds(overruling: Iterable[str] = ()) -> dict[str, Bound]:
    """Return the bounds of bounds.json by setting; `NAME=VALUE` puts another largest value in place of one."""
    table = json.loads(BOUNDS_JSON.read_text("utf-8"))
    overruled: dict[str, int] = {}
    for name, _, value in (each.partition("=") for each in overruling):
        if name not in table:
            raise SettingError("bounds", f"{name!r} has no bound; {nearest(name, table)}")
        overruled[name] = whole(value)
    return {
        name: Bound(
            whole(each["least"]),
            overruled.get(name, whole(each["most"])),
            whole(each["step"]),
            "the setting `bounds`" if name in overruled else each["source"],
            each["as_of"],
        )
        for name, each in table.items()
    }


def within(low: int, high: int) -> Callable[[int], str]:
    return lambda value: "" if low <= value <= high else f"{value:,} is outside of {low:,} to {high:,}"


def share(value: float) -> str:
    return "" if 0 < value <= 1 else f"{value:g} is no share: it must be above 0 and at most 1"


def one_of(*values: object) -> Callable[[object], str]:
    return lambda value: "" if value in values else f"{value!r} is not offered; there are {', '.join(map(str, values))}"


def matching(pattern: str, example: str) -> Callable[[Any], str]:
    """Return the check that a text, or each text of a list, is empty or of a form."""

    def check(value: str | tuple[str, ...]) -> str:
        for each in (value,) if isinstance(value, str) else value:
            if each and not re.fullmatch(pattern, each):
                return f"{each!r} does not look like {example}"
        return ""

    return check


def read(name: str, kind: type, value: Any) -> Any:  # noqa: ANN401  any JSON in, the setting's type out
    """Return a value of the setting's type. Raises SettingError that says what was wanted."""
    reader, wanted = _READERS[kind]
    sized = name.endswith("_bytes")
    try:
        found = reader(value)
        if isinstance(value, str) and kind is int and not sized and not value.strip().isdigit():
            raise ValueError  # noqa: TRY301  a size where none belongs
    except (ValueError, TypeError):
        size = ", or a size such as '8192 MiB'" if sized else ""
        raise SettingError(name, f"{value!r} is not {wanted}{size}") from None
    return found


def whole(value: object) -> int:
    """Return a whole number, or the bytes of a size such as `8192 MiB`."""
    match = re.fullmatch(r"\s*(\d+)\s*(KiB|MiB|GiB|)\s*", str(value))
    if isinstance(value, bool) or not match:
        raise ValueError
    return int(match[1]) * _UNITS[match[2]]


def _boolean(value: object) -> bool:
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def _number(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004  `read` says what is wrong
    return float(str(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004  same
    return value


def _texts(value: object) -> tuple[str, ...]:
    """Read a list, or what the command line can give: texts with commas between them."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError
    return tuple(part.strip() for part in parts if part.strip())


_READERS: dict[type, tuple[Callable[[Any], Any], str]] = {
    bool: (_boolean, "true or false"),
    int: (whole, "a whole number"),
    float: (_number, "a number"),
    str: (_text, "text"),
    tuple: (_texts, "a list of texts"),
}
