"""Credentials of S3 clients, looked up again when the files or variables that they came from have changed.

The SDK renews by itself what it borrows (roles, single sign-on, credential processes), but reads keys in files and in
the environment once in the life of a client.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


def renew_credentials(session: Any) -> None:  # noqa: ANN401  botocore's session, which is untyped
    """Let the clients of this session sign with the credentials that would be found now."""
    session.register_component("credential_provider", _Provider(session.get_component("credential_provider")))


class _Provider:
    def __init__(self, first: Any) -> None:  # noqa: ANN401  botocore's resolver
        self._first = first

    def load_credentials(self) -> _Renewed | None:
        found = self._first.load_credentials()
        return _Renewed(found) if found is not None else None


class _Renewed:
    """Stands for botocore's Credentials, which it asks for anew whenever their origin has changed."""

    def __init__(self, found: Any) -> None:  # noqa: ANN401  botocore's Credentials
        self._found = found
        self._origin = _origin()
        self._looking = threading.Lock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever botocore's have
        return getattr(self._now(), name)

    def _now(self) -> Any:  # noqa: ANN401  botocore's Credentials
        with self._looking:
            if (origin := _origin()) != self._origin:
                import botocore.session  # noqa: PLC0415  boto3 only where S3 is spoken

                # When a file is half written there is nothing to be found for a moment.
                self._found = botocore.session.get_session().get_credentials() or self._found
                self._origin = origin
            return self._found


def _origin() -> tuple[object, ...]:
    return (*(os.environ.get(name) for name in _VARIABLES), *map(_version, _FILES.items()))


def _version(file: tuple[str, str]) -> object:
    variable, default = file
    try:
        status = Path(os.environ.get(variable, default)).expanduser().stat()
    except (OSError, RuntimeError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
