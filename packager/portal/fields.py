"""Typed access to the fields of untrusted JSON objects; RequestError names a field that is missing or wrong.

Errors describe a wrong value by its kind only: requests can hold secrets, which must not reach a log.
"""

from __future__ import annotations

from typing import Any

from packager.errors import RequestError

LONGEST_ID = 256
"""Characters of an id or a name; the keys of DynamoDB take several times as much."""

LONGEST_TEXT = 2048
"""Characters of a URI: S3 keys have at most 1,024 bytes."""

_MISSING = object()


class Fields:
    """The fields of one JSON object; `at` is its path, for messages. RequestError when it is no object."""

    def __init__(self, holder: object, at: str = "") -> None:
        if not isinstance(holder, dict):
            raise wrong(at or "the event", holder, "an object")
        self._holder: dict[Any, Any] = holder
        self._at = f"{at}." if at else ""

    def __contains__(self, name: str) -> bool:
        return name in self._holder

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  any JSON value; None stands for a missing one too
        return self._holder.get(name)

    def without_nulls(self) -> Fields:
        """The same object without its fields that are null, for requests in which that means a missing field."""
        return Fields({name: value for name, value in self._holder.items() if value is not None}, self._at[:-1])

    def names(self) -> set[Any]:
        return set(self._holder)

    def whole(self) -> dict[Any, Any]:
        """The object itself."""
        return self._holder

    def named(self, name: str) -> str:
        """The path of a field."""
        return f"{self._at}{name}"

    def text(self, name: str, longest: int = LONGEST_ID) -> str:
        """One to `longest` printable characters."""
        value = self._given(name)
        if not isinstance(value, str) or not value or len(value) > longest or not value.isprintable():
            raise wrong(self.named(name), value, f"text of 1 to {longest} printable characters")
        return value

    def unrestricted_text(self, name: str) -> str:
        """Text of any length and any characters."""
        value = self._given(name)
        if not isinstance(value, str):
            raise wrong(self.named(name), value, "text")
        return value

    def optional_text(self, name: str, longest: int = LONGEST_ID) -> str | None:
        """As `text`; None when the field is missing, which null is not."""
        return self.text(name, longest) if name in self._holder else None

    def optional_flag(self, name: str) -> bool | None:
        """True or false; None when the field is missing."""
        value = self._holder.get(name, _MISSING)
        if value is _MISSING:
            return None
        if not isinstance(value, bool):
            raise wrong(self.named(name), value, "true or false")
        return value

    def object(self, name: str) -> Fields:
        return Fields(self._given(name), self.named(name))

    def list(self, name: str, longest: int = 100) -> list[Any]:
        """A list of at most `longest` values."""
        value = self._given(name)
        if not isinstance(value, list) or len(value) > longest:
            raise wrong(self.named(name), value, f"a list of at most {longest}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, each once, in its order; empty when the field is missing."""
        if name not in self._holder:
            return ()
        holder = {str(number): value for number, value in enumerate(self.list(name))}
        texts = Fields(holder, self.named(name))
        return tuple(dict.fromkeys(texts.text(number) for number in holder))

    def _given(self, name: str) -> Any:  # noqa: ANN401  any JSON value but null
        value = self._holder.get(name)
        if value is None:
            raise RequestError(
                f"{self.named(name)} is required{' and must not be null' if name in self._holder else ''}.",
                next_step="Send it.",
                field=self.named(name),
            )
        return value


def wrong(field: str, value: object, wanted: str) -> RequestError:
    """The error for a field of the wrong kind."""
    found = _kind(value)
    return RequestError(
        f"{field} is {found}; it must be {wanted}.", next_step="Correct it, and send it again.", field=field
    )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    return f"a list of {len(value)}" if isinstance(value, list) else "an object"
