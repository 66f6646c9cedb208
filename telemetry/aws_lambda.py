"""The invocations of this product's function, observed: see telemetry.engine.lambda_runtime."""

from __future__ import annotations

from telemetry.catalog import VOCABULARY
from telemetry.engine.lambda_runtime import LambdaContext, LambdaRuntime

__all__ = ["RUNTIME", "LambdaContext", "invocation", "last_words"]

RUNTIME = LambdaRuntime(VOCABULARY)
invocation, last_words = RUNTIME.invocation, RUNTIME.last_words
RUNTIME.initialize()
