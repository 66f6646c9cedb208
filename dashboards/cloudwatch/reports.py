"""Outcomes in the formats that other tools read: JUnit XML, SARIF, and annotations of GitHub Actions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dashboards.cloudwatch.alarm_tests import Outcome


def junit(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as a JUnit XML document."""
    ran = list(outcomes)
    failed = sum(bool(outcome.failures) for outcome in ran)
    suite = ET.Element("testsuite", name="alarms", tests=str(len(ran)), failures=str(failed))
    for outcome in ran:
        case = ET.SubElement(suite, "testcase", classname=outcome.file, name=outcome.name)
        for failure in outcome.failures:
            ET.SubElement(case, "failure", message=failure.splitlines()[0]).text = failure
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def annotation(level: str, file: str, line: int, title: str, text: str) -> str:
    """Return a line that GitHub shows beside the place it speaks of; `level` is error, warning or notice."""
    place = f"file={_property(file)}" + f",line={line}" * bool(line)
    return f"::{level} {place},title={_property(title)}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
