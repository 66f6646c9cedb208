"""A firewall before a local server, on real sockets, that forgets connections: what comes on those is lost in silence.

with firewall(server.endpoint_url) as wall:
    client(wall.endpoint_url).list_buckets()
    wall.forget()
    client(wall.endpoint_url).list_buckets()  # on another connection it is answered
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BYTES = 1 << 16


class Firewall:
    """Where it listens, how many connections there were, and how many bytes were sent on forgotten ones."""

    def __init__(self, upstream_url: str) -> None:
        upstream = urlsplit(upstream_url)
        self.upstream = upstream.hostname or "", upstream.port or 80
        self.endpoint_url = ""
        self.connections = 0
        self.lost_bytes = 0
        self.lock = threading.Lock()
        self._forgotten = 0

    def forget(self) -> None:
        """Let every connection there is die, of which neither end is told."""
        with self.lock:
            self._forgotten = self.connections

    def is_forgotten(self, number: int) -> bool:
        return number <= self._forgotten


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    wall: Firewall

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up are none of a firewall's business


class _Connection(BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        wall = self.server.wall
        with wall.lock:
            wall.connections += 1
            number = wall.connections
        with socket.create_connection(wall.upstream) as upstream:
            back = threading.Thread(target=self._answer, args=(upstream, number), daemon=True)
            back.start()
            while data := self.request.recv(_READ_BYTES):
                if not wall.is_forgotten(number):
                    upstream.sendall(data)
                    continue
                with wall.lock:
                    wall.lost_bytes += len(data)
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join()

    def _answer(self, upstream: socket.socket, number: int) -> None:
        with suppress(OSError):
            while data := upstream.recv(_READ_BYTES):
                if not self.server.wall.is_forgotten(number):
                    self.request.sendall(data)
            if not self.server.wall.is_forgotten(number):
                self.request.shutdown(socket.SHUT_RDWR)


@contextmanager
def firewall(upstream_url: str) -> Iterator[Firewall]:
    """Listen on a free port of this machine until the block ends."""
    wall = Firewall(upstream_url)
    with _Server(("127.0.0.1", 0), _Connection) as server:
        server.wall = wall
        wall.endpoint_url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield wall
        finally:
            server.shutdown()
            thread.join()
