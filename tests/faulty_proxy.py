"""A proxy before an S3 server that breaks what it is told to break, on real sockets.

with faulty_proxy(server.endpoint_url) as proxy:
    proxy.break_next("GetObject", reset_after(1000), times=2)
    client(proxy.endpoint_url).get_object(...)
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "server", "date", "content-length"}


@dataclass(frozen=True)
class Request:
    """What a client asked. `operation` is S3's name of it; header names are in lower case."""

    operation: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def first_byte(self) -> int:
        """Where the range begins that was asked for; 0 without one."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


@dataclass(frozen=True)
class Answer:
    """What the server answered. `length` is what Content-Length claims; None: the truth."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)
    length: int | None = None


class Exchange(BaseHTTPRequestHandler):
    """One connection of a client. A fault gets it with the request, and does what it likes."""

    protocol_version = "HTTP/1.1"
    server: _Server
    upstream: HTTPConnection | None = None

    def pass_on(self, request: Request) -> Answer:
        """Ask the real server."""
        if self.upstream is None:
            self.upstream = self.server.proxy.connection()
        self.upstream.request(request.method, request.target, request.body or None, request.headers)
        answer = self.upstream.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        length = int(answer.getheader("content-length") or 0) if request.method == "HEAD" else None
        return Answer(answer.status, headers, answer.read(), length)

    def reply(self, answer: Answer, *, most_bytes: int | None = None) -> None:
        """Answer the client; with `most_bytes`, only the head and so much of the body."""
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        self.end_headers()
        self.wfile.write(answer.body[:most_bytes])

    def hang_up(self, *, reset: bool) -> None:
        """Close the connection: with a reset, or in order."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def setup(self) -> None:
        super().setup()
        with self.server.proxy.lock:
            self.server.proxy.connections += 1

    def finish(self) -> None:
        super().finish()
        if self.upstream is not None:
            self.upstream.close()

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _exchange(self) -> None:
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect", "").lower() == "100-continue":
            headers.pop("expect")
        headers.pop("transfer-encoding", None)
        operation = _operation(self.command, self.path)
        if operation == "UploadPart" and "x-amz-copy-source" in headers:
            operation = "UploadPartCopy"
        request = Request(operation, self.command, self.path, headers, body)
        self.server.proxy.fault_for(request)(self, request)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _exchange  # noqa: N815  the names the library looks for


Fault = Callable[[Exchange, Request], None]


@dataclass
class _Rule:
    operation: str
    fault: Fault
    times: int
    where: Callable[[Request], bool]


class FaultyProxy:
    """What was asked so far, and what is still to be broken."""

    def __init__(self, upstream_url: str, usually: Fault) -> None:
        self.upstream = urlsplit(upstream_url)
        self.usually = usually
        self.endpoint_url = ""
        self.requests: list[Request] = []
        self.connections = 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        self._rules: list[_Rule] = []

    def connection(self) -> HTTPConnection:
        """A new connection to the real server, whose certificate nobody checks."""
        if self.upstream.scheme == "http":
            return HTTPConnection(self.upstream.netloc, timeout=60)
        return HTTPSConnection(self.upstream.netloc, timeout=60, context=ssl._create_unverified_context())  # noqa: S323

    def break_next(
        self,
        operation: str,
        fault: Fault,
        *,
        times: int = 1,
        where: Callable[[Request], bool] = lambda _: True,
    ) -> None:
        """Break the next `times` requests of `operation` that `where` holds for."""
        with self.lock:
            self._rules.append(_Rule(operation, fault, times, where))

    def asked(self, operation: str) -> list[Request]:
        """The requests of that operation, in the order they came; their bodies are not kept."""
        with self.lock:
            return [request for request in self.requests if request.operation == operation]

    def forget(self) -> None:
        """Break nothing from here on, and keep nothing of what was asked."""
        with self.lock:
            self._rules.clear()
            self.requests.clear()

    def fault_for(self, request: Request) -> Fault:
        with self.lock:
            self.requests.append(replace(request, body=b""))
            for rule in self._rules:
                if rule.times and rule.operation == request.operation and rule.where(request):
                    rule.times -= 1
                    return rule.fault
        return self.usually


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultyProxy

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up are what this is about


def unbroken(exchange: Exchange, request: Request) -> None:
    """No fault: what a proxy does."""
    exchange.reply(exchange.pass_on(request))


@contextmanager
def faulty_proxy(
    upstream_url: str, *, tls: ssl.SSLContext | None = None, usually: Fault = unbroken
) -> Iterator[FaultyProxy]:
    """Listen on a free port of this machine until the block ends, over TLS when there is a context for it.

    `usually` is what is done with a request that nobody wants broken.
    """
    proxy = FaultyProxy(upstream_url, usually)
    with _Server(("127.0.0.1", 0), Exchange) as server:
        server.proxy = proxy
        proxy.endpoint_url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        if tls:  # the handshake is made where the first bytes are read, by the thread of the connection
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            server.shutdown()
            thread.join()


def refuse(status: int, code: str) -> Fault:
    """S3 answers with an error and does nothing."""
    return lambda exchange, _: exchange.reply(Answer(status, {"Content-Type": "application/xml"}, error_body(code)))


def lacks(headers: Mapping[str, str]) -> Callable[[Request], bool]:
    """As the policy of a bucket: whether a request says anything else than it has to."""
    return lambda request: not headers.items() <= request.headers.items()


def failing_ok(code: str) -> Fault:
    """S3 answers 200 before it knows, then an error in the body."""
    return refuse(200, code)


def reset() -> Fault:
    """The connection breaks before S3 hears anything."""
    return lambda exchange, _: exchange.hang_up(reset=True)


def lost_answer() -> Fault:
    """S3 does the work, and the connection breaks before it can say so."""

    def act(exchange: Exchange, request: Request) -> None:
        exchange.pass_on(request)
        exchange.hang_up(reset=True)

    return act


def reset_after(count_bytes: int) -> Fault:
    """The connection is reset after so many bytes of the body."""
    return _broken_body(count_bytes, reset=True)


def cut_after(count_bytes: int) -> Fault:
    """The connection is closed in order after so many bytes of the body, fewer than were promised."""
    return _broken_body(count_bytes, reset=False)


def stall_after(count_bytes: int) -> Fault:
    """So many bytes of the body come, then nothing, and the connection stays open."""

    def act(exchange: Exchange, request: Request) -> None:
        exchange.reply(exchange.pass_on(request), most_bytes=count_bytes)
        exchange.server.proxy.released.wait()
        exchange.hang_up(reset=True)

    return act


def stall() -> Fault:
    """The request is taken and never answered."""

    def act(exchange: Exchange, _: Request) -> None:
        exchange.server.proxy.released.wait()
        exchange.hang_up(reset=True)

    return act


def fewer(count_bytes: int) -> Fault:
    """The answer is shorter than what was asked for, and says so."""
    return altered(lambda answer: replace(answer, body=answer.body[: max(0, len(answer.body) - count_bytes)]))


def flipped(at: int) -> Fault:
    """One bit of the body is another."""

    def flip(answer: Answer) -> Answer:
        body = bytearray(answer.body)
        body[at % len(body)] ^= 1
        return replace(answer, body=bytes(body))

    return altered(flip)


def flipped_request(at: int) -> Fault:
    """One bit of what is sent is another."""

    def act(exchange: Exchange, request: Request) -> None:
        body = bytearray(request.body)
        body[at % len(body)] ^= 1
        exchange.reply(exchange.pass_on(replace(request, body=bytes(body))))

    return act


def altered(change: Callable[[Answer], Answer]) -> Fault:
    """Whatever the answer is, something else comes."""
    return lambda exchange, request: exchange.reply(change(exchange.pass_on(request)))


def _broken_body(count_bytes: int, *, reset: bool) -> Fault:
    def act(exchange: Exchange, request: Request) -> None:
        exchange.reply(exchange.pass_on(request), most_bytes=count_bytes)
        exchange.hang_up(reset=reset)

    return act


def error_body(code: str, more: str = "") -> bytes:
    """The XML of an error of S3; `more` are further elements of it."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>made up</Message>{more}</Error>'
    return text.encode()


def _operation(method: str, target: str) -> str:
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    on_object = "/" in parts.path.strip("/")
    for mark, names in _BY_QUERY.items():
        if mark in query and method in names:
            return names[method]
    return f"{_VERBS[method]}{'Object' if on_object else 'Bucket'}"


_VERBS = {"GET": "Get", "HEAD": "Head", "PUT": "Put", "DELETE": "Delete", "POST": "Post"}
_BY_QUERY = {
    "partNumber": {"PUT": "UploadPart"},
    "tagging": {"GET": "GetObjectTagging", "PUT": "PutObjectTagging"},
    "uploads": {"POST": "CreateMultipartUpload", "GET": "ListMultipartUploads"},
    "uploadId": {"POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"},
}
