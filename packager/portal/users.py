"""Users of the portal: identity of the caller, and what its role allows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from packager.portal.fields import Fields
from packager.portal.settings import SYSTEM
from telemetry import catalog, observe

if TYPE_CHECKING:
    from packager.portal.tables import Records

GLOBAL = "global"
"""Stands for the use case in the roles of the whole portal's administrators."""

_LONGEST_EMAIL = 320


class Role(IntEnum):
    """The portal's roles, in ascending order of rights."""

    Viewer = 1
    Operator = 2
    DataScientist = 3
    UseCaseAdmin = 4
    PortalAdmin = 5


@dataclass(frozen=True, slots=True)
class User:
    """A caller. `is_portal`: the portal itself, which needs no role."""

    id: str
    is_portal: bool = False


PORTAL = User(SYSTEM, is_portal=True)


def caller(event: dict[str, Any]) -> User:
    """The user of an API event, from Cognito claims or the context of an authorizer.

    RequestError names a field that is missing or wrong. The user `system` is the portal only when the call did not come
    through API Gateway: a claim must not open the door.
    """
    authorizer = Fields(event).object("requestContext").object("authorizer")
    for kind in ("jwt", "lambda", "iam"):  # HTTP APIs and function URLs name the kind of their authorizer
        if kind in authorizer:
            authorizer = authorizer.object(kind)
    if "claims" in authorizer:
        claims = authorizer.object("claims")
        user_id = claims.text("sub")
        claims.optional_text("cognito:username")
        claims.optional_text("email", _LONGEST_EMAIL)
    else:
        user_id = authorizer.text("userId")
        authorizer.optional_text("email", _LONGEST_EMAIL)
    return User(user_id, is_portal=user_id == SYSTEM and not came_through_gateway(event))


_GATEWAY_ONLY = {"resource", "multiValueHeaders", "stageVariables", "isBase64Encoded"}


def came_through_gateway(event: dict[str, Any]) -> bool:
    """Whether the event came through API Gateway, which no client can hide.

    API Gateway always fills `requestContext` with more than the authorizer (apiId, requestId, stage, ...) and passes
    headers on. The portal, which invokes the function directly, writes the authorizer and at most a content type.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    headers = event.get("headers")
    if isinstance(headers, dict):
        headers = {name.lower() for name in headers} - {"content-type"}
    context = event.get("requestContext")
    of_gateway = context.keys() - {"authorizer"} if isinstance(context, dict) else set()
    return bool(of_gateway or event.keys() & _GATEWAY_ONLY or headers)


def has_role(user: User, usecase_id: str, least: Role, records: Records) -> bool:
    """Whether the user is the portal, has the role or a higher one for the use case, or administers the portal."""
    with observe(catalog.AUTHORIZE_REQUEST) as step:
        allowed = user.is_portal or (
            user.id != SYSTEM
            and (_role(user, usecase_id, records) >= least or _role(user, GLOBAL, records) >= Role.PortalAdmin)
        )
        step.add(denied=int(not allowed))
        return allowed


def _role(user: User, usecase_id: str, records: Records) -> int:
    record = records.get("user_roles", {"user_id": user.id, "usecase_id": usecase_id})
    name = record.get("role") if record else None
    return Role[name] if isinstance(name, str) and name in Role.__members__ else 0
