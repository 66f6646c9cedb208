"""What the function has to know of the portal around it; the environment is read here and in no other module."""

from __future__ import annotations

import os
import re
from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any

from packager.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping


def _setting(variable: str, default: Any, meaning: str, form: str = "", least: int = 1) -> Any:  # noqa: ANN401  a field of any type
    return field(default=default, metadata={"variable": variable, "meaning": meaning, "form": form, "least": least})


_TABLE = r"[A-Za-z0-9_.-]{3,255}|arn:[A-Za-z0-9_.:/-]{1,1000}"
_INDEX = r"[A-Za-z0-9_.-]{3,255}"
_FUNCTION = r"[A-Za-z0-9_:$-]{1,170}"
_ORIGIN = r"\*|https?://[A-Za-z0-9.:-]{1,253}"


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """The portal's tables and habits. Each field's metadata holds its environment variable, meaning and form.

    An empty table name is allowed until the table is needed: events of machines need none.
    """

    training_jobs_table: str = _setting("TRAINING_JOBS_TABLE", "", "Table of training jobs.", _TABLE)
    usecases_table: str = _setting("USECASES_TABLE", "", "Table of use cases.", _TABLE)
    user_roles_table: str = _setting("USER_ROLES_TABLE", "", "Table of the users' roles.", _TABLE)
    audit_log_table: str = _setting("AUDIT_LOG_TABLE", "", "Table of the audit log.", _TABLE)
    compilation_job_index: str = _setting(
        "COMPILATION_JOB_INDEX",
        "",
        "Index of the table of training jobs with the partition key compilation_job_name; empty: pages are scanned.",
        _INDEX,
    )
    publish_function: str = _setting(
        "GREENGRASS_PUBLISH_FUNCTION_NAME", "", "Function that publishes components; empty: none is asked.", _FUNCTION
    )
    cors_origin: str = _setting("CORS_ORIGIN", "*", "Origin whose pages may call the API.", _ORIGIN)
    audit_days: int = _setting("AUDIT_DAYS", 90, "Days until an audit entry expires.")
    time_reserve_s: int = _setting(
        "TIME_RESERVE_S",
        10,
        "Seconds before the function's end at which the work has stopped; for records and reply.",
        least=2,
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int):
                if value < each.metadata["least"]:
                    raise _refused(each, value, f"at least {each.metadata['least']}")
            elif value and not re.fullmatch(each.metadata["form"], value):
                raise _refused(each, value, f"of the form {each.metadata['form']}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> PortalSettings:
        """Settings from environment variables (default: the process's own); SettingsError names a bad one."""
        environment = os.environ if environment is None else environment
        given: dict[str, Any] = {
            f.name: _parsed(f, environment[v]) for f in fields(cls) if (v := f.metadata["variable"]) in environment
        }
        return cls(**given)

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


@cache
def from_process_environment() -> PortalSettings:
    """The process's settings, checked once."""
    return PortalSettings.from_environment()


def _parsed(setting: Field[Any], text: str) -> str | int:
    if not isinstance(setting.default, int):
        return text.strip()
    try:
        return int(text)
    except ValueError:
        raise _refused(setting, text, "a whole number") from None


def _refused(setting: Field[Any], value: object, wanted: str) -> SettingsError:
    variable = setting.metadata["variable"]
    return SettingsError(
        f"{variable} is {printable(value)!r}; it must be {wanted}.",
        next_step=setting.metadata["meaning"],
        setting=variable,
        value=printable(value),
    )
