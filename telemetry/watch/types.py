"""The types of what watches the rows: limits, names, alarms, SLOs, runbooks; plain frozen data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from string import ascii_letters, digits
from typing import Literal

from telemetry.catalog.parts import NAMESPACE


@dataclass(frozen=True)
class Limits:
    """What the function has. Every threshold is a share of one of these, so one setting moves all of them.

    `warning_share` and `critical_share` are of `scratch_bytes`: 6 GiB and 7 GiB of the default 8 GiB. The function
    probes itself every `probe_s`; the API waits `integration_s` for its answer; `concurrency` invocations run at once.
    """

    scratch_bytes: int = 8192 * 1024**2
    memory_bytes: int = 3008 * 1024**2
    time_s: int = 900
    warning_share: float = 0.75
    critical_share: float = 0.875
    probe_s: int = 900
    integration_s: int = 29
    concurrency: int = 50

    @property
    def warning_bytes(self) -> float:
        return self.scratch_bytes * self.warning_share

    @property
    def critical_bytes(self) -> float:
        return self.scratch_bytes * self.critical_share

    @property
    def time_ms(self) -> float:
        return self.time_s * 1000.0

    @property
    def integration_ms(self) -> float:
        return self.integration_s * 1000.0


RUNBOOK_BOARD = "runbooks"
"""The dashboard that shows every runbook of a stage."""


_QUERY_S = 10_800
_UNSTARRED = frozenset(f"{ascii_letters}{digits}-._")


def _starred(text: str) -> str:
    """Return a text as the console writes it into addresses: `*20` for a space."""
    return "".join(chr(byte) if chr(byte) in _UNSTARRED else f"*{byte:02x}" for byte in text.encode())


@dataclass(frozen=True)
class Names:
    """What a stage of the service calls its things: stages share an account, and none sees another's numbers.

    `runbook_url` is where the runbooks of its alarms are read, with `{alarm}` in place of an alarm's name; empty: on a
    dashboard in the console. `console` and `region` are of that; without a region the console shows the last one.
    """

    stage: str = "prod"
    runbook_url: str = ""
    console: str = "https://console.aws.amazon.com"
    region: str = ""

    @property
    def function(self) -> str:
        return f"edge-model-packager-{self.stage}"

    @property
    def prefix(self) -> str:
        """Return what the names of alarms, dashboards and documents begin with."""
        return f"{self.function}-"

    @property
    def namespace(self) -> str:
        return f"{NAMESPACE}/{self.stage}"

    def filled(self, text: str) -> str:
        """Return a text with `{function_name}`, `{namespace}` and `{stage}` in it replaced; other braces stay."""
        known = {"{function_name}": self.function, "{namespace}": self.namespace, "{stage}": self.stage}
        return re.sub(r"\{(?:function_name|namespace|stage)\}", lambda match: known[match[0]], text)

    def page(self, service: str, place: str) -> str:
        """Return the address of a place in the console of a service, in the region of the stage."""
        region = f"?region={self.region}" if self.region else ""
        return f"{self.console}/{service}/home{region}#{place}"

    def dashboard(self, name: str, *, start: str = "") -> str:
        """Return the address of a dashboard; `start`, such as `PT3H`, is how far back it begins."""
        since = f"?start={start}" if start else ""
        return self.page("cloudwatch", f"dashboards/dashboard/{self.prefix}{name}{since}")

    @property
    def executions(self) -> str:
        """Return the address of what Automation ran, in the region of the stage."""
        region = f"?region={self.region}" if self.region else ""
        return f"{self.console}/systems-manager/automation/executions{region}"

    def insights(self, query: str) -> str:
        """Return the address of a query of Logs Insights over the function's lines of the last three hours.

        Brackets and quotes are escaped, so that what recognises links in messages does not end them there.
        """
        short = re.sub(r"(?<=,) | (?=[|=])|(?<=[|=]) ", "", query)
        detail = (
            f"~(end~0~start~-{_QUERY_S}~timeType~'RELATIVE~unit~'seconds~editorString~'{_starred(short)}"
            f"~source~(~'{_starred(f'/aws/lambda/{self.function}')}))"
        )
        for sign, escaped in (("(", "$28"), (")", "$29"), ("'", "$27")):
            detail = detail.replace(sign, escaped)
        return self.page("cloudwatch", f"logsV2:logs-insights$3FqueryDetail$3D{detail}")

    def runbook(self, alarm: str) -> str:
        """Return where the runbook of an alarm is read."""
        return self.runbook_url.replace("{alarm}", alarm) or self.dashboard(RUNBOOK_BOARD)


@dataclass(frozen=True)
class Threshold:
    """A bound by meaning: `share` of the attribute of `Limits` that `of` names; `share` itself when `of` is empty."""

    share: float
    of: str = ""

    def value(self, limits: Limits) -> float:
        """Return the bound in the unit of the metric."""
        return self.share * (float(getattr(limits, self.of)) if self.of else 1.0)

    def __str__(self) -> str:
        return f"{self.share:g} x {self.of}" if self.of else f"{self.share:g}"


Missing = Literal["breaching", "notBreaching", "ignore", "missing"]
"""How an alarm treats a period without data, spelled as PutMetricAlarm spells it."""

Comparison = Literal[">", ">=", "<", "<="]
"""How a value breaches a threshold."""


class Severity(StrEnum):
    """Who hears of it: `PAGE` wakes a person now, `TICKET` waits for working hours."""

    PAGE = "page"
    TICKET = "ticket"


OURS = "{namespace}"
"""The namespace of a stage's own metrics."""


