"""A cold start beside that of a trivial handler, in the same run: `python -m tests.bench.cold_start [--rounds N]`.

From the start of the process under AWS's own runtime client to its first reply, in processor time: what others do on
the machine counts for neither. The trivial handler imports boto3, makes a client, reads an object and writes one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests import models
from tests.bench import marks
from tests.bench.runs import CommandFailedError
from tests.runtime_api import function
from tests.s3_server import CREDENTIALS, S3Server, s3_server

OURS, TRIVIAL = "packager.handler.handler", "tests.bench.trivial_handler.handler"
ROUNDS = 7


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.cold_start", description=__doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="starts of each, one after the other")
    found = row(options.parse_args().rounds)
    print(f"{found.what}: {found.found:.2f} x, at most {found.mark:g} x")
    return 1 if found.passed is False else 0


def row(rounds: int = ROUNDS) -> marks.Row:
    """Of the processor time of each handler's cold start the median, ours over the trivial one's."""
    with s3_server() as server, tempfile.TemporaryDirectory() as folder:
        event = _package(server, Path(folder))
        taken: dict[str, list[float]] = {OURS: [], TRIVIAL: []}
        for _ in range(rounds):
            for handler, each in taken.items():
                each.append(_cpu_s(handler, event, server.endpoint_url))
    for handler, each in taken.items():
        print(f"{handler}: {1000 * median(each):.0f} ms of CPU", file=sys.stderr)
    ratio = median(taken[OURS]) / median(taken[TRIVIAL])
    return marks.Row("function", "cold start over a trivial handler's", ratio, marks.COLD_START)


def _package(server: S3Server, folder: Path) -> dict[str, Any]:
    """The event of a first package, of which a trivial handler reads one object."""
    bucket = server.bucket()
    for path in (models.trained(folder / "trained.tar.gz"), models.neo(folder / "compiled.tar.gz")):
        server.client().upload_file(str(path), bucket, path.name)
    return {
        "trained": f"s3://{bucket}/trained.tar.gz",
        "compiled": [{"target": "jetson-xavier", "uri": f"s3://{bucket}/compiled.tar.gz"}],
        "output": f"s3://{bucket}",
        "options": {"force": True},
    }


def _cpu_s(handler: str, event: dict[str, Any], endpoint_url: str) -> float:
    """Processor time of a process that was started, has answered one event and does nothing more."""
    with function({**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint_url}, handler=handler) as deployed:
        answer = deployed.invoke(event)
        used = Path(f"/proc/{deployed.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    if answer["statusCode"] != 200 or any(each["error"] for each in answer.get("components", ())):
        raise CommandFailedError(f"the function answered {answer}")
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
