"""A plugin for pytest: the fixture `cloudwatch_alarms`, to test a stack's alarms beside its code.

Its files are named in the settings of pytest (`cloudwatch_alarms = template.yaml`), or by the test itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dashboards.cloudwatch.alarm_files import Definitions, read_definitions
from dashboards.cloudwatch.alarm_tests import failures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dashboards.cloudwatch.alarm import Alarm


@dataclass
class AlarmsUnderTest:
    """Alarms to be tested. Files are relative to `folder`, that of pytest's settings."""

    folder: Path
    definitions: Definitions = field(default_factory=Definitions)

    @property
    def alarms(self) -> Mapping[str, Alarm]:
        """The alarms by name."""
        return self.definitions.alarms

    @property
    def unevaluated(self) -> list[str]:
        """What is not evaluated, and why."""
        return [str(each) for each in self.definitions.unevaluated]

    def read(self, *files: str, **parameters: str) -> AlarmsUnderTest:
        """Return the alarms of files, with values for the parameters of templates."""
        paths = [self.folder / name for name in files]
        return AlarmsUnderTest(self.folder, read_definitions(paths, parameters))

    def check(self, expect: Sequence[Mapping[str, Any]], **test: Any) -> None:  # noqa: ANN401  keys of a test in YAML
        """Fail unless what is expected holds: the keys are those of a test in YAML.

        `check([{"alarm": "busy", "fires": ["4m"]}], series=[{"metric": "Shop/Load", "values": "50 95 95"}])`
        """
        __tracebackhide__ = True
        found = failures_of(self.folder, {"expect": list(expect), **test}, self.definitions)
        if found:
            pytest.fail("\n".join(found), pytrace=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting that names files with alarms."""
    parser.addini("cloudwatch_alarms", "files with CloudWatch alarms, for the fixture of that name", "args", default=[])


@pytest.fixture
def cloudwatch_alarms(pytestconfig: pytest.Config) -> AlarmsUnderTest:
    """The alarms of the files that pytest's settings name."""
    folder = pytestconfig.rootpath
    files: list[str] = pytestconfig.getini("cloudwatch_alarms")
    return AlarmsUnderTest(folder).read(*files) if files else AlarmsUnderTest(folder)
