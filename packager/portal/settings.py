"""Settings of the function behind the portal: names of its tables and of the publishing function, time and origin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from packager.errors import SettingsError
from packager.settings import EnvironmentSettings, setting

SYSTEM = "system"
SYSTEM_CLAIMS = {"sub": SYSTEM, "email": "system@edge-model-packager.internal", "cognito:username": SYSTEM}
"""Claims of the portal itself towards the publishing function; the address is one that cannot exist."""

_TABLE = r"[A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]{1,1000}"
_INDEX = r"[A-Za-z0-9_.-]{3,255}"
_FUNCTION = r"[A-Za-z0-9_:$-]{1,170}"
_QUEUE = r"https?://[A-Za-z0-9.:-]{1,253}/[A-Za-z0-9_/.-]{1,255}"
_MACHINE = r"arn:[A-Za-z0-9-]{3,20}:states:[a-z0-9-]{1,40}:[0-9]{12}:stateMachine:[A-Za-z0-9_-]{1,80}"
_PLACE = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9_/-]{1,200}"
_ORIGIN = r"\*|https?://[A-Za-z0-9.:-]{1,253}"


PROBE_ID = "packager-probe"
"""The training id of the record of probes, the user of their entries, and the beginning of their keys."""


@dataclass(frozen=True, slots=True)
class PortalSettings(EnvironmentSettings):
    """The portal's tables and conventions. Each field's metadata holds its environment variable, meaning and form.

    An empty table name is allowed until the table is needed: events of machines need none.
    """

    training_jobs_table: str = setting("TRAINING_JOBS_TABLE", "", "Table of training jobs.", form=_TABLE)
    usecases_table: str = setting("USECASES_TABLE", "", "Table of use cases.", form=_TABLE)
    user_roles_table: str = setting("USER_ROLES_TABLE", "", "Table of the users' roles.", form=_TABLE)
    audit_log_table: str = setting("AUDIT_LOG_TABLE", "", "Table of the audit log.", form=_TABLE)
    compilation_job_index: str = setting(
        "COMPILATION_JOB_INDEX",
        "",
        "Index of the table of training jobs with the partition key compilation_job_name; empty: pages are scanned.",
        form=_INDEX,
    )
    publish_function: str = setting(
        "GREENGRASS_PUBLISH_FUNCTION_NAME",
        "",
        "Function that publishes components; empty: none is asked.",
        form=_FUNCTION,
    )
    cors_origin: str = setting("CORS_ORIGIN", "*", "Origin whose pages may call the API.", form=_ORIGIN)
    audit_days: int = setting("AUDIT_DAYS", 90, "Days until an audit entry expires.")
    time_reserve_s: int = setting(
        "TIME_RESERVE_S",
        10,
        "Seconds before the function's end at which the work has stopped; for records and reply.",
        least=2,
    )

    dead_letter_queue_url: str = setting(
        "DEAD_LETTER_QUEUE_URL",
        "",
        "Queue for events that can never succeed, with their reason; empty: they fail, and AWS decides.",
        form=_QUEUE,
    )
    probe_place: str = setting(
        "PROBE_PLACE",
        "",
        "Bucket and prefix that probes write to and clear again, s3://BUCKET/PREFIX; empty: there are no probes.",
        form=_PLACE,
    )
    request_machine_arn: str = setting(
        "REQUEST_MACHINE_ARN",
        "",
        "State machine for what does not end while API Gateway waits; empty: the reply says what is left.",
        form=_MACHINE,
    )
    integration_s: int = setting(
        "INTEGRATION_S", 29, "Seconds that API Gateway waits, when REQUEST_MACHINE_ARN is set.", least=1
    )
    function_time_s: int = setting(
        "FUNCTION_TIME_S", 0, "Seconds that an invocation has, for the check of TIME_RESERVE_S; 0: unknown.", least=0
    )
    function_name: str = setting(
        "AWS_LAMBDA_FUNCTION_NAME", "", "Set by Lambda; components are then written to S3 only.", form=_FUNCTION
    )

    def __post_init__(self) -> None:
        EnvironmentSettings.__post_init__(self)
        if 0 < self.function_time_s <= self.time_reserve_s:
            raise SettingsError(
                f"TIME_RESERVE_S ({self.time_reserve_s}) leaves nothing of FUNCTION_TIME_S ({self.function_time_s}).",
                next_step="Lower it, or give the function more time.",
                setting="TIME_RESERVE_S",
                value=self.time_reserve_s,
            )

        if self.request_machine_arn and self.integration_s <= self.time_reserve_s:
            raise SettingsError(
                f"INTEGRATION_S ({self.integration_s}) has to be above TIME_RESERVE_S ({self.time_reserve_s}).",
                next_step="Lower TIME_RESERVE_S, or clear REQUEST_MACHINE_ARN.",
                setting="INTEGRATION_S",
                value=self.integration_s,
            )

    def required_probe_place(self) -> str:
        """Where probes write; SettingsError when it is not set."""
        if not self.probe_place:
            raise SettingsError(
                "PROBE_PLACE is not set.",
                next_step="Set it to a bucket and prefix of their own: whatever lies below is removed.",
                setting="PROBE_PLACE",
            )
        return self.probe_place.rstrip("/")

    def table(self, name: str) -> str:
        """The table that a name of the catalog (`training_jobs`, ...) stands for; SettingsError when it is not set."""
        found: str = getattr(self, f"{name}_table")
        if not found:
            variable = f"{name}_table".upper()
            raise SettingsError(
                f"{variable} is not set.",
                next_step="Set it to the name of the portal's table; only events with URIs do without.",
                setting=variable,
            )
        return found


def cors_headers(origin: str) -> dict[str, str]:
    """The headers that let pages of the origin call the API."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Headers": "Content-Type,Authorization,X-Amz-Date,X-Api-Key,X-Amz-Security-Token",
        "Access-Control-Allow-Methods": "GET,POST,OPTIONS",
    }


@cache
def from_process_environment() -> PortalSettings:
    """The process's settings, checked once."""
    return PortalSettings.from_environment()
