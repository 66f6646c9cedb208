"""A local S3 in a process of its own, for tests, benchmarks and the demo; needs no pytest.

with s3_server() as server:
    server.client().create_bucket(Bucket="models")
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a process needs in its environment to speak to the server with clients of its own."""


@dataclass(frozen=True)
class S3Server:
    """Where the server listens, which process it is, and the file of the certificate that it is known by."""

    endpoint_url: str
    process_id: int
    credentials: tuple[str, str] = (CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    ca: str = ""

    def client(self, **config: Any) -> S3Client:
        """A client of boto3 that tries everything once, so that a test sees each fault; `config` as for botocore."""
        return client(self.endpoint_url, self.credentials, self.ca, **config)

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


def client(endpoint_url: str, credentials: tuple[str, str] | None = None, ca: str = "", **config: Any) -> S3Client:
    """A client of boto3 for any endpoint, a proxy before the server for instance."""
    given = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": 5,
        "read_timeout": 30,
        "max_pool_connections": 32,
        "s3": {"addressing_style": "path"},
        **config,
    }
    keys = credentials or (CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    return _session(*keys).client("s3", endpoint_url=endpoint_url, config=Config(**given), verify=ca or None)


@cache
def _session(key_id: str, secret: str) -> boto3.session.Session:
    """One for all clients: it keeps the description of S3, which takes longer to load than most tests to run."""
    return boto3.session.Session(key_id, secret, region_name=CREDENTIALS["AWS_DEFAULT_REGION"])


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server on a free port and stop it at the end; it also stops when this process dies."""
    environment = {
        **os.environ,
        **CREDENTIALS,
        "S3_UPLOAD_PART_MIN_SIZE": "1",  # lets tests upload parts of a few bytes
        "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 40),
    }
    process = subprocess.Popen(
        [sys.executable, __file__],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        if not port:
            raise RuntimeError("the local S3 server did not start; is moto[server] installed?")
        yield S3Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.kill()
        process.communicate()


def _serve() -> None:
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # noqa: PLC0415  only the child needs it
    from moto.s3.models import FakeKey  # noqa: PLC0415  same
    from werkzeug.serving import WSGIRequestHandler  # noqa: PLC0415  same

    def keep(key: FakeKey, value: bytes | str) -> None:
        # The library copies a whole object for every range of it; a benchmark would measure nothing else. This one
        # shares the bytes it was made of until somebody writes to it.
        key._value_buffer = io.BytesIO(value.encode() if isinstance(value, str) else value)
        key.contentsize = len(key._value_buffer.getvalue())

    FakeKey.value = property(lambda key: key._value_buffer.getvalue(), keep)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # connections are kept, as S3 keeps them
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()  # ends when the parent does
    os._exit(0)


if __name__ == "__main__":
    _serve()
