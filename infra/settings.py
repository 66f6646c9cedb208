"""Every limit and name of a deployment in one frozen record, checked against Lambda's own limits."""

from __future__ import annotations

import json
import re
from dataclasses import Field, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.passed_on import PASSED_ON, problem
from infra.values import MIB, SettingError, bounds, matching, nearest, one_of, read, share, within
from telemetry.watch import Limits, Names, Part, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CDK_JSON = Path(__file__).parent / "cdk.json"
RETENTION_DAYS = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)
"""What CloudWatch Logs offers."""


CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-eusc": "console.amazonaws-eusc.eu",
}
"""The console of each partition, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html."""

CONSOLE_PLACE = "${ConsoleHostOfThePartition}"
"""Where a template puts the console in that only the deployment knows; as long as the longest."""


def _console(region: str) -> str:
    """Return the host of the console that shows a region."""
    if not region:
        return CONSOLE_PLACE
    begins = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
    return CONSOLES[next((partition for begin, partition in begins.items() if region.startswith(begin)), "aws")]


def _setting(default: Any, meaning: str, check: Callable[[Any], str] = lambda _: "") -> Any:  # noqa: ANN401  a field of any type
    """Return a field; `check` gives what is wrong with a value, or nothing."""
    return field(default=default, metadata={"meaning": meaning, "check": check})


_ROLE = matching(
    r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+", "arn:aws:iam::123456789012:role/NAME, without wildcards"
)
_PLACE = matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w!.'()/=-]+)*", "BUCKET or BUCKET/PREFIX, without wildcards")
_NAME = matching(r"[A-Za-z0-9_.-]{3,255}", "the name of a table")
_EMAIL = matching(r"[^@\s,]+@[^@\s,]+", "an e-mail address")
_ENDPOINT = matching(
    r"https://[^\s{}]+|(https://[^\s{}]+)?\{\{resolve:(secretsmanager|ssm):[^\s{}]+\}\}[^\s{}]*",
    "https://HOST/PATH or {{resolve:secretsmanager:NAME}}",
)
_TOPIC = matching(r"arn:aws[\w-]*:sns:[a-z0-9-]+:\d{12}:[\w-]{1,256}", "the ARN of a standard topic")
_CHANNEL = matching(r"[CG][A-Z0-9]{6,}", "the id of a channel, C0123ABCD")
_MOST_TOPICS = 4
"""Alarms write to five topics at most, and one is our own."""

_PRODUCTION = re.compile(r"(^|-)(prod|production|prd|live)(-|$|\d)")
_ARN = matching(r"arn:aws[\w-]*:[\w-]+:[\w-]*:\d{12}:[^*\s]+", "an ARN, without wildcards")


