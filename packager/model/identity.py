"""Identity and key of a component, computed before its first byte is written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from packager.core.ports import KEYS_BEGIN_WITH
from packager.errors import RequestError, printable

FORMAT_VERSION = 5
"""Part of every identity: raise it whenever the same artifacts give other bytes than before."""

ID_DIGITS = 12
MANIFESTS_BEGIN_WITH = "model_artifacts/manifest-"
FILE_NAME_ENDING = "greengrass_model_component.zip"

Marks = Sequence[tuple[str, str]]


def component_identity(
    artifacts: Sequence[Marks],
    manifest_identity: Any,  # noqa: ANN401  JSON
    layout: str,
    choices: Sequence[Any] = (),
) -> str:
    """SHA-256 (64 hex digits) over everything that decides the component's bytes.

    Args:
        artifacts: the marks of each artifact that goes in, in the order they go in.
        manifest_identity: the manifest, or what it is made from, as a JSON value. The order of keys counts, since it
            shows in the component's bytes.
        layout: the name of the layout.
        choices: what the caller chose of the artifact's files, as JSON values; empty when nothing was chosen.

    RequestError when `manifest_identity` is no JSON value.
    """
    parts = [
        FORMAT_VERSION,
        layout,
        [[list(mark) for mark in marks] for marks in artifacts],
        manifest_identity,
        *choices,
    ]
    try:
        canonical = json.dumps(parts, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(
            f"The manifest is no JSON value: {printable(error)}.",
            next_step="Pass what the JSON reader gave.",
            field="manifest",
        ) from error
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def component_key(identity_hex: str) -> str:
    """The key of the component below its bucket or folder; the first 12 digits of its identity stand in it.

    New content has a new key, which devices need: they do not rewrite an unpacked file whose size stayed the same.
    """
    short = _short(identity_hex)
    return f"{KEYS_BEGIN_WITH}{short}/{short}_{FILE_NAME_ENDING}"


def manifest_key(identity_hex: str) -> str:
    """The key of a manifest that is kept below the bucket or folder of its components."""
    return f"{MANIFESTS_BEGIN_WITH}{_short(identity_hex)}.json"


def _short(identity_hex: str) -> str:
    if not re.fullmatch(rf"[0-9a-f]{{{ID_DIGITS},}}", identity_hex):
        raise RequestError(
            f"The identity {printable(identity_hex)!r} does not begin with {ID_DIGITS} lower-case hexadecimal digits.",
            next_step="Pass what component_identity() gave.",
            field="identity",
        )
    return identity_hex[:ID_DIGITS]
