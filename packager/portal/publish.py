"""Asynchronous invocation of the portal's publishing function."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from packager.portal.aws import AwsRefusedError, call_aws, client, map_aws_errors
from packager.portal.settings import SYSTEM_CLAIMS
from packager.portal.tables import ConflictError, now_ms
from telemetry import catalog, log, observe

if TYPE_CHECKING:
    from packager.portal.jobs import TrainingJob
    from packager.portal.tables import Record, Records

_ABANDONED_MS = 15 * 60 * 1000
"""After this time, Lambda's longest, whoever began to publish and did not finish is dead."""

COMPONENT_VERSION = "1.0.0"


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


def publish_once(records: Records, function: str, job: TrainingJob, record: Record, delivery: str = "") -> bool:
    """As trigger_publish, unless it was done for the components of the record by an earlier `delivery` of this event.

    The record is claimed before, and settled or given back afterwards, so that only one of simultaneous deliveries
    publishes, and none when the one before it succeeded.
    """
    digest = hashlib.sha256(json.dumps([_components(record), delivery]).encode()).hexdigest()
    claim = {"key": digest, "at": now_ms(), "done": False}
    values = {"claim": claim, "digest": digest, "no": False, "dead": now_ms() - _ABANDONED_MS, "nothing": None}
    key = {"training_id": job.training_id}
    try:
        records.update("training_jobs", key, "SET #publishing = :claim", _UNCLAIMED, **values)
    except ConflictError:
        return True
    except AwsRefusedError:
        return trigger_publish(function, job)  # twice is better than never
    triggered = trigger_publish(function, job)
    settled = {**claim, "done": True} if triggered else None
    with suppress(ConflictError, AwsRefusedError):
        records.update("training_jobs", key, "SET #publishing = :settled", _OURS, settled=settled, digest=digest)
    return triggered


_UNCLAIMED = (
    "attribute_exists(#training_id) AND (attribute_not_exists(#publishing) OR #publishing = :nothing "
    "OR #publishing.#key <> :digest OR (#publishing.#done = :no AND #publishing.#at < :dead))"
)
_OURS = "#publishing.#key = :digest"


def _components(record: Record) -> list[str]:
    """The URIs of the packaged components."""
    entries = record.get("packaged_components")
    uris = (each.get("component_package_s3") for each in entries or () if isinstance(each, dict))
    return sorted({str(uri) for uri in uris if uri})


def _event(job: TrainingJob, name: str) -> dict[str, object]:
    body = {
        "component_name": name,
        "component_version": COMPONENT_VERSION,
        "friendly_name": job.model_name,
        "auto_triggered": True,
    }
    return {
        "httpMethod": "POST",
        "path": f"/api/v1/training/{job.training_id}/publish",
        "pathParameters": {"id": job.training_id},
        "body": json.dumps(body),
        "requestContext": {"authorizer": {"claims": SYSTEM_CLAIMS}},
    }
