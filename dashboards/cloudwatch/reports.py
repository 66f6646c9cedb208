"""Outcomes in the formats that other tools read: JUnit XML, SARIF, and annotations of GitHub Actions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dashboards.cloudwatch.alarm_files import Origin
    from dashboards.cloudwatch.alarm_tests import Outcome
    from dashboards.cloudwatch.lint import LintFinding


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


def sarif(findings: Iterable[LintFinding], rules: Mapping[str, str], page: str) -> str:
    """Return findings of the lint as SARIF 2.1.0, which code hosts show beside the lines of a change.

    `rules` tells what each id is about, `page` is the page of the documentation that explains them. It is no address:
    SARIF wants absolute ones.
    """
    driver = {
        "name": "dashboards lint",
        "rules": [
            {"id": name, "shortDescription": {"text": title}, "help": {"text": f"{page}#{name.lower()} explains it."}}
            for name, title in rules.items()
        ],
    }
    results = [
        {
            "ruleId": each.rule,
            "level": "warning",
            "message": {"text": f"{each.name}: {each.text}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(each.origin.file)},
                        "region": {"startLine": line_of(each.origin)},
                    },
                    "logicalLocations": [{"name": each.origin.logical_id or each.name}],
                }
            ],
        }
        for each in findings
    ]
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, indent=1) + "\n"


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def line_of(origin: Origin) -> int:
    """Return the line of a file that names a logical id first, 1 when none does."""
    try:
        text = Path(origin.file).read_text("utf-8", "replace")
    except OSError:
        return 1
    found = (
        re.search(rf"^[ \t\"']*{re.escape(origin.logical_id)}[\"']?\s*:", text, re.MULTILINE)
        if origin.logical_id
        else None
    )
    return text.count("\n", 0, found.start()) + 1 if found else 1
