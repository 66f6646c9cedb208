from __future__ import annotations

import sys
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from packager import run
from packager.cli import commands, look_commands
from packager.core.component import make_component
from packager.packaging import package
from packager.plan import plan
from packager.results import Phase, ProcessingState
from tests.packages import Model, ground

ROOMS = [Path(run.__file__).parents[1] / room for room in ("packager", "telemetry")]
SMALL = Model({f"compiled.{suffix}": 3000 for suffix in ("so", "params", "json", "meta")})
LINKED = Model({"compiled.so": 3000}, {"compiled.params": "compiled.so"})


@pytest.fixture
def here():
    with ground() as ground_:
        yield ground_


def calls_of_ours(frame):
    """The functions of ours on a stack, outermost first."""
    stack = traceback.extract_stack(frame)
    return [each.name for each in stack if any(Path(each.filename).is_relative_to(room) for room in ROOMS)]


@pytest.mark.parametrize("model", [SMALL, LINKED], ids=["streamed", "staged"])
def test_from_the_public_call_to_making_a_component_there_are_at_most_six_calls_of_ours(here, monkeypatch, model):
    stacks = []

    def entered(*args, **kwargs):
        waiting = sys._current_frames()[threading.main_thread().ident]
        stacks.append([*calls_of_ours(waiting), *calls_of_ours(sys._getframe(1))])
        return make_component(*args, **kwargs)

    monkeypatch.setattr(run, "make_component", entered)
    assert package(here.trained, here.each_compiled([model]), here.out).succeeded
    assert stacks
    for stack in stacks:
        assert stack[0] == "package"
        assert len(stack) <= 6, stack


def test_every_phase_that_is_documented_is_reported_and_no_other(here, monkeypatch):
    states: list[ProcessingState] = []

    @contextmanager
    def recorded():
        yield states.append

    monkeypatch.setattr(look_commands, "progress", recorded)
    compiled = here.each_compiled([LINKED])
    assert package(here.trained, compiled, here.out, on_progress=states.append).succeeded
    plan(here.trained, compiled, here.out, on_progress=states.append)
    assert CliRunner().invoke(commands.packager, ["inspect", here.trained]).exit_code == 0
    assert {each.phase for each in states} == set(get_args(Phase))
    assert [phase for phase in get_args(Phase) if f"`{phase}`" not in ProcessingState.__doc__] == []
