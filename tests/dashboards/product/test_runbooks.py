"""Runbooks as the engineer on call reads them: what they name is there, what they say to type can be typed."""

import re
import shlex

import botocore.session
import pytest
from botocore import xform_name

from dashboards.cloudwatch.insights import query
from dashboards.places import GENERATED
from dashboards.product.layout import dashboard_bodies
from dashboards.product.runbooks import runbook_texts
from dashboards.product.specs import Catalog
from infra.settings import Deployment

OURS = Catalog()
TEXTS = runbook_texts(OURS)
EVERY = [pytest.param(alarm, TEXTS[OURS.prefix + alarm.name], id=alarm.name) for alarm in OURS.everything]
OF_THE_CLI = {"query", "output", "cli-binary-format", "max-items"}
"""Options of the AWS CLI itself, not of a service."""


def commands(text):
    """Return the words of every `aws` command in a text, those within other commands too."""
    code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = [span for span in re.findall(r"`([^`]+)`", code) if span.startswith("aws ")]
    inner = [found for span in spans for found in re.findall(r"\$\((aws [^)]*)\)", span)]
    parts = [
        part for span in [re.sub(r"\$\([^)]*\)", "VALUE", s) for s in spans] + inner for part in span.split(" && ")
    ]
    return [shlex.split(re.sub(r"[|>].*", "", part)) for part in parts]


@pytest.mark.parametrize(("alarm", "text"), EVERY)
def test_every_aws_command_is_one_that_aws_knows(alarm, text):
    session = botocore.session.get_session()
    for _, service, operation, *options in commands(text):
        model = session.get_service_model({"s3api": "s3"}.get(service, service))
        if operation == "wait":
            waiters = session.get_waiter_model(service).waiter_names
            assert options[0] in {xform_name(name, "-") for name in waiters}
            continue
        names = {xform_name(name, "-"): name for name in model.operation_names}
        known = {xform_name(name, "-") for name in model.operation_model(names[operation]).input_shape.members}
        given = {option.removeprefix("--") for option in options if option.startswith("--")}
        assert given <= known | OF_THE_CLI, (operation, given - known)


def test_commands_are_found_at_all():
    assert sum(len(commands(text)) for text in TEXTS.values()) > 50


@pytest.mark.parametrize(("alarm", "text"), EVERY)
def test_every_panel_query_setting_and_runbook_that_is_named_is_there(alarm, text):
    named = re.findall(r"[Dd]ashboard (\w+), \*(.+?)\*", alarm.runbook.look_first)
    bodies = dashboard_bodies(OURS)
    for board, panel in named:
        assert panel in {widget["properties"].get("title") for widget in bodies[board]["widgets"]}
    for span in re.findall(r"`((?:filter|stats) [^`]+)`", text):
        query(span, [])
    for setting in re.findall(r"-c (\w+)=", text):
        assert setting in Deployment.__dataclass_fields__
    for link in re.findall(r"\]\(([\w-]+\.md)\)", text):
        assert (GENERATED / "runbooks" / link).is_file()


@pytest.mark.parametrize(("alarm", "text"), EVERY)
def test_every_runbook_answers_what_somebody_who_was_woken_asks(alarm, text):
    headings = ("What it means", "Who is hurt", "Look here first", "Likely causes", "What to do", "escalate", "is over")
    assert all(heading in text for heading in headings)
    assert "{function_name}" not in text
    assert len(text.splitlines()) <= 75
    spoken_for = re.search(r"It calls (?:somebody itself|nobody itself: \[.*\) speaks for it)\.", text)
    assert spoken_for
    assert ("somebody itself" in spoken_for[0]) == alarm.notifies
