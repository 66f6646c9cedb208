"""Completion of what a shell takes apart, or does not complete by itself: words with `=` and `:` in them."""

from __future__ import annotations

import os
from pathlib import Path

from click.shell_completion import BashComplete, CompletionItem, add_completion_class

_OWN_COMPLETION = "_PACKAGER_COMPLETE"
_BREAKS = "=:"
"""Of COMP_WORDBREAKS, those that TARGET=URI and s3:// hold."""


def complete_behind(prefix: str, begun: str) -> list[CompletionItem]:
    """Names of files behind `prefix`, as in TARGET=PATH.

    bash completes what stands behind `=` by itself; for the other shells the whole word is given.
    """
    if os.environ.get(_OWN_COMPLETION, "").startswith("bash"):
        return [CompletionItem(begun, type="file")]
    folder, _, name = begun.rpartition("/")
    where = Path(folder or ("/" if begun.startswith("/") else "."))
    shown = begun[: len(begun) - len(name)]
    try:
        found = sorted(each for each in where.iterdir() if each.name.startswith(name))
    except OSError:
        return []
    return [CompletionItem(f"{prefix}{shown}{each.name}{'/' * each.is_dir()}") for each in found]


class _Bash(BashComplete):
    """bash, which takes words apart at some characters; here they are put together again."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in [*args, incomplete]:
            joins = bool(words and word) and (not word.strip(_BREAKS) or words[-1][-1] in _BREAKS)
            words[-1:] = [words[-1] + word] if joins else [*words[-1:], word]
        return words[:-1], words[-1]


def register() -> None:
    """Let click complete for bash by this."""
    add_completion_class(_Bash, "bash")
