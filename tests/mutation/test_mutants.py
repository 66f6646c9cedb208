"""The mutants that `make mutate` tries are different programs, drawn the same for the same seed."""

from __future__ import annotations

import ast
from contextlib import closing
from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation.__main__ import Bench
from tests.mutation.direct import direct_tests
from tests.mutation.mutants import Source

TEXT = '''
def price(count, each, *, member=True):
    """Never looked into."""
    if count > 10 and not member:
        raise ValueError(f"{count + 1} are too many")
    total = max(count * each, 5)
    prices = {}
    prices["total"] = total
    prices.update({"count": count})
    return divmod(total, count) if member else None
'''


def test_every_mutant_is_another_program_and_changes_one_place():
    source = Source(TEXT)
    mutated = [source.mutated(each) for each in source.mutants]
    assert len(set(mutated)) == len(mutated)
    assert all(ast.dump(ast.parse(each)) != ast.dump(ast.parse(TEXT)) for each in mutated)
    assert {each.kind for each in source.mutants} == {
        *("condition", "comparison", "boolean", "statement", "call", "arithmetic", "constant", "flag", "return"),
        "arguments",
    }
    assert not any("are too many" in each.new for each in source.mutants), "a place inside an f-string"


def test_a_sample_is_the_same_for_the_same_seed_and_takes_from_each_kind():
    source = Source((Path(__file__).parents[2] / "packager" / "core" / "tar.py").read_text())
    drawn = source.sample(30, 1)
    assert drawn == source.sample(30, 1) != source.sample(30, 2)
    assert len(set(drawn)) == 30
    assert {each.kind for each in drawn} == {each.kind for each in source.mutants}
    assert len(source.sample(10**6, 1)) == len(source.mutants)


def test_a_module_is_held_to_the_tests_of_its_name_or_to_those_that_import_it_or_of_its_room():
    assert direct_tests("packager/core/tar.py") == ["tests/packager/core/test_tar.py"]
    assert "tests/packager/limits/test_storage.py" in direct_tests("packager/limits/reservations.py")
    assert direct_tests("packager/core/that/nobody/imports.py") == ["tests/packager/core"]


COUNTED = """
from time import sleep

def count(most):
    at = 0
    while at < most:
        at += 1
        sleep(0.001)
    unseen = at > 100
    return at
"""
A_TEST = "from counted import count\n\n\ndef test_it_counts():\n    assert [count(most) for most in (0, 3)] == [0, 3]\n"
FATES = {("at < most", "(at <= most)"): True, ("at += 1", "pass"): True, ("at > 100", "(at >= 100)"): False}
"""Which of its mutants are killed; the second never ends."""


@pytest.mark.slow
def test_a_mutant_that_a_test_notices_is_told_from_one_that_none_does_and_one_without_end_is_killed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(mutation, "LIMIT_S", 4)
    checkout = tmp_path / "here"
    checkout.mkdir()
    (checkout / "counted.py").write_text(COUNTED)
    (checkout / "test_counted.py").write_text(A_TEST)
    found = {}
    with closing(Bench(tmp_path, checkout)) as bench:
        for each in Source(COUNTED).mutants:
            if (each.old, each.new) in FATES:
                found[each.old, each.new] = bench.tried("counted.py", each, ["test_counted.py"]).killed
        assert found == FATES
        assert (tmp_path / "checkout" / "counted.py").read_text() == COUNTED
        (tmp_path / "checkout" / "counted.py").write_text(COUNTED.replace("at += 1", "at += 2"))
        with pytest.raises(SystemExit, match="Without any mutant"):
            bench.unharmed(["test_counted.py", "-q"])
