"""Findings of cdk-nag that stay, each with its reason; they stand in the template beside the resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aws_cdk as cdk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from constructs import IConstruct


def acknowledge(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Acknowledge findings by rule on a construct and all below it."""
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=rule, reason=reason) for rule, reason in reasons.items())
    )


def wildcard(stack: cdk.Stack, resource: str) -> str:
    """Return the finding about a resource with a wildcard, which cdk-nag wants named one by one."""
    return f"AwsSolutions-IAM5[Resource::{_flat(stack.resolve(resource))}]"


def _flat(value: Any) -> str:  # noqa: ANN401  a text or an intrinsic function
    """Return a value as cdk-nag spells it: references in angle brackets."""
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": ["", parts]}:
            return "".join(_flat(part) for part in parts)
        case _:
            return str(value)
