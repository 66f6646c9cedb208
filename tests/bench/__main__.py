"""Speed, memory and size against other tools, in the same run: `python -m tests.bench --help`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests import models
from tests.bench import function as function_limits
from tests.bench import inputs, marks, readme
from tests.bench.peers import LIMIT, PACKAGER, PEERS
from tests.bench.runs import CommandFailedError, Run, measure
from tests.runtime_api import function
from tests.s3_server import CREDENTIALS, s3_server
from tests.telemetry import bench_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.inputs import Input
    from tests.s3_server import S3Server

FULL_BYTES, CUT_BYTES = inputs.GIB, 256 * inputs.MIB
LARGE_BYTES, LARGE_CUT_BYTES = 8 * inputs.GIB, 2 * inputs.GIB
_STARTS = 7
_LIMIT_PEER = next(peer for peer in PEERS if peer.name == LIMIT)
ROOM = 2.5
"""Of the largest input, what the working folder needs: it, its copy unpacked or packed, and something to spare."""


def main() -> int:
    options = _options()
    started: dict[str, Any] = {"quick": options.quick, "machine": _machine()}
    inputs.KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_place(options)) as folder:
        work = Path(folder)
        trained = models.trained(work / "trained.tar.gz")
        measured = inputs.measured(CUT_BYTES if options.quick else FULL_BYTES)
        rows: list[marks.Row] = []
        runs: dict[str, dict[str, list[Run]]] = {}
        for each in measured:
            _say(f"{each.name}: {each.what}")
            runs[each.name] = _compared(each, trained, work, options)
            size_bytes = each.at(work).stat().st_size
            rows += marks.rows(each.name, runs[each.name], size_bytes, full_size=not options.quick)
            rows += _s3(each, trained, work)
        rows += _memory(trained, work, LARGE_CUT_BYTES if options.quick else LARGE_BYTES)
        if not options.quick:
            rows += _many_members(work)
        rows += _start_up(work)
        rows += _as_function(measured[:2], trained, work)
        telemetry = _telemetry()
        rows += [*telemetry, _telemetry_share(measured[0].at(work), trained, work, telemetry)]
        rows += _cold_start(trained, work)
    _print_runs(runs)
    _print_rows(rows)
    if options.readme and not options.quick:
        readme.write(options.readme, rows, started["machine"])
    if options.json:
        listed = {name: {peer: [asdict(run) for run in of] for peer, of in by.items()} for name, by in runs.items()}
        judged = [asdict(row) | {"passed": row.passed} for row in rows]
        options.json.write_text(json.dumps({**started, "runs": listed, "rows": judged}, indent=2))
    return 1 if any(row.passed is False for row in rows) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="cut inputs (256 MiB): under two minutes")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each, of which medians are taken")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to write [default: /dev/shm, or build/bench]")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the table of full inputs into its place there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run and every figure there")
    return parser.parse_args()


def _place(options: argparse.Namespace) -> Path:
    """A file system in memory when it has room, so that no disk is measured."""
    memory = Path("/dev/shm")  # noqa: S108  a folder with a random name is made in it
    needed = ROOM * (LARGE_CUT_BYTES if options.quick else LARGE_BYTES) / 2  # the large input packs to half its size
    if options.work:
        return options.work
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > needed else inputs.KEPT.absolute()


def _compared(each: Input, trained: Path, work: Path, options: argparse.Namespace) -> dict[str, list[Run]]:
    artifact = shutil.copy(each.at(work), work / "compiled.tar.gz")
    runs: dict[str, list[Run]] = defaultdict(list)
    for number in range(options.rounds):
        for peer in PEERS:
            if peer.missing:
                if number == 0:
                    _say(f"  {peer.name}: not measured, {peer.missing} is not installed")
            elif number < peer.most and (peer.has_mark or not options.quick):
                runs[peer.name].append(measure(peer.command(artifact, trained), work))
                _say(f"  {peer.name}: {runs[peer.name][-1].wall_s:.2f} s")
    return runs


def _memory(trained: Path, work: Path, large_bytes: int) -> list[marks.Row]:
    peaks = []
    for size_bytes in (CUT_BYTES, large_bytes):
        each = inputs.of_size(size_bytes)
        _say(f"memory: {each.what}")
        artifact = each.at(work)
        run = measure(PEERS[0].command(artifact, trained), work)
        artifact.unlink()
        peaks.append(run.peak_bytes / inputs.MIB)
    name = f"{large_bytes // inputs.GIB} GiB"
    return [
        marks.Row(name, "peak memory", peaks[1], unit="MiB"),
        marks.Row(name, "peak memory over 256 MiB's", peaks[1] / peaks[0], marks.MEMORY_GROWTH),
    ]


def _many_members(work: Path) -> list[marks.Row]:
    """As many members as settings allow, of which each takes memory for its name and its record."""
    each = inputs.many_members()
    _say(each.what)
    command = [PACKAGER, "package", "--layout", "files", "--model", str(each.at(work).absolute())]
    command += ["--name", "com.example.Many", "--version", "1.0.0", "--output", "."]
    run = measure(command, work, inputs.LIMITS_OF_MANY)
    return [marks.Row("members", "peak memory of a million", run.peak_bytes / inputs.MIB, marks.MANY_MIB, unit="MiB")]


@contextmanager
def _in_s3(*artifacts: Path) -> Iterator[tuple[S3Server, str]]:
    """A local server with a bucket of these artifacts, and its URI."""
    with s3_server() as server:
        bucket = server.bucket()
        for path in artifacts:
            server.client(retries={"total_max_attempts": 5}).upload_file(str(path), bucket, path.name)
        yield server, f"s3://{bucket}"


def _s3_command(bucket: str, trained: str, compiled: str, endpoint_url: str) -> list[str]:
    command = [PACKAGER, "package", "--trained", f"{bucket}/{trained}", "--compiled"]
    return [*command, f"jetson-xavier={bucket}/{compiled}", "--output", bucket, "--endpoint-url", endpoint_url]


def _s3(each: Input, trained: Path, work: Path) -> list[marks.Row]:
    _say("  S3 to S3, against a local server")
    artifact = each.at(work)
    with _in_s3(artifact, trained) as (server, bucket):
        command = _s3_command(bucket, trained.name, artifact.name, server.endpoint_url)
        run = measure(command, work, CREDENTIALS)
    return [marks.Row(each.name, "peak memory, S3 to S3", run.peak_bytes / inputs.MIB, marks.S3_PEAK_MIB, unit="MiB")]


def _start_up(work: Path) -> list[marks.Row]:
    """Processor time of a package so small that nothing but starting counts, over that of Python (and boto3)."""
    _say("start-up")
    trained, small = models.trained(work / "trained.tar.gz"), models.neo(work / "small.tar.gz")

    def cpu_ms(command: list[str]) -> float:
        return 1000 * median(measure(command, work, CREDENTIALS).cpu_s for _ in range(_STARTS))

    with _in_s3(trained, small) as (server, bucket):
        in_s3 = [*_s3_command(bucket, trained.name, small.name, server.endpoint_url), "--force"]
        taken = [
            cpu_ms(PEERS[0].command(small, trained)) - cpu_ms([sys.executable, "-c", "pass"]),
            cpu_ms(in_s3) - cpu_ms([sys.executable, "-c", "import boto3"]),
        ]
    names = ("local, CPU over bare Python", "S3, CPU over `import boto3`")
    return [
        marks.Row("start-up", name, ms, marks.START_UP_CPU_MS, unit="ms") for name, ms in zip(names, taken, strict=True)
    ]


def _as_function(measured: Sequence[Input], trained: Path, work: Path) -> list[marks.Row]:
    """With the processors, the memory and the network of a function; igzip has as many processors."""
    rows: list[marks.Row] = []
    _say(f"as a function: {function_limits.CPUS} CPUs, {function_limits.MEMORY_BYTES >> 20} MiB")
    if _LIMIT_PEER.missing:
        _say(f"  not measured: {_LIMIT_PEER.missing} is not installed")
        return rows
    try:
        with function_limits.control_group() as inside:
            for each in measured:
                artifact = each.at(work)
                limit = measure([*inside, *_LIMIT_PEER.command(artifact.absolute(), trained)], work)
                ours = measure([*inside, *PEERS[0].command(artifact.absolute(), trained)], work)
                rows.append(marks.Row(each.name, "as a function: wall over igzip", ours.wall_s / limit.wall_s))
                rows += _at_75_mb_per_s(each, trained, work, inside)
    except function_limits.NotAllowedError as error:
        _say(f"  not measured: {error}")
    return rows


def _at_75_mb_per_s(each: Input, trained: Path, work: Path, inside: list[str]) -> Iterator[marks.Row]:
    """S3 to S3 with and without copying inside S3; what is sent includes the requests themselves."""
    artifact = each.at(work)
    one_file = each.name.startswith("a")  # c has several, each with bytes of its own to send
    for what, copying, most in (
        ("copied", "when_supported", marks.SENT_MIB if one_file else None),
        ("sent", "never", None),
    ):
        with _in_s3(artifact, trained) as (server, bucket), function_limits.narrow_line(server.endpoint_url) as line:
            command = _s3_command(bucket, trained.name, artifact.name, line.endpoint_url)
            run = measure([*inside, *command], work, {**CREDENTIALS, "S3_COPY_PARTS": copying})
            yield marks.Row(each.name, f"S3 at 75 MB/s, {what}", run.wall_s, unit="s")
            yield marks.Row(each.name, f"S3 at 75 MB/s, {what}: sent", line.sent_bytes / inputs.MIB, most, unit="MiB")


def _telemetry() -> list[marks.Row]:
    _say("telemetry")
    return [
        marks.Row("telemetry", name, value, bench_telemetry.LIMITS.get(name), unit="")
        for name, value in bench_telemetry.run().items()
    ]


def _telemetry_share(artifact: Path, trained: Path, work: Path, telemetry: Sequence[marks.Row]) -> marks.Row:
    """What observing takes of a whole package: its steps, each at the measured cost, by the time of the process."""
    folder = work / "telemetry"
    run = measure([*PEERS[0].command(artifact.absolute(), trained), "--telemetry", str(folder)], work)
    steps = len((folder / "spans.jsonl").read_text().splitlines())
    step_us = next(row.found for row in telemetry if row.what == "step_us") or 0
    return marks.Row("telemetry", "share of a package, %", steps * step_us / 1e4 / run.wall_s, marks.SHARE, unit="%")


def _cold_start(trained: Path, work: Path) -> list[marks.Row]:
    """Process start to reply, under AWS's own runtime client: what a cold start of the function takes here."""
    _say("cold start")
    rows = []
    with s3_server() as server:
        at = f"s3://{server.bucket()}"
        for path in (trained, models.neo(work / "small.tar.gz")):
            server.client().upload_file(str(path), at.removeprefix("s3://"), path.name)
        package = {"trained": f"{at}/{trained.name}", "output": at, "options": {"force": True}}
        package["compiled"] = [{"target": "jetson-xavier", "uri": f"{at}/small.tar.gz"}]
        for name, event, status in (
            ("preflight", {"httpMethod": "OPTIONS", "path": "/"}, 200),
            ("refusal", {}, 400),
            ("first package", package, 200),
        ):
            taken_ms = []
            for _ in range(3):
                started = time.monotonic()
                with function({**CREDENTIALS, "AWS_ENDPOINT_URL": server.endpoint_url}) as deployed:
                    answer = deployed.invoke(event)
                    taken_ms.append((time.monotonic() - started) * 1000)
                if answer["statusCode"] != status or any(each["error"] for each in answer.get("components", ())):
                    raise CommandFailedError(f"the function answered {answer}")
            rows.append(marks.Row("function", f"cold start to {name}", median(taken_ms), unit="ms"))
    return rows


