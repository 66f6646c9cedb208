"""How S3 is spoken: one client per process and endpoint, and patience with what can be mended."""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING, TypeVar

from packager.deadline import ABORT_RESERVE_S, call_with_deadline, send_nothing_late, time_left_s
from packager.errors import OperationAbortedError, RequestError, printable
from packager.stores.s3_errors import can_be_sent_again
from telemetry import current
from telemetry.engine.aws_calls import observe_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

ATTEMPTS = 5
"""How often one range, part or call is tried, each time with what botocore itself tries."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

_clients: dict[tuple[int, str | None], S3Client] = {}
_making = threading.Lock()


def client_for(endpoint_url: str | None) -> S3Client:
    """This process's client for `endpoint_url` (None: AWS); made at the first call, safe to share between threads."""
    # Sockets must not be shared with a forked child, hence the process id.
    known_as = (os.getpid(), endpoint_url)
    with _making:  # making a client from a session is not safe in two threads
        if known_as not in _clients:
            _clients[known_as] = _made(endpoint_url)
        return _clients[known_as]


def with_retries(
    call: Callable[[], T],
    stop: threading.Event,
    *,
    counted_as: str = "retries",
    reserve_s: float = ABORT_RESERVE_S,
) -> T:
    """What `call` returns. A recoverable failure is tried again, `ATTEMPTS` in all, after a capped, jittered pause.

    Each further try is added to the step's field `counted_as`. OperationAbortedError when `stop` is set, OutOfTimeError
    as soon as no more than `reserve_s` is left of the time limit.
    """
    for attempt in range(1, ATTEMPTS + 1):
        if stop.is_set():
            break
        try:
            return call_with_deadline(call, reserve_s)
        except Exception as error:
            if stop.is_set() or attempt == ATTEMPTS or not can_be_sent_again(error):
                raise
        count(**{counted_as: 1})
        stop.wait(pause_s(attempt))
    raise OperationAbortedError("The transfer was told to stop.")


def count(**fields: int) -> None:
    """Add to the step that this happens in, if its row counts such things; looking something up has no such row."""
    step = current()
    if step is not None and step.row.fields >= fields.keys():
        step.add(**fields)


def pause_s(attempt: int) -> float:
    """Seconds to wait after failure number `attempt`: anything up to a bound that doubles each time and is capped.

    Never beyond the time limit.
    """
    longest = max(0.0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1), time_left_s()))
    return random.uniform(0, longest)  # noqa: S311  spreads clients out; nobody is kept from guessing it


def _made(endpoint_url: str | None) -> S3Client:
    import boto3  # noqa: PLC0415  boto3 only where S3 is spoken
    from botocore.config import Config  # noqa: PLC0415  same
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  same

    config = Config(
        connect_timeout=5,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=32,
        tcp_keepalive=True,
        # Bodies come with a checksum of ours, ranges have none that could be validated.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": "path" if endpoint_url else "auto",
            # TLS and the CRC-32 of every part protect the body; hashing it for the signature too costs 1 s per GB.
            "payload_signing_enabled": endpoint_url is not None and not endpoint_url.startswith("https:"),
        },
    )
    try:
        client: S3Client = boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config)
    except (ValueError, BotoCoreError) as error:
        raise RequestError(
            f"There can be no client of S3: {printable(error)}.",
            next_step="Correct --endpoint-url, or what the environment says (AWS_PROFILE, AWS_REGION, ~/.aws).",
            field="endpoint_url",
        ) from error
    observe_calls(client)
    send_nothing_late(client)
    return client