@dataclass(frozen=True, slots=True)
class Heard:
    """Who hears alarms of one severity."""

    emails: tuple[str, ...]
    endpoints: tuple[str, ...]
    topics: tuple[str, ...]
    slack: tuple[str, ...]

    @property
    def anybody(self) -> bool:
        return any((self.emails, self.endpoints, self.topics, self.slack))


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """One stage of the service in one account and region.

    `scratch_bytes`, `memory_bytes` and `time_s` are what the runbooks call them: the function, the thresholds of the
    alarms and the dashboards all follow. Raises SettingError at the first wrong value.
    """

    stage: str = _setting(
        "dev",
        "Name of this deployment; part of every resource's name.",
        matching(r"[a-z][a-z0-9-]{0,14}", "prod or eu-test"),
    )
    account: str = _setting(
        "", "Account to deploy to; empty: that of the credentials.", matching(r"\d{12}", "123456789012")
    )
    region: str = _setting(
        "", "Region to deploy to; empty: that of the credentials.", matching(r"[a-z]{2}(-[a-z]+)+-\d", "eu-central-1")
    )
    scratch_bytes: int = _setting(8192 * MIB, "Scratch disk of the function.")
    memory_bytes: int = _setting(3008 * MIB, "Memory of the function; its share of processors follows it.")
    time_s: int = _setting(900, "Time an invocation has.")
    storage_warning_share: float = _setting(0.75, "Share of the scratch disk at which a warning is raised.", share)
    storage_critical_share: float = _setting(0.875, "Share of the scratch disk at which cleaning comes first.", share)
    streaming: bool = _setting(True, "Whether the packager may stream; false stages everything on scratch.")
    strict_device_rules: bool = _setting(False, "Whether a component that breaks a rule of the device is refused.")
    concurrent_targets: int = _setting(2, "Targets that one invocation packages at the same time.", within(1, 16))
    architecture: str = _setting("arm64", "Processor of the function.", one_of("arm64", "x86_64"))
    reserved_concurrency: int = _setting(
        50, "Invocations at the same time, set aside for and capping the function.", within(1, 10_000)
    )
    map_concurrency: int = _setting(
        40, "Targets that one execution of the state machine packages at the same time.", within(1, 10_000)
    )
    continuations: int = _setting(
        3, "How often a partial result is gone on with before what is left is reported.", within(0, 50)
    )
    retries: int = _setting(
        4, "How often the state machine tries again what failed at Lambda or at S3 and can pass.", within(0, 20)
    )
    log_retention_days: int = _setting(90, "Days that logs are kept.", one_of(*RETENTION_DAYS))
    log_level: str = _setting("info", "Least level of log lines.", one_of("debug", "info", "warning", "error"))
    protected: bool = _setting(False, "Whether the stacks refuse to be deleted.")
    deployment: str = _setting(
        "Canary10Percent5Minutes",
        "How a new version takes over; our own alarms roll it back.",
        one_of(
            "Canary10Percent5Minutes",
            "Canary10Percent15Minutes",
            "Canary10Percent30Minutes",
            "Linear10PercentEvery1Minute",
            "AllAtOnce",
        ),
    )
    traces_endpoint: str = _setting(
        "",
        "OTLP endpoint for traces; empty: X-Ray shows the invocations only.",
        matching(r"https://[\w.-]+(:\d+)?(/[\w./-]*)?", "https://HOST/v1/traces"),
    )
    read_from: tuple[str, ...] = _setting((), "Buckets, with prefix if wanted, that artifacts are read from.", _PLACE)
    write_to: tuple[str, ...] = _setting((), "Buckets, with prefix if wanted, that components are written to.", _PLACE)
    encryption_keys: tuple[str, ...] = _setting((), "ARNs of the KMS keys of those buckets and tables.", _ARN)
    use_case_roles: tuple[str, ...] = _setting((), "Roles of use cases in other accounts that may be assumed.", _ROLE)
    training_jobs_table: str = _setting("", "The portal's table of training jobs.", _NAME)
    compilation_job_index: str = _setting(
        "", "Index of that table by compilation job; empty: the table is scanned.", _NAME
    )
    usecases_table: str = _setting("", "The portal's table of use cases.", _NAME)
    user_roles_table: str = _setting("", "The portal's table of roles.", _NAME)
    audit_log_table: str = _setting("", "The portal's audit log.", _NAME)
    publish_function: str = _setting(
        "",
        "Function that publishes components; empty: nothing is published.",
        matching(r"[\w-]{1,64}", "the name of a function"),
    )
    cors_origin: str = _setting(
        "*", "Origin whose pages may call the API.", matching(r"\*|https?://[A-Za-z0-9.:-]{1,253}", "https://HOST")
    )
    user_pool: str = _setting("", "ARN of the Cognito user pool before the API; empty: no API.", _ARN)
    integration_s: int = _setting(29, "Seconds that the API waits for the function.")
    synchronous_replies: bool = _setting(
        False, "Whether the API answers what is left when its time is up, instead of 202 and going on by itself."
    )
    probe_minutes: int = _setting(
        15,
        "Minutes between two probes, in which the function packages a tiny model; 0: none.",
        one_of(0, 5, 10, 15, 30, 60),
    )
    runbook_url: str = _setting(
        "",
        "Where the runbook of an alarm is read, with `{alarm}` for its name; empty: on the dashboard `runbooks`.",
        matching(r"https://[^\s$]{1,100}", "https://HOST/{alarm}, which leaves room for the other links of a message"),
    )
    page_emails: tuple[str, ...] = _setting((), "Who is woken up.", _EMAIL)
    page_endpoints: tuple[str, ...] = _setting(
        (),
        "HTTPS endpoints that wake somebody, such as PagerDuty's, Opsgenie's or incident.io's for CloudWatch. With a"
        " key in it: `{{resolve:secretsmanager:NAME}}`, which keeps it out of templates.",
        _ENDPOINT,
    )
    page_topics: tuple[str, ...] = _setting((), "ARNs of topics that exist already and wake somebody.", _TOPIC)
    page_slack: tuple[str, ...] = _setting((), "Ids of Slack channels in which pages are told.", _CHANNEL)
    ticket_emails: tuple[str, ...] = _setting((), "Who hears in working hours.", _EMAIL)
    ticket_endpoints: tuple[str, ...] = _setting((), "HTTPS endpoints that take tickets.", _ENDPOINT)
    ticket_topics: tuple[str, ...] = _setting((), "ARNs of topics that exist already and take tickets.", _TOPIC)
    ticket_slack: tuple[str, ...] = _setting((), "Ids of Slack channels in which tickets are told.", _CHANNEL)
    slack_workspace: str = _setting(
        "",
        "Id of the Slack workspace of those channels, once it is authorized in AWS Chatbot (Amazon Q Developer).",
        matching(r"T[A-Z0-9]{6,}", "T0123ABCD"),
    )
    bounds: tuple[str, ...] = _setting(
        (),
        "Largest values in place of those of `infra/bounds.json`, when AWS offers more: `time_s=5400`.",
        matching(r"\w+=\d+ ?([KMG]iB)?", "time_s=5400"),
    )
    packager: tuple[tuple[str, str], ...] = field(default=(), metadata={"meaning": "", "check": lambda _: ""})
    """Settings of the packager that nothing here derives, by the names of their fields; see `PASSED_ON`."""

    def __post_init__(self) -> None:
        for name, wrong in chain(_wrong_values(self), _contradictions(self)):
            raise SettingError(name, wrong)

    @property
    def function_name(self) -> str:
        return self.names.function

    @property
    def names(self) -> Names:
        """Return what this stage calls its things."""
        return Names(
            self.stage,
            runbook_url=self.runbook_url,
            console=f"https://{_console(self.region)}",
            region=self.region or "${AWS::Region}",
        )

    def heard(self, severity: Severity) -> Heard:
        """Return who hears alarms of a severity."""
        if severity is Severity.PAGE:
            return Heard(self.page_emails, self.page_endpoints, self.page_topics, self.page_slack)
        return Heard(self.ticket_emails, self.ticket_endpoints, self.ticket_topics, self.ticket_slack)

    @property
    def unheard(self) -> tuple[Severity, ...]:
        """Return the severities that nobody hears."""
        return tuple(severity for severity in Severity if not self.heard(severity).anybody)

    @property
    def in_production(self) -> bool:
        """Tell whether people rely on this stage: its name says so, or it is protected from being deleted."""
        return self.protected or bool(_PRODUCTION.search(self.stage))

    @property
    def portal(self) -> bool:
        """Tell whether the portal's tables are there: without them only machines are served."""
        return bool(self.training_jobs_table)

    @property
    def hands_over(self) -> bool:
        """Tell whether requests of the API that take longer than it waits go on in the state machine."""
        return bool(self.user_pool) and not self.synchronous_replies

    @property
    def limits(self) -> Limits:
        """Return the limits that all thresholds of alarms and dashboards come from."""
        return Limits(
            scratch_bytes=self.scratch_bytes,
            memory_bytes=self.memory_bytes,
            time_s=self.time_s,
            warning_share=self.storage_warning_share,
            critical_share=self.storage_critical_share,
            probe_s=60 * (self.probe_minutes or 15),
            integration_s=self.integration_s,
            concurrency=self.reserved_concurrency,
        )

    @property
    def parts(self) -> frozenset[Part]:
        """Return what of the service is there and watched."""
        there: dict[Part, bool] = {
            "api": bool(self.user_pool),
            "portal": self.portal,
            "probe": self.probe_minutes > 0,
            "publish": bool(self.publish_function),
        }
        return frozenset(part for part, is_there in there.items() if is_there)

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Deployment:
        """Return the settings of the stage that the context names.

        `stages` holds the settings by stage. What stands beside it (the command line's `-c NAME=VALUE` too) goes first.
        Raises SettingError for an unknown stage or setting, a value of the wrong type, or one out of range.
        """
        stages = context.get("stages", {})
        stage = context.get("stage", "dev")
        if stage not in stages:
            raise SettingError("stage", f"{stage!r} is not in `stages` of cdk.json; {nearest(str(stage), stages)}")
        known = {each.name: each for each in fields(cls) if each.name != "packager"}
        beside = {name: value for name, value in context.items() if name not in {"stage", "stages"} and _is_ours(name)}
        given = {**stages[stage], **beside, "stage": stage}
        for name in given:
            if name not in known and name not in PASSED_ON:
                raise SettingError(name, f"no such setting (stage {stage}); {nearest(name, [*known, *PASSED_ON])}")
        passed_on = tuple((name, str(value)) for name, value in given.items() if name in PASSED_ON)
        ours = {name: read(name, type(known[name].default), each) for name, each in given.items() if name in known}
        return cls(**ours, packager=passed_on)


