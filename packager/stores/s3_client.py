"""Clients of S3: one per process and way to reach S3, with credentials that are renewed while it lives."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from packager.deadline import send_nothing_late
from packager.errors import RequestError, printable
from packager.stores import s3_calls
from packager.stores.s3_calls import Calls
from packager.stores.s3_options import S3Options, from_process_environment
from telemetry import log
from telemetry.engine.aws_calls import observe_calls

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_Known = tuple[int, str | None, str, int, int]

_clients: dict[_Known, Calls] = {}
_making = threading.Lock()


def client_for(endpoint_url: str | None, options: S3Options | None = None) -> S3Client:
    """This process's client for `endpoint_url` (None: AWS); made at the first call, safe to share between threads."""
    return calls_for(endpoint_url, options).client


def calls_for(endpoint_url: str | None, options: S3Options | None = None) -> Calls:
    """This process's client for `endpoint_url`, with how often it is to be used.

    Connections left from an earlier call are closed: a firewall may have forgotten them, and a request on one of those
    waits for its time-out.
    """
    options = options or from_process_environment()
    # Sockets must not be shared with a forked child, hence the process id.
    known_as = (
        os.getpid(),
        endpoint_url,
        options.addressing_style,
        options.connect_timeout_s,
        options.read_timeout_s,
    )
    with _making:  # making a client from a session is not safe in two threads
        known = _clients.get(known_as)
        if known is None:
            known = _clients[known_as] = _made(endpoint_url, options)
        elif not s3_calls.in_flight(known.client):
            known.client.close()
    return Calls(known.client, options, known.attempts)


def calls_of(client: S3Client, options: S3Options | None = None) -> Calls:
    """A caller's own client, which may try again by itself: the more it does, the less is done here."""
    retries = getattr(getattr(getattr(client, "meta", None), "config", None), "retries", None) or {}
    own = int(retries.get("total_max_attempts") or retries.get("max_attempts", 4) + 1)
    return Calls(client, options or from_process_environment(), max(1, -(-s3_calls.ATTEMPTS // own)))


def is_aws(client: S3Client) -> bool:
    """Whether the client speaks to AWS itself, which verifies every checksum."""
    host = urlsplit(str(client.meta.endpoint_url)).hostname or ""
    return f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _made(endpoint_url: str | None, options: S3Options) -> Calls:
    import boto3  # noqa: PLC0415  boto3 only where S3 is spoken
    import botocore.session  # noqa: PLC0415  same
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  same

    from packager.stores.s3_credentials import renew_credentials  # noqa: PLC0415  same

    try:
        own = botocore.session.get_session()
        renew_credentials(own)
        session = boto3.session.Session(botocore_session=own)
        attempts = own.get_config_variable("max_attempts")
        client: S3Client = session.client("s3", config=_config(own, endpoint_url, options), endpoint_url=endpoint_url)
        if endpoint_url is None and not is_aws(client):  # the environment, or the user's files, name a server
            # In the same session, which keeps the description of S3: to load it takes longer than a small package.
            endpoint_url = client.meta.endpoint_url
            client = session.client("s3", config=_config(own, endpoint_url, options), endpoint_url=endpoint_url)
    except (ValueError, BotoCoreError) as error:
        raise RequestError(
            f"There can be no client of S3: {printable(error)}.",
            next_step="Correct --endpoint-url, or what the environment says (AWS_PROFILE, AWS_REGION, ~/.aws).",
            field="endpoint_url",
        ) from error
    if endpoint_url is not None:
        _say_what_an_address_overrides(own, endpoint_url)
    observe_calls(client)
    send_nothing_late(client)
    # Else each body would wait for a `100 Continue`, which takes a round trip and helps only those who are refused.
    client.meta.events.register_last("before-call.s3", _expect_nothing)
    return Calls(client, options, int(attempts) if attempts else s3_calls.ATTEMPTS)


def _say_what_an_address_overrides(session: Any, endpoint_url: str) -> None:  # noqa: ANN401  botocore has no types
    """Warn when FIPS or dual-stack endpoints are asked for too: the SDK takes the address, and says nothing."""
    variables = {"use_fips_endpoint": "AWS_USE_FIPS_ENDPOINT", "use_dualstack_endpoint": "AWS_USE_DUALSTACK_ENDPOINT"}
    for setting, variable in variables.items():
        if session.get_config_variable(setting):
            log(
                "warning",
                "endpoint setting overridden",
                setting=setting,
                endpoint=endpoint_url,
                next_step=f"Leave the address out, so that {setting} ({variable}) chooses it, or give one that is of "
                "that kind.",
            )


def _config(session: Any, endpoint_url: str | None, options: S3Options) -> Any:  # noqa: ANN401  botocore has no types
    from botocore.config import Config  # noqa: PLC0415  boto3 only where S3 is spoken

    of_user = session.get_scoped_config().get("s3")
    style = options.addressing_style
    if style == "auto":
        of_user = of_user.get("addressing_style") if isinstance(of_user, dict) else None
        style = of_user or ("path" if endpoint_url else "auto")
    of_s3: Any = {
        "addressing_style": style,
        # TLS and the CRC-32 of every part protect the body; hashing it for the signature too costs 1 s per GB.
        "payload_signing_enabled": endpoint_url is not None and not endpoint_url.startswith("https:"),
    }
    return Config(
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        # Tried again by `Calls`, which knows when to give up; `adaptive` slows the client down all the same.
        retries={"mode": session.get_config_variable("retry_mode") or "standard", "total_max_attempts": 1},
        max_pool_connections=32,
        tcp_keepalive=True,
        # Bodies come with a checksum of ours, ranges have none that could be validated.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=of_s3,
    )


def _expect_nothing(params: dict[str, Any], **_: object) -> None:
    params["headers"].pop("Expect", None)
