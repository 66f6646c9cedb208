"""Every limit and name of a deployment in one frozen record, checked against Lambda's own limits."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telemetry.catalog import NAMESPACE
from telemetry.watch import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIB = 1 << 20
CDK_JSON = Path(__file__).parent / "cdk.json"
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}
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


class SettingError(ValueError):
    """A setting that cannot be deployed: `name` says which, the message says why and what is possible."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"{name}: {problem}")


def _setting(default: Any, meaning: str, check: Callable[[Any], str] = lambda _: "") -> Any:  # noqa: ANN401  a field of any type
    """Return a field; `check` gives what is wrong with a value, or nothing."""
    return field(default=default, metadata={"meaning": meaning, "check": check})


def _within(low: int, high: int, unit: int = 1, name: str = "") -> Callable[[int], str]:
    def check(value: int) -> str:
        if low * unit <= value <= high * unit and value % unit == 0:
            return ""
        whole = f" in steps of 1 {name}" if unit > 1 else ""
        return f"{value:,} is outside of {low:,} to {high:,}{name and ' '}{name}{whole}"

    return check


def _share(value: float) -> str:
    return "" if 0 < value <= 1 else f"{value:g} is no share: it must be above 0 and at most 1"


def _one_of(*values: object) -> Callable[[object], str]:
    return lambda value: "" if value in values else f"{value!r} is not offered; there are {', '.join(map(str, values))}"


def _matching(pattern: str, example: str) -> Callable[[Any], str]:
    def check(value: str | tuple[str, ...]) -> str:
        for each in (value,) if isinstance(value, str) else value:
            if each and not re.fullmatch(pattern, each):
                return f"{each!r} does not look like {example}"
        return ""

    return check


