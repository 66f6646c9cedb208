"""What the small languages share: words one after the other, and conditions out of `and`, `or`, `not` and brackets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

MAX_DEPTH = 100  # ours, far above anything legible: deeper nesting would exhaust Python's stack
_QUOTED = {"single", "double", "tick", "regex"}

Subject = TypeVar("Subject")


class Tokens:
    """The words of a text, each with the group of `pattern` that it fitted; `what` names the text in errors."""

    def __init__(self, text: str, pattern: re.Pattern[str], what: str) -> None:
        self.text, self.what, self.at = text, what, 0
        self.words: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = pattern.match(text, position)
            if not match or match.lastgroup is None:
                raise DefinitionError(f"the {what} {text!r} cannot be read from {text[position:]!r} on")
            self.words.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def error(self, problem: str) -> DefinitionError:
        return DefinitionError(f"{problem} in the {self.what} {self.text!r}")

    def peek(self) -> str:
        """Return the next word; nothing at the end, and nothing for what is quoted: it is no mark and no keyword."""
        kind, word = self.words[self.at] if self.at < len(self.words) else ("", "")
        return "" if kind in _QUOTED else word

    def take(self) -> tuple[str, str]:
        if self.at == len(self.words):
            raise self.error("something is missing at the end")
        self.at += 1
        return self.words[self.at - 1]

    def took(self, word: str) -> bool:
        """Take the next word if it is this one, in capitals or not."""
        self.at += (found := self.peek().lower() == word)
        return found

    def expect(self, mark: str) -> None:
        if not self.took(mark):
            raise self.error(f"{mark!r} is missing")

    def end(self) -> None:
        if self.at < len(self.words):
            raise self.error(f"unexpected {self.words[self.at][1]!r}")


class Conditions(Tokens, ABC, Generic[Subject]):
    """A parser of conditions; a language says what its elements are."""

    elements = depth = 0

    def whole(self) -> Callable[[Subject], bool]:
        test = self.either()
        self.end()
        return test

    def either(self) -> Callable[[Subject], bool]:
        tests = [self.both()]
        while self.took("or"):
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda subject: any(test(subject) for test in tests)

    def both(self) -> Callable[[Subject], bool]:
        tests = [self.single()]
        while self.took("and"):
            tests.append(self.single())
        return tests[0] if len(tests) == 1 else lambda subject: all(test(subject) for test in tests)

    def single(self) -> Callable[[Subject], bool]:
        negative = False
        while self.took("not"):
            negative = not negative
        self.elements += 1
        test = self.group() if self.took("(") else self.element()
        return (lambda subject: not test(subject)) if negative else test

    def group(self) -> Callable[[Subject], bool]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnsupportedError(f"a {self.what} nested more than {MAX_DEPTH} deep; split it")
        test = self.either()
        self.expect(")")
        self.depth -= 1
        return test

    @abstractmethod
    def element(self) -> Callable[[Subject], bool]:
        """What stands between the words of logic, in the language at hand."""
