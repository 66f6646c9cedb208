"""Settings of the packager that a deployment passes on as they are: those that nothing here derives."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from packager.portal.settings import PortalSettings
from packager.settings import Settings

DERIVED: dict[type[Settings | PortalSettings], frozenset[str]] = {
    Settings: frozenset(
        {
            "storage_warning_bytes",
            "storage_critical_bytes",
            "streaming_enabled",
            "max_concurrent_operations",
            "strict_device_rules",
        }
    ),
    PortalSettings: frozenset(
        {
            "training_jobs_table",
            "usecases_table",
            "user_roles_table",
            "audit_log_table",
            "compilation_job_index",
            "publish_function",
            "cors_origin",
            "dead_letter_queue_url",
            "function_time_s",
            "function_name",
        }
    ),
}
"""What a deployment or Lambda itself sets, by the record that reads it in the function."""

PASSED_ON: dict[str, Field[Any]] = {
    each.name: each for kind, derived in DERIVED.items() for each in fields(kind) if each.name not in derived
}


def variable(name: str) -> str:
    """Return the environment variable of a setting that is passed on."""
    found: str = PASSED_ON[name].metadata["variable"]
    return found


def problem(name: str, value: str) -> str:
    """Return what the packager would say of a value, or nothing."""
    kind = next(kind for kind in DERIVED if name in {each.name for each in fields(kind)})
    try:
        kind.from_environment({variable(name): value})
    except ValueError as error:  # SettingsError, which says the variable and what it must be
        return str(error)
    return ""
