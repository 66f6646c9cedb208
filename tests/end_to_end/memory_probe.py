"""Package one artifact from S3 to S3 for N targets at once, and print what it took: `memory_probe ENDPOINT BUCKET N`.

Bytes over the idle process: resident memory with the library and its S3 client loaded, and its peak while packaging.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from packager.packaging import package
from packager.settings import Settings
from packager.stores.s3_client import client_for
from tests.packages import TARGETS


def resident_bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


def main(endpoint_url: str, bucket: str, at_once: str) -> None:
    client_for(endpoint_url)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    idle = resident_bytes("VmRSS")
    result = package(
        f"s3://{bucket}/trained.tar.gz",
        dict.fromkeys((*TARGETS, "onnx-jetson-xavier-jp5")[: int(at_once)], f"s3://{bucket}/large.tar.gz"),
        f"s3://{bucket}/out",
        endpoint_url=endpoint_url,
        settings=Settings(max_concurrent_operations=int(at_once)),
        force=True,
    )
    print(json.dumps({"over_bytes": resident_bytes("VmHWM") - idle, "succeeded": result.succeeded}))


if __name__ == "__main__":
    main(*sys.argv[1:])
