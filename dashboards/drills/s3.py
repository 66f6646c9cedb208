"""A bucket for a drill, on this machine only: what the packager asks of S3, slow or refusing on demand.

What it asks of the portal goes to the same address, and is passed on.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.drills.portal import RefusingPortal

BUCKET = "drill"
_PIECE_BYTES = 16 << 10
_NO_UPLOADS = b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"


@dataclass
class FaultyBucket:
    """What lies in the bucket by key, and what is wrong with it.

    Attributes:
        bytes_per_s: How fast bodies come, one after another; 0 as fast as they can.
        failing: Keys whose content does not come: 503 SlowDown and answers that break off take turns.
    """

    objects: dict[str, bytes]
    bytes_per_s: float = 0
    failing: frozenset[str] = frozenset()
    asked_in_vain: int = 0
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    portal: RefusingPortal | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, store: FaultyBucket) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.store = store

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who runs out of time hangs up."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def store(self) -> FaultyBucket:
        return cast("_Server", self.server).store

    @property
    def key(self) -> str:
        return urlsplit(self.path).path.removeprefix(f"/{BUCKET}").removeprefix("/")

    def do_HEAD(self) -> None:
        if self.key not in self.store.objects:
            self.answer(HTTPStatus.NOT_FOUND)
        else:
            data = self.store.objects[self.key]
            self.answer(HTTPStatus.OK, data, {**_etag(data), **self.store.metadata.get(self.key, {})})

    def do_GET(self) -> None:
        data = self.store.objects.get(self.key)
        if not self.key and "uploads" in urlsplit(self.path).query:
            self.answer(HTTPStatus.OK, _NO_UPLOADS)
        elif self.key in self.store.failing:
            self.fail(len(data or b""))
        elif data is None:
            self.answer(HTTPStatus.NOT_FOUND, _error("NoSuchKey", "The specified key does not exist."))
        else:
            self.answer_range(data)

    def do_PUT(self) -> None:
        self.store.objects[self.key] = data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.store.metadata[self.key] = {
            name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")
        }
        self.answer(HTTPStatus.OK, b"", _etag(data))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.store.portal is None:
            self.answer(HTTPStatus.NOT_FOUND)
        else:
            self.answer(*self.store.portal.answer(self.path, self.headers.get("X-Amz-Target", ""), body))

    def fail(self, size_bytes: int) -> None:
        self.store.asked_in_vain += 1
        if self.store.asked_in_vain % 2:
            self.answer(HTTPStatus.SERVICE_UNAVAILABLE, _error("SlowDown", "Please reduce your request rate."))
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Range", f"bytes 0-{size_bytes - 1}/{size_bytes}")
        self.send_header("Content-Length", str(size_bytes))
        self.end_headers()
        self.close_connection = True

    def answer_range(self, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            self.answer(HTTPStatus.OK, data, _etag(data))
            return
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        where = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self.answer(HTTPStatus.PARTIAL_CONTENT, data[first : last + 1], {**_etag(data), **where})

    def answer(self, status: HTTPStatus, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and self.store.bytes_per_s:
            with self.store.turn:
                self.drip(body)
        elif self.command != "HEAD":
            self.wfile.write(body)

    def drip(self, body: bytes) -> None:
        began_s = time.monotonic()
        for end in range(_PIECE_BYTES, len(body) + _PIECE_BYTES, _PIECE_BYTES):
            # By the clock, not by the piece: what a busy machine adds to each sleep would sum up.
            due_s = began_s + min(end, len(body)) / self.store.bytes_per_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            self.wfile.write(body[end - _PIECE_BYTES : end])

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _etag(data: bytes) -> dict[str, str]:
    return {"ETag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'}


def _error(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@contextmanager
def bucket(store: FaultyBucket) -> Iterator[dict[str, str]]:
    """Serve a store; give the environment in which only this server is spoken to."""
    with _Server(store) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_ACCESS_KEY_ID": "drill",
                "AWS_SECRET_ACCESS_KEY": "drill",
                "AWS_DEFAULT_REGION": "us-east-1",
                "NO_PROXY": "127.0.0.1",
            }
        finally:
            server.shutdown()
            thread.join()
