"""Settings of the packager that a deployment passes on as they are: those that nothing here derives."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from packager.portal.settings import PortalSettings
from packager.settings import Settings
from packager.stores.s3_options import S3Options

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = type[Settings | PortalSettings | S3Options]

DERIVED: dict[Kind, frozenset[str]] = {
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
            "probe_place",
            "request_machine_arn",
            "integration_s",
            "function_time_s",
            "function_name",
        }
    ),
    S3Options: frozenset(),
}
"""What a deployment or Lambda itself sets, by the record that reads it in the function."""

_KINDS: dict[str, tuple[Kind, Field[Any]]] = {
    f"s3_{each.name}" if kind is S3Options else each.name: (kind, each)
    for kind, derived in DERIVED.items()
    for each in fields(kind)
    if each.name not in derived
}

PASSED_ON: dict[str, Field[Any]] = {name: each for name, (_, each) in _KINDS.items()}
"""The settings by their names in a deployment: those of S3 say so."""


def variable(name: str) -> str:
    """Return the environment variable of a setting that is passed on."""
    found: str = PASSED_ON[name].metadata["variable"]
    return found


def problem(name: str, given: Mapping[str, str]) -> str:
    """Return what the packager would say of a value beside all others of its kind, or nothing."""
    kind, _ = _KINDS[name]
    together = {variable(each): value for each, value in given.items() if _KINDS[each][0] is kind}
    try:
        kind.from_environment(together)
    except ValueError as error:  # SettingsError, which begins with the variable that is wrong
        return str(error) if str(error).startswith(f"{variable(name)} ") else ""
    return ""
