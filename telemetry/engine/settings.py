"""Settings of telemetry: one frozen record, the environment read here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from telemetry.engine.vocabulary import STAGE

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Settings:
    """What the environment decides.

    `service` is the name of the service, empty for the vocabulary's. Metrics of a `stage` go to a namespace of its own
    below the vocabulary's. `log_level` is debug, info, warning or error.
    `traces_endpoint` is the whole address that spans are posted to, empty when they go nowhere over the network.
    `flush_s` bounds what a flush waits, so that the end of an invocation costs 300 ms at most; `dead_after` failed
    flushes in a row give the endpoint up for `dead_pause_s`.
    """

    service: str = ""
    stage: str = ""
    log_level: str = "info"
    console: bool = False
    traces_endpoint: str = ""
    flush_s: float = 0.25
    dead_after: int = 3
    dead_pause_s: float = 60.0
    in_lambda: bool = False
    resource: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the settings that the environment asks for; what it does not say, or says wrongly, is the default.

        TELEMETRY_LOG_LEVEL, TELEMETRY_LOG_FORMAT (json or console), TELEMETRY_STAGE (a name below the namespace of
        metrics), the standard OTEL_EXPORTER_OTLP_ENDPOINT,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_EXPORTER=none, and what Lambda says of the
        function. OpenTelemetry reads the other standard variables (headers, sampler, time-out, TLS) by itself.
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
            stage=stage if STAGE.fullmatch(stage) else "",
            console=environ.get("TELEMETRY_LOG_FORMAT", "") == "console",
            traces_endpoint="" if off else endpoint,
            in_lambda="AWS_LAMBDA_RUNTIME_API" in environ,
            resource=_resource(environ),
        )


def _resource(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    if "AWS_LAMBDA_FUNCTION_NAME" in environ:
        found["cloud.provider"], found["cloud.platform"] = "aws", "aws_lambda"
        for variable, attribute in (
            ("AWS_REGION", "cloud.region"),
            ("AWS_LAMBDA_FUNCTION_NAME", "faas.name"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "faas.version"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "faas.instance"),
        ):
            if environ.get(variable):
                found[attribute] = environ[variable]
    return tuple(found.items())


def trace_header() -> str:
    """Return the X-Ray header of the present invocation: Lambda sets the variable anew for each, so never keep it."""
    return os.environ.get("_X_AMZN_TRACE_ID", "")
