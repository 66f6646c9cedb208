"""Every leftover is gone over, whatever becomes of the others."""

from __future__ import annotations

from packager.stores.leftovers import remove_leftovers
from telemetry.engine.testing import recorded


def test_nothing_left_over_is_no_step():
    with recorded() as records:
        assert remove_leftovers([], lambda _: 1) == 0
    assert records == []


def test_what_cannot_be_removed_is_named_and_the_others_are_removed_and_counted():
    seen = []

    def remove(leftover):
        seen.append(leftover)
        if leftover == "stuck\x1b":
            raise PermissionError("no right to it")
        return len(leftover)

    with recorded() as records:
        assert remove_leftovers(["four", "stuck\x1b", "seven"], remove) == 2
    assert seen == ["four", "stuck\x1b", "seven"]
    [record] = records
    assert record.row == "CleanUp"
    assert record.fields["reason"] == "sweep"
    assert record.fields["freed_bytes"] == 9
    assert (record.fields["removed"], record.fields["left"]) == (2, 1)
    [named] = record.fields["left_paths"]
    assert named["path"].isprintable()
    assert named["cause"] == "no right to it"
