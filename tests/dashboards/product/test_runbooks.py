"""Runbooks as the engineer on call reads them: what they name is there, what they say to type can be typed."""

import io
import re
import shlex
import uuid
from types import SimpleNamespace

import pytest

from dashboards.cloudwatch.insights import query
from dashboards.places import GENERATED
from dashboards.product.layout import dashboard_bodies
from dashboards.product.runbooks import runbook_texts
from dashboards.product.specs import Catalog
from infra.settings import Deployment

OURS = Catalog()
TEXTS = runbook_texts(OURS)
EVERY = [pytest.param(alarm, TEXTS[OURS.prefix + alarm.name], id=alarm.name) for alarm in OURS.everything]
AWS = r"(?:AWS_MAX_ATTEMPTS=1 )?aws "


def commands(text):
    """Return every `aws` command in a text, those within other commands too, without what the shell does with it."""
    code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = [span for span in re.findall(r"`([^`]+)`", code) if re.match(AWS, span)]
    inner = [found for span in spans for found in re.findall(r"\$\((aws [^)]*)\)", span)]
    outer = [part for span in spans for part in re.sub(r"\$\([^)]*\)", "VALUE", span).split(" && ")]
    return {re.sub(r" (\| sort|> \S+)$", "", each) for each in (*outer, *inner)}


COMMANDS = sorted({command for text in TEXTS.values() for command in commands(text)})
ANSWER = {"Configuration": {}, "LastUpdateStatus": "Successful", "StackStatus": "x"}


def test_the_runbooks_name_more_than_twenty_aws_commands():
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_every_aws_command_is_one_that_the_aws_cli_takes(command, tmp_path, monkeypatch, capfd):
    """The CLI's own parser reads it, botocore's checks its parameters; only the call itself is not made."""
    create_clidriver = pytest.importorskip("awscli.clidriver", reason="NOT TESTED: awscli is missing").create_clidriver
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    for name in ("event.json", "body.json", "probe.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.chdir(tmp_path)
    sent = []

    def answered(model, **_):
        sent.append(model.name)
        return SimpleNamespace(status_code=200, headers={}), (
            {**ANSWER, "Payload": io.BytesIO()} if model.name == "Invoke" else ANSWER
        )

    driver = create_clidriver()
    driver.session.register("before-call", answered)
    command = command.replace("EXECUTION_ID", str(uuid.UUID(int=0)))
    words = shlex.split(re.sub(r"\b[A-Z_]{4,}\b", "placeholder", command.removeprefix("AWS_MAX_ATTEMPTS=1 ")))
    status = driver.main(words[1:])
    assert (status, capfd.readouterr().err) == (0, ""), command
    assert len(sent) == 1


def test_whoever_invokes_the_function_by_hand_does_so_once():
    for command in COMMANDS:
        if " lambda invoke " in command and "--invocation-type Event" not in command:
            assert command.startswith("AWS_MAX_ATTEMPTS=1 ")
            assert " --cli-read-timeout 0 " in command


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
