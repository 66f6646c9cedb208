"""The function as Lambda runs it: AWS's own runtime client, fed by a local Runtime API; needs no pytest.

with function({"AWS_ENDPOINT_URL": server.endpoint_url}) as deployed:
    deployed.invoke({"httpMethod": "OPTIONS", "path": "/"})

As root it can have what Lambda gives and takes: a /tmp of its own, small; a memory limit; freezing.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from telemetry.check import check_lines
from tests.small_disk import CHECKOUT, left_in_tmp, over_tmp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20


class FunctionFailedError(Exception):
    """The function raised, or could not start; the payload says what."""

    def __init__(self, payload: Any) -> None:
        super().__init__(json.dumps(payload))
        self.payload = payload


class _RuntimeApi(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.events: queue.Queue[dict[str, str | bytes]] = queue.Queue()
        self.answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.snapshot, self.restored = threading.Event(), threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a process that is killed hangs up


class _Exchange(BaseHTTPRequestHandler):
    server: _RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/restore/next"):
            self.server.snapshot.set()
            self.server.restored.wait()
            self._done(200)
            return
        event = self.server.events.get()
        body = event.pop("body")
        self.send_response(200)
        for name, value in event.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.answers.put((self.path.rpartition("/")[2], json.loads(body or b"null")))
        self._done(202)

    def _done(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Function:
    """One execution environment: a process, its Runtime API, its output so far."""

    process: subprocess.Popen[bytes]
    api: _RuntimeApi
    output: BinaryIO
    freezer: Path | None = None

    def invoke(self, event: Any, *, left_s: float = 900, within_s: float = 120, request_id: str = "") -> Any:
        """The reply to an event; FunctionFailedError when there is none."""
        self.send(event, left_s=left_s, request_id=request_id)
        return self.answer(within_s)

    def send(self, event: Any, *, left_s: float = 900, request_id: str = "") -> None:
        """Begin an invocation that has `left_s` seconds, which nobody enforces; the same id when it is a second try."""
        self.api.events.put(
            {
                "Lambda-Runtime-Aws-Request-Id": request_id or str(uuid.uuid4()),
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + left_s) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:packager",
                "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
                "Content-Type": "application/json",  # the runtime client dies without it
                "body": json.dumps(event).encode(),
            }
        )

    def answer(self, within_s: float = 120) -> Any:
        """The reply to what was sent."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                kind, payload = self.api.answers.get(timeout=0.2)
                break
            except queue.Empty:
                if self.process.poll() is not None:
                    raise FunctionFailedError(
                        f"it ended with {self.process.returncode}: {self.text()[-2000:]}"
                    ) from None
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no answer within {within_s} s; output: {self.text()[-2000:]}") from None
        if kind != "response":
            raise FunctionFailedError(payload)
        return payload

    def text(self) -> str:
        """Everything the process wrote so far."""
        descriptor = self.output.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("utf-8", "replace")

    def lines(self) -> list[dict[str, Any]]:
        """The JSON documents among what it wrote, a line each."""
        found = []
        for line in self.text().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [each for each in found if isinstance(each, dict)]

    def check(self) -> None:
        """Raise AssertionError when CloudWatch would refuse one of the lines, or the catalog knows it not."""
        whole = self.text().rpartition("\n")[0].split("\n")
        findings = check_lines(line for line in whole if line.startswith("{"))
        if findings:
            raise AssertionError("\n".join(findings))

    def operations(self, name: str) -> list[dict[str, Any]]:
        """The metric lines of one row of the catalog."""
        return [line for line in self.lines() if line.get("Operation") == name and "_aws" in line]

    def left_in_tmp(self) -> list[str]:
        """What lies in the /tmp that only the process sees."""
        return left_in_tmp(os.listdir(f"/proc/{self.process.pid}/root/tmp"))  # noqa: PTH208  names are wanted

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def restore(self) -> None:
        """Go on after the snapshot, as SnapStart restores it: for functions that are started to be restored."""
        self.api.restored.set()

    def freeze(self) -> None:
        """Stop every thread between two instructions, as Lambda does between invocations."""
        self._to_state("FROZEN")

    def thaw(self) -> None:
        self._to_state("THAWED")

    def _to_state(self, state: str) -> None:
        if self.freezer is None:
            raise RuntimeError("this function was not started to be frozen")
        (self.freezer / "freezer.state").write_text(state)
        while (self.freezer / "freezer.state").read_text().strip() != state:
            time.sleep(0.01)


