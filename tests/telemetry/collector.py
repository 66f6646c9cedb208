"""An OTLP collector in a thread, and endpoints that refuse, swallow, crawl and lie."""

import contextlib
import gzip
import http.server
import socket
import threading
from dataclasses import dataclass, field

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Answer:
    """What a collector says to every request."""

    status: int = 200
    kind: str = "application/x-protobuf"
    body: bytes = b""
    more: dict[str, str] = field(default_factory=dict)


class Collector:
    """What was received, decoded by the protocol's own definitions."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.metric_requests = []
        self.headers = []
        self.bodies = []

    @property
    def spans(self):
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self):
        return {pair.key: pair.value.string_value for pair in self.requests[0].resource_spans[0].resource.attributes}


@contextlib.contextmanager
def collecting(answer=None):
    """Give an endpoint and the collector behind it."""
    collector = Collector(answer or Answer())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.headers.append(dict(self.headers))
            collector.bodies.append(body)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer = collector.answer
            if answer.status == 200 and self.path.endswith("/v1/metrics"):
                collector.metric_requests.append(ExportMetricsServiceRequest.FromString(body))
            elif answer.status == 200:
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(answer.status)
            for name, value in {"Content-Length": len(answer.body), "Content-Type": answer.kind, **answer.more}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusing():
    """Return an endpoint at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/v1/traces"


@contextlib.contextmanager
def swallowing():
    """Give an endpoint that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"


@contextlib.contextmanager
def pouring():
    """Give an endpoint that takes a request and answers without an end, as fast as it is read."""

    def pour(server):
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(bytes(65_536))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=pour, args=(server,))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"
        thread.join()


@contextlib.contextmanager
def crawling(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"):
    """Give an endpoint that takes everything and answers one byte a second."""
    stop = threading.Event()
    connections = []

    def crawl(connection):
        with contextlib.suppress(OSError):
            connection.recv(65_536)
            for byte in answer + b"x" * 1000:
                connection.sendall(bytes([byte]))
                if stop.wait(1.0):
                    break

    def accept(server):
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                connections.append(connection)
                threading.Thread(target=crawl, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        thread = threading.Thread(target=accept, args=(server,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"
        finally:
            stop.set()
            thread.join()
            for connection in connections:
                connection.close()