_ROLE = _matching(
    r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+", "arn:aws:iam::123456789012:role/NAME, without wildcards"
)
_PLACE = _matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w!.'()/=-]+)*", "BUCKET or BUCKET/PREFIX, without wildcards")
_NAME = _matching(r"[A-Za-z0-9_.-]{3,255}", "the name of a table")
_ARN = _matching(r"arn:aws[\w-]*:[\w-]+:[\w-]*:\d{12}:[^*\s]+", "an ARN, without wildcards")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """One stage of the service in one account and region.

    `scratch_bytes`, `memory_bytes` and `time_s` are what the runbooks call them: the function, the thresholds of the
    alarms and the dashboards all follow. Raises SettingError at the first wrong value.
    """

    stage: str = _setting(
        "dev",
        "Name of this deployment; part of every resource's name.",
        _matching(r"[a-z][a-z0-9-]{0,14}", "prod or eu-test"),
    )
    account: str = _setting(
        "", "Account to deploy to; empty: that of the credentials.", _matching(r"\d{12}", "123456789012")
    )
    region: str = _setting(
        "", "Region to deploy to; empty: that of the credentials.", _matching(r"[a-z]{2}(-[a-z]+)+-\d", "eu-central-1")
    )
    scratch_bytes: int = _setting(8192 * MIB, "Scratch disk of the function.", _within(512, 10_240, MIB, "MiB"))
    memory_bytes: int = _setting(
        3008 * MIB, "Memory of the function; its share of processors follows it.", _within(256, 10_240, MIB, "MiB")
    )
    time_s: int = _setting(900, "Time an invocation has.", _within(30, 900, 1, "s"))
    storage_warning_share: float = _setting(0.75, "Share of the scratch disk at which a warning is raised.", _share)
    storage_critical_share: float = _setting(0.875, "Share of the scratch disk at which cleaning comes first.", _share)
    streaming: bool = _setting(True, "Whether the packager may stream; false stages everything on scratch.")
    strict_device_rules: bool = _setting(False, "Whether a component that breaks a rule of the device is refused.")
    concurrent_targets: int = _setting(2, "Targets that one invocation packages at the same time.", _within(1, 16))
    architecture: str = _setting("arm64", "Processor of the function.", _one_of("arm64", "x86_64"))
    reserved_concurrency: int = _setting(
        50, "Invocations at the same time, set aside for and capping the function.", _within(1, 10_000)
    )
    map_concurrency: int = _setting(
        40, "Targets that one execution of the state machine packages at the same time.", _within(1, 10_000)
    )
    continuations: int = _setting(
        3, "How often a partial result is gone on with before what is left is reported.", _within(0, 50)
    )
    retries: int = _setting(
        4, "How often the state machine tries again what failed at Lambda or at S3 and can pass.", _within(0, 20)
    )
    log_retention_days: int = _setting(90, "Days that logs are kept.", _one_of(*RETENTION_DAYS))
    log_level: str = _setting("info", "Least level of log lines.", _one_of("debug", "info", "warning", "error"))
    protected: bool = _setting(False, "Whether the stacks refuse to be deleted.")
    deployment: str = _setting(
        "Canary10Percent5Minutes",
        "How a new version takes over; our own alarms roll it back.",
        _one_of(
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
        _matching(r"https://[\w.-]+(:\d+)?(/[\w./-]*)?", "https://HOST/v1/traces"),
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
        _matching(r"[\w-]{1,64}", "the name of a function"),
    )
    cors_origin: str = _setting(
        "*", "Origin whose pages may call the API.", _matching(r"\*|https?://[A-Za-z0-9.:-]{1,253}", "https://HOST")
    )
    user_pool: str = _setting("", "ARN of the Cognito user pool before the API; empty: no API.", _ARN)
    page_emails: tuple[str, ...] = _setting((), "Who is woken up.", _matching(r"[^@\s]+@[^@\s]+", "an e-mail address"))
    ticket_emails: tuple[str, ...] = _setting(
        (), "Who hears in working hours.", _matching(r"[^@\s]+@[^@\s]+", "an e-mail address")
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            if problem := each.metadata["check"](getattr(self, each.name)):
                raise SettingError(each.name, f"{problem}. {each.metadata['meaning']}")
        if not self.stage:
            raise SettingError("stage", "is empty; every resource's name ends in it")
        if self.stage.endswith("-many"):
            raise SettingError("stage", f"{self.stage!r} ends in -many, as the names of other stages' machines do")
        if self.storage_warning_share >= self.storage_critical_share:
            raise SettingError(
                "storage_warning_share",
                f"{self.storage_warning_share:g} is not below storage_critical_share "
                f"({self.storage_critical_share:g}): the warning must come first",
            )
        if self.map_concurrency > self.reserved_concurrency:
            raise SettingError(
                "map_concurrency",
                f"{self.map_concurrency} is above reserved_concurrency ({self.reserved_concurrency}): "
                "the rest would only be throttled",
            )
        tables = (self.training_jobs_table, self.usecases_table, self.user_roles_table, self.audit_log_table)
        if any(tables) and not all(tables):
            raise SettingError("training_jobs_table", f"name all four tables of the portal or none; there are {tables}")
        if self.user_pool and not all(tables):
            raise SettingError("user_pool", "the API needs the four tables of the portal")
        if self.compilation_job_index and not self.training_jobs_table:
            raise SettingError("compilation_job_index", "an index needs its training_jobs_table")

    @property
    def function_name(self) -> str:
        return f"edge-model-packager-{self.stage}"

    @property
    def namespace(self) -> str:
        """Return the namespace of this stage's metrics: stages in one account and region never see each other's."""
        return f"{NAMESPACE}/{self.stage}"

    @property
    def portal(self) -> bool:
        """Tell whether the portal's tables are there: without them only machines are served."""
        return bool(self.training_jobs_table)

    @property
    def limits(self) -> Limits:
        """Return the limits that all thresholds of alarms and dashboards come from."""
        return Limits(
            scratch_bytes=self.scratch_bytes,
            memory_bytes=self.memory_bytes,
            time_s=self.time_s,
            warning_share=self.storage_warning_share,
            critical_share=self.storage_critical_share,
            function_name=self.function_name,
        )

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> Deployment:
        """Return the settings of the stage that the context names.

        `stages` holds the settings by stage. What stands beside it (the command line's `-c NAME=VALUE` too) goes first.
        Raises SettingError for an unknown stage or setting, a value of the wrong type, or one out of range.
        """
        stages = context.get("stages", {})
        stage = context.get("stage", "dev")
        if stage not in stages:
            raise SettingError(
                "stage", f"{stage!r} is not in `stages` of cdk.json; there are {', '.join(stages) or 'none'}"
            )
        known = {each.name: each for each in fields(cls)}
        for name in stages[stage]:
            if name not in known:
                raise SettingError(name, f"no such setting (stage {stage}); there are {', '.join(known)}")
        given = {**stages[stage], **{name: context[name] for name in known if name in context}, "stage": stage}
        return cls(**{name: _read(known[name], value) for name, value in given.items()})


def from_cdk_json(overrides: Mapping[str, Any] | None = None, path: Path = CDK_JSON) -> Deployment:
    """Return the settings of cdk.json, as `cdk synth -c NAME=VALUE` would see them."""
    return Deployment.from_context({**json.loads(path.read_text("utf-8"))["context"], **(overrides or {})})


def _read(setting: Field[Any], value: Any) -> Any:  # noqa: ANN401  any JSON in, the setting's type out
    kind = type(setting.default)
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list of texts"}[
        kind
    ]
    try:
        return _READERS[kind](value, setting.name.endswith("_bytes"))
    except (ValueError, TypeError):
        size = ", or a size such as '8192 MiB'" if setting.name.endswith("_bytes") else ""
        raise SettingError(setting.name, f"{value!r} is not {wanted}{size}") from None


def _boolean(value: object, _: bool) -> bool:  # noqa: FBT001  one signature for all readers
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def _whole(value: object, size: bool) -> int:  # noqa: FBT001  same
    match = re.fullmatch(r"\s*(\d+)\s*(KiB|MiB|GiB|)\s*", str(value))
    if isinstance(value, bool) or not match or (match[2] and not size):
        raise ValueError
    return int(match[1]) * _UNITS[match[2]]


def _number(value: object, _: bool) -> float:  # noqa: FBT001  same
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004  `_read` says what is wrong
    return float(str(value))


def _text(value: object, _: bool) -> str:  # noqa: FBT001  same
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004  same
    return value


def _texts(value: object, _: bool) -> tuple[str, ...]:  # noqa: FBT001  same
    """Read a list, or what the command line can give: texts with commas between them."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError
    return tuple(part.strip() for part in parts if part.strip())


_READERS: dict[type, Callable[[Any, bool], Any]] = {
    bool: _boolean, int: _whole, float: _number, str: _text, tuple: _texts,
}  # fmt: skip


def reference() -> str:
    """Return the settings as a Markdown table."""
    rows = [f"| `{each.name}` | {_shown(each)} | {each.metadata['meaning']} |" for each in fields(Deployment)]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _shown(setting: Field[Any]) -> str:
    value = setting.default
    if value is MISSING or value in ("", ()):
        return ""
    if setting.name.endswith("_bytes"):
        return f"{value // MIB} MiB"
    return str(value).lower() if isinstance(value, bool) else str(value)