def _wrong_values(given: Deployment) -> Iterator[tuple[str, str]]:
    """Yield settings whose value is wrong by itself, and why."""
    for each in fields(given):
        if wrong := each.metadata["check"](getattr(given, each.name)):
            yield each.name, f"{wrong}. {each.metadata['meaning']}"
    for name, bound in bounds(given.bounds).items():
        if wrong := bound.problem(getattr(given, name)):
            yield name, wrong
    for name, _ in given.packager:
        if wrong := problem(name, dict(given.packager)):
            yield name, wrong


def _contradictions(given: Deployment) -> Iterator[tuple[str, str]]:
    """Yield settings that are wrong beside others, and why."""
    if not given.stage:
        yield "stage", "is empty; every resource's name ends in it"
    if given.stage.endswith("-many"):
        yield "stage", f"{given.stage!r} ends in -many, as the names of other stages' machines do"
    warning, critical = given.storage_warning_share, given.storage_critical_share
    if warning >= critical:
        yield (
            "storage_warning_share",
            f"{warning:g} is not below storage_critical_share ({critical:g}): the warning must come first",
        )
    if given.map_concurrency > given.reserved_concurrency:
        yield (
            "map_concurrency",
            (
                f"{given.map_concurrency} is above reserved_concurrency ({given.reserved_concurrency}): "
                "the rest would only be throttled"
            ),
        )
    yield from _half_a_portal(given)
    yield from _unheard(given)


