from __future__ import annotations

import pytest

from tests import emulated, same_bytes


def lacking():
    raise emulated.NotToBeHadError("apt-get ended with 100")


def failing():
    raise emulated.FailedError("python3 ended with 1")


@pytest.fixture
def others(monkeypatch):
    """Says what the processors but this one find."""

    def find(*found):
        waiting = iter(found)
        monkeypatch.setattr(emulated, "PROCESSORS", emulated.PROCESSORS[: len(found)])
        monkeypatch.setattr(emulated, "digests", lambda _: next(waiting)())

    monkeypatch.setattr(same_bytes, "digests", lambda: same_bytes.DIGESTS)
    return find


def test_processors_that_cannot_be_had_are_named_and_others_compared(others, capsys):
    others(lacking, lambda: same_bytes.DIGESTS)
    assert emulated.main() == 0
    text = capsys.readouterr().out
    assert "NOT COMPARED, apt-get ended with 100" in text
    assert "2 of 3 processors" in text
    others(lacking, lacking)
    assert emulated.main() == 2


def test_one_digest_that_differs_or_is_missing_or_a_failure_is_no_success(others, capsys):
    name, *_ = same_bytes.DIGESTS
    for wrong in (lambda: {**same_bytes.DIGESTS, name: "0"}, dict, failing):
        others(wrong, lambda: same_bytes.DIGESTS)
        assert emulated.main() == 1
    assert f"DIFFERENT: {name}," in capsys.readouterr().out
