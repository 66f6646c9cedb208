"""What holds for every test: how S3 is spoken to, that properties have no deadline, that lines are sound."""

from __future__ import annotations

import gc
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from botocore.hooks import EventAliaser
from botocore.loaders import Loader
from hypothesis import HealthCheck, settings

from packager.portal import aws
from telemetry.check import check_line, check_span_line
from telemetry.engine.lines import LineWriter
from tests import s3_server as local

if TYPE_CHECKING:
    from collections.abc import Iterator

# Importing jsonschema would build a grammar for kinds of addresses that no schema here has, in two seconds.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# How long an example takes, or its drawing, says more about the machine and its other work than about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from going through libraries and thousands of tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _tables_may_take_their_time() -> Iterator[None]:
    """The local tables slow down with what all tests put there; on a busy machine they take longer than DynamoDB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws, "READ_TIMEOUT_S", 30)
        yield


@pytest.fixture(scope="session", autouse=True)
def _descriptions_of_aws_are_read_once() -> Iterator[None]:
    """Let all sessions of boto3 share what each would read and work out anew, which takes longer than most tests."""
    make_loader, make_aliaser = Loader.__init__, EventAliaser.__init__
    read: defaultdict[str, dict[object, object]] = defaultdict(dict)
    names: dict[str, str] = {}

    def loader(self: Loader, *args: Any, **kwargs: Any) -> None:
        make_loader(self, *args, **kwargs)
        self._cache = read[repr((self._search_paths, kwargs))]

    def aliaser(self: EventAliaser, *args: Any, **kwargs: Any) -> None:
        make_aliaser(self, *args, **kwargs)
        self._alias_name_cache = names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "__init__", loader)
        patch.setattr(EventAliaser, "__init__", aliaser)
        yield


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


@pytest.fixture(autouse=True)
def conforming_lines() -> Iterator[None]:
    """Hold every line of metrics, logs and spans that a test writes in this process against the catalog.

    Lines of other processes are held against it by what starts them.
    """
    findings: list[str] = []
    write = LineWriter.write

    def checked(writer: LineWriter, *lines: str) -> bool:
        for line in lines:
            check = check_span_line if line.startswith('{"resourceSpans"') else check_line
            findings.extend(f"{fault} in {line[:1000]}" for fault in check(line))
        return write(writer, *lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LineWriter, "write", checked)
        yield
    assert findings == []
