"""What a function has: a control group of so many processors and bytes, and a network of so many bytes a second."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CPUS, MEMORY_BYTES = 1.7, 3008 << 20
"""Of a Lambda function of 3008 MB."""

NETWORK_BYTES_PER_S = 75_000_000
"""What one gets of S3, both ways together, as seen from outside."""

_PERIOD_US = 100_000
_GROUPS = Path("/sys/fs/cgroup")
_PIECE_BYTES = 1 << 16


class NotAllowedError(Exception):
    """There can be no control group here, and why."""


@contextmanager
def control_group() -> Iterator[list[str]]:
    """What to put in front of a command so that it has no more than a function; removed at the end."""
    name = f"packager-bench-{os.getpid()}"
    quota = str(round(CPUS * _PERIOD_US))
    if (_GROUPS / "cgroup.controllers").exists():
        wanted = {_GROUPS / name: {"cpu.max": f"{quota} {_PERIOD_US}", "memory.max": str(MEMORY_BYTES)}}
    else:
        wanted = {
            _GROUPS / "cpu" / name: {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": quota},
            _GROUPS / "memory" / name: {"memory.limit_in_bytes": str(MEMORY_BYTES)},
        }
    try:
        try:
            for folder, values in wanted.items():
                folder.mkdir()
                for file, value in values.items():
                    (folder / file).write_text(value)
        except OSError as error:
            raise NotAllowedError(str(error)) from error
        joined = "; ".join(f"echo $$ > {folder}/cgroup.procs" for folder in wanted)
        yield ["sh", "-c", f'{joined}; exec "$@"', "sh"]
    finally:
        for folder in wanted:
            with suppress(OSError):
                folder.rmdir()


@dataclass
class Line:
    """A network before a server, that counts what passes in each direction."""

    endpoint_url: str
    sent_bytes: int = 0
    """By clients, requests and all."""
    received_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _free_at_s: float = 0.0

    def take(self, count: int, *, sent: bool) -> None:
        """Count bytes, and wait until they are through."""
        with self._lock:
            if sent:
                self.sent_bytes += count
            else:
                self.received_bytes += count
            self._free_at_s = max(self._free_at_s, time.monotonic()) + count / NETWORK_BYTES_PER_S
            wait_s = self._free_at_s - time.monotonic()
        time.sleep(max(0.0, wait_s))


@contextmanager
def narrow_line(endpoint_url: str) -> Iterator[Line]:
    """A line of NETWORK_BYTES_PER_S before a server. Speaks no HTTP: bytes go by as they come."""
    server = urlsplit(endpoint_url)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        line = Line(f"http://127.0.0.1:{listening.getsockname()[1]}")
        threading.Thread(target=_accept, args=(listening, (server.hostname, server.port), line), daemon=True).start()
        yield line


def _accept(listening: socket.socket, server: tuple[str | None, int | None], line: Line) -> None:
    with suppress(OSError):  # closed at the end
        while True:
            client, _ = listening.accept()
            upstream = socket.create_connection((server[0] or "", server[1] or 80))
            for ends, sent in (((client, upstream), True), ((upstream, client), False)):
                threading.Thread(target=_pass, args=(ends, line, sent), daemon=True).start()


def _pass(ends: Sequence[socket.socket], line: Line, sent: bool) -> None:  # noqa: FBT001  positional for the thread
    source, sink = ends
    with suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            line.take(len(piece), sent=sent)
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
