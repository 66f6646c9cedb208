"""Lambda's Runtime API, as much of it as the runtime client needs, and a function that runs on it.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import contextlib
import http.server
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Function:
    """A running function: `invoke` gives it an event and returns what it answers, None when it died instead."""

    def __init__(self, process, events, answers, output):
        self.process = process
        self._events = events
        self._answers = answers
        self._output = output
        self._count = 0

    def invoke(self, event, *, time_s=60.0, trace=""):
        self._count += 1
        self._events.put((f"request-{self._count}", event, time.time() + time_s, trace))
        deadline = time.monotonic() + time_s
        while self.process.poll() is None:
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=0.02)
            if time.monotonic() > deadline:
                self.process.kill()  # what the clock of the real one does
        self.process.wait()
        return None

    @property
    def lines(self):
        own, ours = [], True
        for line in self.output.split("\n")[:-1]:
            ours = line.startswith("{") or (
                ours and not line.startswith("[ERROR]")
            )  # the client's own report of errors
            own += [line] if ours else []
        return own

    @property
    def output(self):
        return self._output.read_text()

    @property
    def documents(self):
        return [json.loads(line) for line in self.lines]

    def emf(self, operation):
        return [found for found in self.documents if found.get("Operation") == operation]


@contextlib.contextmanager
def running(folder, *, tasks=None, **environ):
    """Run the tiny handler under awslambdaric; what it writes to standard output is kept in a file.

    `tasks` is the file by which a control group takes the process in.
    """
    events, answers = queue.Queue(), queue.Queue()

    class Api(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            request_id, event, deadline, trace = events.get()
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(deadline * 1000)))
            self.send_header(
                "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:123456789012:function:tiny"
            )
            if trace:
                self.send_header("Lambda-Runtime-Trace-Id", trace)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answers.put((self.path.rpartition("/")[2], json.loads(body)))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    output = folder / "stdout"
    environment = os.environ | {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "tiny",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/tiny",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream-1",
        "AWS_REGION": "eu-west-1",
        "LAMBDA_TASK_ROOT": str(ROOT),
        **environ,
    }
    command = [sys.executable, "-m", "awslambdaric", "tests.telemetry.tiny_handler.handler"]
    if tasks is not None:
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(tasks), *command]
    with output.open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment, cwd=ROOT)
    try:
        yield Function(process, events, answers, output)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()