def _half_a_portal(given: Deployment) -> Iterator[tuple[str, str]]:
    tables = (given.training_jobs_table, given.usecases_table, given.user_roles_table, given.audit_log_table)
    if any(tables) and not all(tables):
        yield "training_jobs_table", f"name all four tables of the portal or none; there are {tables}"
    if given.user_pool and not all(tables):
        yield "user_pool", "the API needs the four tables of the portal"
    reserve_s = int(str(PASSED_ON["time_reserve_s"].default))
    reserve_s = int(dict(given.packager).get("time_reserve_s", reserve_s))
    if given.hands_over and given.integration_s <= reserve_s:
        yield "integration_s", f"{given.integration_s} has to be above time_reserve_s ({reserve_s})"
    if given.compilation_job_index and not given.training_jobs_table:
        yield "compilation_job_index", "an index needs its training_jobs_table"


def _unheard(given: Deployment) -> Iterator[tuple[str, str]]:
    if given.in_production and Severity.PAGE in given.unheard:
        ways = "page_emails, page_endpoints, page_slack or page_topics"
        yield "page_emails", f"nobody would be woken when the stage {given.stage} fails; set {ways}"
    for severity in Severity:
        heard = given.heard(severity)
        if len(heard.topics) > _MOST_TOPICS:
            yield f"{severity}_topics", f"{len(heard.topics)} are more than the {_MOST_TOPICS} that alarms can write to"
        if heard.slack and not given.slack_workspace:
            yield "slack_workspace", f"the channels of {severity}_slack need the workspace that they are in"
        for way, named in (("emails", heard.emails), ("endpoints", heard.endpoints), ("topics", heard.topics)):
            if len(set(named)) < len(named):
                yield f"{severity}_{way}", "names somebody twice, who would be called twice for each alarm"
        for topic in heard.topics:
            region = topic.split(":")[3]
            if given.region and region != given.region:
                yield f"{severity}_topics", f"{topic!r} is in {region}: alarms write only to topics of {given.region}"


def _is_ours(name: str) -> bool:
    """Tell whether a name in the context is ours: those of the CDK and its lookups hold an @ or a colon."""
    return "@" not in name and ":" not in name


def from_cdk_json(overrides: Mapping[str, Any] | None = None, path: Path = CDK_JSON) -> Deployment:
    """Return the settings of cdk.json, as `cdk synth -c NAME=VALUE` would see them."""
    return Deployment.from_context({**json.loads(path.read_text("utf-8"))["context"], **(overrides or {})})


def reference() -> str:
    """Return the settings as a Markdown table."""
    ours = (each for each in fields(Deployment) if each.name != "packager")
    rows = [f"| `{each.name}` | {_shown(each)} | {each.metadata['meaning']} |" for each in ours]
    rows += [f"| `{name}` | {each.default} | {each.metadata['meaning']} |" for name, each in PASSED_ON.items()]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _shown(setting: Field[Any]) -> str:
    value: Any = setting.default
    if value in ("", ()):
        return ""
    if setting.name.endswith("_bytes"):
        return f"{value // MIB} MiB"
    return str(value).lower() if isinstance(value, bool) else str(value)