def _machine() -> dict[str, object]:
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_runs(runs: dict[str, dict[str, list[Run]]]) -> None:
    heads = ("median s", "CPU s", "peak MiB", "scratch MiB", "out MiB", "runs")
    print(f"\n{'input':<10}{'':<16}" + "".join(f"{head:>12}" for head in heads))
    for name, by_peer in runs.items():
        for peer, of in by_peer.items():
            figures = (
                median(run.wall_s for run in of),
                median(run.cpu_s for run in of),
                marks.peak_mib(of),
                max(run.scratch_bytes for run in of) / inputs.MIB,
                of[0].out_bytes / inputs.MIB,
            )
            print(f"{name:<10}{peer:<16}" + "".join(f"{figure:>12.2f}" for figure in figures) + f"{len(of):>12}")


def _print_rows(rows: Sequence[marks.Row]) -> None:
    words = {True: "reached", False: "MISSED", None: ""}
    print(f"\n{'input':<10}{'figure':<34}{'found':>16}{'mark':>16}")
    for row in rows:
        found = "not measured" if row.found is None else f"{row.found:.2f} {row.unit}"
        mark = "" if row.mark is None else f"{'at least' if row.at_least else 'at most'} {row.mark:g}"
        print(f"{row.input:<10}{row.what:<34}{found:>16}{mark:>16}  {words[row.passed]}")


if __name__ == "__main__":
    sys.exit(main())
