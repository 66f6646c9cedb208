"""Settings of telemetry: one frozen record, the environment read here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from telemetry.engine import conventions
from telemetry.engine.vocabulary import STAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

PLATFORM_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
XRAY, TRACECONTEXT = "xray", "tracecontext"
Attribute = str | int | tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What the environment decides.

    `service` is the name of the service, empty for the vocabulary's. Metrics of a `stage` go to a namespace of its own
    below the vocabulary's. `log_level` is debug, info, warning or error. `platform_level` is the level below which the
    platform drops JSON lines by itself (trace, debug, info, warn, error or fatal), empty where it drops none.
    `traces_endpoint` is the whole address that spans are posted to, empty when they go nowhere over the network;
    `metrics_endpoint` that of metrics, which are written as EMF lines too unless `emf` is false.
    `propagators` are the forms of the trace context that are read and written, the later before the earlier. Of new
    traces `sampled_share` is recorded, from 0 to 1; None leaves it to the caller and to OpenTelemetry's own variables.
    `flush_s` bounds what a flush waits, so that the end of an invocation costs 300 ms at most; `dead_after` failed
    flushes in a row give the endpoint up for `dead_pause_s`.
    """

    service: str = ""
    stage: str = ""
    log_level: str = "info"
    platform_level: str = ""
    console: bool = False
    traces_endpoint: str = ""
    metrics_endpoint: str = ""
    emf: bool = True
    flush_s: float = 0.25
    dead_after: int = 3
    dead_pause_s: float = 60.0
    in_lambda: bool = False
    resource: tuple[tuple[str, Attribute], ...] = ()
    propagators: tuple[str, ...] = (XRAY,)
    sampled_share: float | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the settings that the environment asks for; what it does not say, or says wrongly, is the default.

        TELEMETRY_LOG_LEVEL, TELEMETRY_LOG_FORMAT (json or console), TELEMETRY_STAGE (a name below the namespace of
        metrics), TELEMETRY_XRAY (active or passthrough), TELEMETRY_METRICS (emf, otlp or both), the standard
        OTEL_EXPORTER_OTLP_ENDPOINT with _TRACES_ and _METRICS_, OTEL_SERVICE_NAME, OTEL_PROPAGATORS,
        OTEL_TRACES_EXPORTER=none, and what Lambda says of the function. OpenTelemetry reads the other standard
        variables (headers, time-out, TLS) by itself.
        """
        level = (environ.get("TELEMETRY_LOG_LEVEL") or environ.get("AWS_LAMBDA_LOG_LEVEL") or "info").lower()
        level = {"warn": "warning", "trace": "debug", "fatal": "error"}.get(level, level)
        service = environ.get("OTEL_SERVICE_NAME") or environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
        endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (base and f"{base}/v1/traces")
        stage = environ.get("TELEMETRY_STAGE", "")
        off = environ.get("OTEL_TRACES_EXPORTER") == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        return cls(
            service=service,
            log_level=level if level in {"debug", "info", "warning", "error"} else "info",
            platform_level=_platform_level(environ),
            stage=stage if STAGE.fullmatch(stage) else "",
            console=environ.get("TELEMETRY_LOG_FORMAT", "") == "console",
            traces_endpoint="" if off else endpoint,
            metrics_endpoint=_metrics_endpoint(environ),
            emf=not (_metrics_endpoint(environ) and environ.get("TELEMETRY_METRICS", "").lower() == "otlp"),
            in_lambda="AWS_LAMBDA_RUNTIME_API" in environ,
            resource=_resource(environ),
            propagators=_propagators(environ.get("OTEL_PROPAGATORS", XRAY)),
            sampled_share=_sampled_share(environ),
        )


def _metrics_endpoint(environ: Mapping[str, str]) -> str:
    """Return where metrics are posted to, when TELEMETRY_METRICS asks for OTLP, alone (otlp) or beside EMF (both)."""
    if environ.get("TELEMETRY_METRICS", "").lower() not in {"otlp", "both"}:
        return ""
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    return environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or (base and f"{base}/v1/metrics")


def _platform_level(environ: Mapping[str, str]) -> str:
    """Return the level of Lambda's own filter, which it applies to functions whose log format is JSON.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
    """
    if environ.get("AWS_LAMBDA_LOG_FORMAT", "").lower() != "json":
        return ""
    level = environ.get("AWS_LAMBDA_LOG_LEVEL", "").lower()
    return level if level in PLATFORM_LEVELS else "info"


def _propagators(names: str) -> tuple[str, ...]:
    known = {"xray": XRAY, "xray-lambda": XRAY, "tracecontext": TRACECONTEXT}
    found = [known[name.strip()] for name in names.lower().split(",") if name.strip() in known]
    return tuple(dict.fromkeys(found))


def _sampled_share(environ: Mapping[str, str]) -> float | None:
    """Return the share of traces to record, where nobody else decides: X-Ray passes through, no sampler is named."""
    if environ.get("TELEMETRY_XRAY", "").lower() != "passthrough" or environ.get("OTEL_TRACES_SAMPLER"):
        return None
    try:
        share = float(environ.get("OTEL_TRACES_SAMPLER_ARG") or 1.0)
    except ValueError:
        return 1.0
    return share if 0 <= share <= 1 else 1.0


def _resource(environ: Mapping[str, str]) -> tuple[tuple[str, Attribute], ...]:
    if "AWS_LAMBDA_FUNCTION_NAME" not in environ:
        return ()
    found: dict[str, Attribute] = {conventions.CLOUD_PROVIDER: "aws", conventions.CLOUD_PLATFORM: "aws_lambda"}
    for variable, attribute in (
        ("AWS_REGION", conventions.CLOUD_REGION),
        ("AWS_LAMBDA_FUNCTION_NAME", conventions.FAAS_NAME),
        ("AWS_LAMBDA_FUNCTION_VERSION", conventions.FAAS_VERSION),
        ("AWS_LAMBDA_LOG_STREAM_NAME", conventions.FAAS_INSTANCE),
    ):
        if environ.get(variable):
            found[attribute] = environ[variable]
    if environ.get("AWS_LAMBDA_LOG_GROUP_NAME"):
        found[conventions.AWS_LOG_GROUP_NAMES] = (environ["AWS_LAMBDA_LOG_GROUP_NAME"],)
    if environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "").isdecimal():
        found[conventions.FAAS_MAX_MEMORY] = int(environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) * 1024**2
    return tuple(found.items())


def trace_header() -> str:
    """Return the X-Ray header of the present invocation: Lambda sets the variable anew for each, so never keep it."""
    return os.environ.get("_X_AMZN_TRACE_ID", "")
