"""The environment of the function, under the names that the packager and telemetry read."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from infra.passed_on import variable
from packager.portal.settings import PortalSettings
from packager.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings import Deployment


def environment(deployment: Deployment) -> dict[str, str]:
    """Return the variables by name, the keys of `DERIVED` among them."""
    limits = deployment.limits
    packager = {
        "storage_warning_bytes": int(limits.warning_bytes),
        "storage_critical_bytes": int(limits.critical_bytes),
        "streaming_enabled": deployment.streaming,
        "max_concurrent_operations": deployment.concurrent_targets,
        "strict_device_rules": deployment.strict_device_rules,
    }
    portal = {
        "training_jobs_table": deployment.training_jobs_table,
        "usecases_table": deployment.usecases_table,
        "user_roles_table": deployment.user_roles_table,
        "audit_log_table": deployment.audit_log_table,
        "compilation_job_index": deployment.compilation_job_index,
        "publish_function": deployment.publish_function,
        "cors_origin": deployment.cors_origin,
        "integration_s": deployment.integration_s if deployment.hands_over else "",
        "function_time_s": deployment.time_s,
    }
    telemetry = {
        "TELEMETRY_LOG_LEVEL": deployment.log_level,
        "TELEMETRY_STAGE": deployment.stage,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": deployment.traces_endpoint,
    }
    passed_on = {variable(name): value for name, value in deployment.packager}
    given = {**_named(Settings, packager), **_named(PortalSettings, portal), **telemetry, **passed_on}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
        if value != ""
    }


def _named(settings: type[Settings | PortalSettings], values: Mapping[str, object]) -> dict[str, object]:
    variables = {each.name: each.metadata["variable"] for each in fields(settings)}
    return {variables[name]: value for name, value in values.items()}
