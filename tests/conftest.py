"""Fixtures for everything that speaks S3, and what holds for every property."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests import s3_server as local

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says more about the machine and its other work than about the code.
settings.register_profile("any machine", settings(), deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[local.S3Server]:
    """A local S3 for the whole run; clients made from the environment reach it with its credentials."""
    with local.s3_server() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in local.CREDENTIALS.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def bucket(s3_server: local.S3Server) -> str:
    """The name of a new, empty bucket."""
    return s3_server.bucket()