@contextmanager
def function(
    environment: Mapping[str, str],
    *,
    tmp: str | None = None,
    memory_bytes: int | None = None,
    freezable: bool = False,
    handler: str = "packager.handler.handler",
) -> Iterator[Function]:
    """Start an environment of the function and end it with the block.

    Args:
        environment: variables besides those that Lambda sets.
        tmp: options of a tmpfs over /tmp that only the function sees, or a folder that becomes its /tmp.
        memory_bytes: limit of its control group.
        freezable: whether it can be frozen.
    """
    with ExitStack() as stack:
        api = stack.enter_context(_RuntimeApi())
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        stack.callback(api.shutdown)
        groups = []
        if memory_bytes is not None:
            groups.append(stack.enter_context(_group("memory")))
            (groups[-1] / "memory.limit_in_bytes").write_text(str(memory_bytes))
        freezer = stack.enter_context(_group("freezer")) if freezable else None
        output = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(
            _command(handler, tmp, [*groups, *([freezer] if freezer else [])]),
            cwd=CHECKOUT,
            env=_variables(api, environment, memory_bytes),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        running = Function(process, api, output, freezer)
        try:
            yield running
        finally:
            if freezer is not None:
                running.thaw()
            process.send_signal(signal.SIGKILL)
            process.wait()
        running.check()


def why_no_limits() -> str:
    """Why a function cannot have a /tmp of its own, a memory limit and be frozen here; empty when it can."""
    if sys.platform != "linux":
        return "mount namespaces and control groups are Linux's"
    if os.geteuid() != 0:
        return "mounting and control groups need root"
    for controller in ("memory", "freezer"):
        try:
            with _group(controller):
                pass
        except OSError as error:
            return f"there is no control group of version 1 for {controller} ({error})"
    mounted = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"],  # noqa: S108  in a namespace of its own
        capture_output=True,
        check=False,
    )
    return f"mounting is not allowed ({mounted.stderr.decode().strip()})" if mounted.returncode else ""


def _command(handler: str, tmp: str | None, groups: list[Path]) -> list[str]:
    run = [sys.executable, "-m", "awslambdaric", handler]
    steps = [f"echo $$ > {group}/tasks" for group in groups]
    if tmp is not None:
        steps += over_tmp(f"--bind {tmp}" if tmp.startswith("/") else f"-t tmpfs -o {tmp} tmpfs")
    if not steps:
        return run
    inside = ["sh", "-ec", "; ".join([*steps, 'exec "$@"']), "sh", *run]
    return ["unshare", "--mount", *inside] if tmp is not None else inside


def _variables(api: _RuntimeApi, environment: Mapping[str, str], memory_bytes: int | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "HOME"}}
    return {
        **inherited,
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONWARNINGS": "error::ResourceWarning",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}",
        "AWS_LAMBDA_FUNCTION_NAME": "packager",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123456789abcdef",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str((memory_bytes or 3008 * MIB) // MIB),
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **environment,
    }


@contextmanager
def _group(controller: str) -> Iterator[Path]:
    group = CGROUPS / controller / f"packager-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    if not (CGROUPS / controller / "tasks").exists():
        raise FileNotFoundError(f"{CGROUPS / controller}/tasks")
    group.mkdir()
    try:
        yield group
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)  # the kernel is not through with the process that just died
