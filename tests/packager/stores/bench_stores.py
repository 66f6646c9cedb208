"""How fast S3 is read and written, beside plain boto3 in the same run: `python -m tests.packager.stores.bench_stores`.

Each figure is the median of whole processes against one local server; trust the ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from packager.stores import Stores
from tests.s3_server import CREDENTIALS, client, s3_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.s3_server import S3Server

MIB = 1 << 20
CHUNK_BYTES = 512 << 10
KEY = "object"


def run(size_bytes: int = 256 * MIB, rounds: int = 3) -> dict[str, dict[str, float]]:
    """Seconds and peak memory (MiB) of every way to read and write one object of `size_bytes`."""
    with s3_server() as server:
        bucket = server.bucket()
        server.client().put_object(Bucket=bucket, Key=KEY, Body=os.urandom(size_bytes))
        ran = {name: [_process(name, server, bucket, size_bytes) for _ in range(rounds)] for name in WAYS}
    return {
        name: {
            "seconds": round(statistics.median(each["seconds"] for each in runs), 3),
            "peak_mib": round(statistics.median(each["peak_mib"] for each in runs), 1),
        }
        for name, runs in ran.items()
    }


def read_here(endpoint_url: str, bucket: str, size_bytes: int) -> None:
    with Stores(endpoint_url=endpoint_url).source(f"s3://{bucket}/{KEY}").open() as reader:
        while reader.read(CHUNK_BYTES):
            pass


def read_boto3(endpoint_url: str, bucket: str, size_bytes: int) -> None:
    body = client(endpoint_url).get_object(Bucket=bucket, Key=KEY)["Body"]
    while body.read(CHUNK_BYTES):
        pass


def write_here(endpoint_url: str, bucket: str, size_bytes: int) -> None:
    sink = Stores(endpoint_url=endpoint_url).sink(f"s3://{bucket}")
    with sink.open(lambda: ("written", "identity")) as upload:
        for chunk in _chunks(size_bytes):
            upload.write(chunk)
        upload.commit()


def write_boto3(endpoint_url: str, bucket: str, size_bytes: int) -> None:
    client(endpoint_url).upload_fileobj(_File(size_bytes), bucket, "written")


def copy_here(endpoint_url: str, bucket: str, size_bytes: int) -> None:
    source = Stores(endpoint_url=endpoint_url).source(f"s3://{bucket}/{KEY}")
    sink = Stores(endpoint_url=endpoint_url).sink(f"s3://{bucket}")
    with source.open() as reader, sink.open(lambda: ("written", "identity")) as upload:
        while data := reader.read(CHUNK_BYTES):
            upload.write(data)
        upload.commit()


def nothing(endpoint_url: str, bucket: str, size_bytes: int) -> None:
    client(endpoint_url).head_object(Bucket=bucket, Key=KEY)


WAYS: dict[str, Callable[[str, str, int], None]] = {
    way.__name__: way for way in (nothing, read_boto3, read_here, write_boto3, write_here, copy_here)
}


class _File:
    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes
        self._block = os.urandom(8 * MIB)

    def read(self, size: int) -> bytes:
        taken = min(size, self._left_bytes, len(self._block))
        self._left_bytes -= taken
        return self._block[:taken]


def _chunks(size_bytes: int) -> Iterator[bytes]:
    chunk = os.urandom(CHUNK_BYTES)
    for _ in range(size_bytes // CHUNK_BYTES):
        yield chunk


def _process(name: str, server: S3Server, bucket: str, size_bytes: int) -> dict[str, float]:
    command = [sys.executable, "-m", __spec__.name, name, server.endpoint_url, bucket, str(size_bytes)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | CREDENTIALS)
    figures: dict[str, float] = json.loads(shown.stdout)
    return figures


def _main() -> None:
    if len(sys.argv) == 1:
        figures = run()
        for name, each in figures.items():
            print(f"{name:12} {each['seconds']:7.2f} s {each['peak_mib']:7.1f} MiB")
        for ours, theirs in (("read_here", "read_boto3"), ("write_here", "write_boto3")):
            print(f"{ours} / {theirs}: {figures[ours]['seconds'] / figures[theirs]['seconds']:.2f}")
        return
    name, endpoint_url, bucket, size_bytes = sys.argv[1:]
    began = time.perf_counter()
    WAYS[name](endpoint_url, bucket, int(size_bytes))
    seconds = time.perf_counter() - began
    # The high-water mark of this program alone; that of getrusage holds the parent's too.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({"seconds": seconds, "peak_mib": int(status["VmHWM"].split()[0]) / 1024}))


if __name__ == "__main__":
    _main()
