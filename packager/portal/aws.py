"""Clients of DynamoDB, STS and Lambda, made late and once, and the mapping of their errors."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from packager.aws_errors import cause_of, code_of
from packager.deadline import call_with_deadline, send_nothing_late
from packager.errors import OutOfTimeError, PackagerError
from telemetry.engine.aws_calls import observe_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_making = threading.Lock()
"""A session is not safe between threads while it makes a client."""


class AwsRefusedError(PackagerError):
    """An AWS service refused or could not be reached; `operation` and `code` say which and how."""


def client(service: str) -> Any:  # noqa: ANN401  boto3 makes its clients' types at run time
    """This process's client for `dynamodb`, `sts` or `lambda`, made at the first call."""
    # Sockets must not be shared with a forked child, hence the process id.
    return _client(service, os.getpid())


def call_aws(method: Callable[..., Any], **parameters: Any) -> Any:  # noqa: ANN401  as client()
    """The response to a client's method; OutOfTimeError when none comes within the time limit."""
    return call_with_deadline(lambda: method(**parameters), reserve_s=0.0)


def new_client(service: str, **options: Any) -> Any:  # noqa: ANN401  as client(); `options` as boto3 takes them
    """A new client with other credentials or another region; its user closes it."""
    with _making:
        made = _session().client(service, **options)
    observe_calls(made)
    send_nothing_late(made)
    return made


@contextmanager
def map_aws_errors(operation: str) -> Iterator[None]:
    """Turn what botocore and the connection raise in the block into AwsRefusedError; others pass unchanged."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  boto3 only where AWS is called
    from botocore.parsers import ResponseParserError  # noqa: PLC0415  same
    from urllib3.exceptions import HTTPError  # noqa: PLC0415  same

    try:
        yield
    except OutOfTimeError as error:
        raise AwsRefusedError(
            f"{operation} was given up. {error.message}",
            next_step=error.next_step,
            operation=operation,
            code=type(error).__name__,
        ) from None
    except (ClientError, BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
        code = code_of(error)
        # Not chained: whatever logs the error would log the message underneath it as well.
        raise AwsRefusedError(
            f"{operation} failed with {code}: {cause_of(error)}.",
            next_step="Allow the function's role to do that, and look at the service's health.",
            operation=operation,
            code=code,
        ) from None


READ_TIMEOUT_S = 3
"""How long one answer may take: tables answer in milliseconds, and a request is tried three times."""


@cache
def _session() -> Any:  # noqa: ANN401  a boto3 session, whose stubs want each service by its literal name
    """One session for all clients: it keeps the descriptions of the services, which are slow to load."""
    import boto3  # noqa: PLC0415  boto3 only where AWS is called

    return boto3.session.Session()


@cache
def _client(service: str, _process_id: int) -> Any:  # noqa: ANN401  as client()
    from botocore.config import Config  # noqa: PLC0415  boto3 only where AWS is called

    config = Config(
        connect_timeout=2,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 3},
        tcp_keepalive=True,
    )
    return new_client(service, config=config)
