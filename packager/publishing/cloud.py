"""Component versions in AWS IoT Greengrass: what is there, made anew, and in which state.

The API: https://docs.aws.amazon.com/greengrass/v2/APIReference/Welcome.html
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from packager.aws_errors import cause_of, code_of
from packager.deadline import call_with_deadline, send_nothing_late
from packager.device.recipe_file import render_json
from packager.errors import PublishError, printable
from telemetry.engine.aws_calls import observe_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEPLOYABLE = "DEPLOYABLE"
ENDED = frozenset({DEPLOYABLE, "FAILED", "DEPRECATED"})
"""States that a component version does not leave by itself."""

_ALREADY = frozenset({"ConflictException", "RequestAlreadyInProgressException"})
_DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
_NEXT_STEPS = {
    "NoCredentialsError": "Give credentials as the AWS tools take them (AWS_PROFILE, AWS_ACCESS_KEY_ID, a role).",
    "NoRegionError": "Say the region: AWS_REGION, or a region in ~/.aws/config.",
    "ValidationException": "Correct the recipe, and publish again.",
    "ServiceQuotaExceededException": "Remove component versions that nothing uses, or ask for a higher quota.",
}


@dataclass(frozen=True, slots=True)
class CloudState:
    """The state of a component version, with what Greengrass says of it; `errors` by what each is about."""

    name: str
    message: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


class CloudComponent:
    """One version of one component in the account that the credentials are of."""

    def __init__(self, name: str, version: str) -> None:
        self._greengrass = _client("greengrassv2")
        caller = _asked("sts:GetCallerIdentity", lambda: _client("sts").get_caller_identity())
        partition, account = (f"{caller.get('Arn')}::".split(":")[1], caller.get("Account"))
        if not partition or not account:
            raise _malformed("sts:GetCallerIdentity", "who asks")
        region = self._greengrass.meta.region_name
        self.arn = f"arn:{partition}:greengrass:{region}:{account}:components:{name}:versions:{version}"

    def recipe(self) -> dict[str, Any] | None:
        """The recipe of the version that is there; None when there is none."""
        answer = self._asked(
            "GetComponent", absent="ResourceNotFoundException", arn=self.arn, recipeOutputFormat="JSON"
        )
        if answer is None:
            return None
        try:
            found = json.loads(answer.get("recipe", b""))
        except (ValueError, RecursionError) as error:
            raise _malformed("greengrass:GetComponent", "the recipe as JSON") from error
        return found if isinstance(found, dict) else {}

    def create(self, recipe: Mapping[str, Any]) -> bool:
        """Create the version; False when somebody has just done so, or is doing it."""
        body = render_json(recipe)
        # The same request, sent again when its answer was lost, is one request.
        token = hashlib.sha256(body).hexdigest()
        return self._asked("CreateComponentVersion", absent=_ALREADY, inlineRecipe=body, clientToken=token) is not None

    def state(self) -> CloudState:
        answer = self._asked("DescribeComponent", arn=self.arn) or {}
        status = answer.get("status", {})
        errors = {printable(key, 1100): printable(text, 500) for key, text in status.get("errors", {}).items()}
        return CloudState(
            str(status.get("componentState", "UNKNOWN")), printable(status.get("message", ""), 1000), errors
        )

    def _asked(self, operation: str, *, absent: str | frozenset[str] = "", **parameters: Any) -> Any:  # noqa: ANN401  as boto3
        """The answer; None for an error whose code is in `absent`."""
        method = getattr(self._greengrass, "".join(f"_{c.lower()}" if c.isupper() else c for c in operation)[1:])
        absent = frozenset({absent}) if isinstance(absent, str) else absent
        return _asked(f"greengrass:{operation}", lambda: method(**parameters), absent, self.arn)


def _malformed(right: str, what: str) -> PublishError:
    return PublishError(
        f"The answer to {right} does not hold {what}.",
        next_step="Look at the endpoint: a proxy may have answered in the place of AWS.",
        operation=right,
        code="MalformedAnswer",
    )


def _asked(right: str, call: Callable[[], Any], absent: frozenset[str] = frozenset(), arn: str = "") -> Any:  # noqa: ANN401  as boto3
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  boto3 only where AWS is called
    from urllib3.exceptions import HTTPError  # noqa: PLC0415  same

    try:
        return call_with_deadline(call)
    except (ClientError, BotoCoreError, HTTPError, ValueError) as error:  # ValueError: an endpoint that is no URL
        code = code_of(error)
        if code in absent:
            return None
        step = _NEXT_STEPS.get(code, "Look at the region, the network and the health of AWS IoT Greengrass; try again.")
        if code in _DENIED:
            step = f"Allow {right} on {arn or '*'} to this user or role."
        raise PublishError(
            f"{right} failed with {code}: {cause_of(error)}.", next_step=step, operation=right, code=code
        ) from error


def _client(service: str) -> Any:  # noqa: ANN401  boto3 makes its clients' types at run time
    def made() -> Any:  # noqa: ANN401  same
        from botocore.config import Config  # noqa: PLC0415  boto3 only where AWS is called

        config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 5})
        return _session().client(service, config=config)

    client = _asked(f"{service} client", made)
    observe_calls(client)
    send_nothing_late(client)
    return client


@cache
def _session() -> Any:  # noqa: ANN401  a boto3 session, whose stubs want each service by its literal name
    """One session for all clients: it keeps the descriptions of the services, which are slow to load."""
    import boto3  # noqa: PLC0415  boto3 only where AWS is called

    return boto3.session.Session()
