"""Asynchronous invocation of the portal's publishing function."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from packager.portal.aws import AwsRefusedError, call_aws, client, map_aws_errors
from packager.portal.users import SYSTEM
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from packager.portal.jobs import TrainingJob

COMPONENT_VERSION = "1.0.0"
SYSTEM_EMAIL = "system@edge-model-packager.internal"
"""An address that cannot exist: the portal wants one in its claims."""


def component_name(model_name: str) -> str:
    """The name of the Greengrass component of a model."""
    return "model-" + re.sub(r"[^a-z0-9-]", "-", model_name.lower())


def trigger_publish(function: str, job: TrainingJob) -> bool:
    """Invoke `function` to publish the job's components, and return whether it was invoked. Never raises.

    A failure is logged: the components exist, and publishing can be requested again.
    """
    if not function:
        log(
            "warning",
            "publishing is not set up",
            next_step="Set GREENGRASS_PUBLISH_FUNCTION_NAME, or publish by hand.",
        )
        return False
    name = component_name(job.model_name)
    try:
        with (
            observe(catalog.TRIGGER_PUBLISH, function=function, component_name=name),
            map_aws_errors("Lambda Invoke"),
        ):
            payload = json.dumps(_event(job, name)).encode()
            call_aws(client("lambda").invoke, FunctionName=function, InvocationType="Event", Payload=payload)
    except AwsRefusedError:
        return False  # the step has logged it
    return True


def _event(job: TrainingJob, name: str) -> dict[str, object]:
    body = {
        "component_name": name,
        "component_version": COMPONENT_VERSION,
        "friendly_name": job.model_name,
        "auto_triggered": True,
    }
    claims = {"sub": SYSTEM, "email": SYSTEM_EMAIL, "cognito:username": SYSTEM}
    return {
        "httpMethod": "POST",
        "path": f"/api/v1/training/{job.training_id}/publish",
        "pathParameters": {"id": job.training_id},
        "body": json.dumps(body),
        "requestContext": {"authorizer": {"claims": claims}},
    }