@dataclass(frozen=True)
class Signal:
    """One metric as an alarm asks for it. `id` is its name in the alarm's expression.

    Its namespace and the values of its dimensions may hold what `Names.filled` replaces.
    """

    id: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    namespace: str = OURS

    def dimension_values(self, names: Names) -> dict[str, str]:
        """Return the dimensions with the names of a stage filled in."""
        return {name: names.filled(value) for name, value in self.dimensions}


@dataclass(frozen=True)
class Action:
    """A safe step that a machine may run: a query of Logs Insights, or a command of the AWS CLI."""

    name: str
    kind: Literal["query", "command"]
    text: str


@dataclass(frozen=True)
class Automation:
    """Steps under one name, shared by all runbooks that have them: one document for each stage."""

    name: str
    meaning: str
    steps: tuple[Action, ...]


@dataclass(frozen=True)
class Runbook:
    """What a person who was woken up needs, in reading order. `query` is for Logs Insights, on the function's logs.

    Commands hold `{function_name}` where the name belongs, and capitals where the reader fills in (BUCKET, KEY).
    """

    meaning: str
    hurt: str
    look_first: str
    query: str
    causes: tuple[str, ...]
    actions: tuple[str, ...]
    escalate: str
    over: str
    automation: Automation | None = None


Part = Literal["api", "portal", "probe", "publish"]
"""What a deployment may lack, and the alarms on it with it."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Fires when `datapoints` of the newest `periods` periods of `period_s` seconds breach the threshold.

    With one signal `expression` may be empty; else it is CloudWatch metric maths over the signals' ids.
    `notifies` is false when a composite speaks for it: one cause then wakes one person once. `row` names the operation
    of the catalog whose panels and documentation show the alarm. `part` is what a deployment needs for it. For
    `warm_up_s` after it was made the alarm is silent.
    """

    name: str
    row: str
    meaning: str
    severity: Severity
    signals: tuple[Signal, ...]
    runbook: Runbook
    missing_why: str
    missing: Missing = "notBreaching"
    comparison: Comparison = ">="
    threshold: Threshold = Threshold(1)
    period_s: int = 300
    datapoints: int = 1
    periods: int = 1
    expression: str = ""
    notifies: bool = False
    part: Part | None = None
    warm_up_s: int = 0


@dataclass(frozen=True, kw_only=True)
class Composite:
    """An alarm over alarms: in ALARM when any of its children is, or all of them for the word AND.

    `suppressor` names an alarm or composite during which this one does not act. `notifies` as for alarms.
    """

    name: str
    meaning: str
    severity: Severity
    children: tuple[str, ...]
    runbook: Runbook
    word: Literal["OR", "AND"] = "OR"
    suppressor: str = ""
    suppressor_wait_s: int = 0
    suppressor_extension_s: int = 0
    notifies: bool = True

    @property
    def rule(self) -> str:
        """Return the rule in the language of PutCompositeAlarm, with bare names."""
        return self.full_rule("", "")

    def full_rule(self, prefix: str, quote: str = '"') -> str:
        """Return the rule with every name prefixed and quoted, as PutCompositeAlarm wants it."""
        return f" {self.word} ".join(f"ALARM({quote}{prefix}{child}{quote})" for child in self.children)


@dataclass(frozen=True)
class Slo:
    """A service level objective: `objective` of all events are good over `window_days`.

    Events are counted by Sum: `bad` of `total`, each the sum of its signals. Windows with fewer than `minimum_events`
    say nothing: one failure out of two is no trend. `row` names the operation that the SLO is about.
    """

    name: str
    row: str
    meaning: str
    objective: float
    window_days: int
    bad: tuple[Signal, ...]
    total: tuple[Signal, ...]
    minimum_events: int
    runbook: Runbook

    @property
    def budget(self) -> float:
        """Return the share of events that may be bad."""
        return 1.0 - self.objective
