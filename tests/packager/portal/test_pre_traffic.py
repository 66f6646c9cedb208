"""A new version proves itself before it gets traffic: CodeDeploy's hook, against Lambda and CodeDeploy on a socket."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from packager.portal import pre_traffic

EVENT = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "hook-1"}
VERSION = "arn:aws:lambda:us-east-1:123456789012:function:packager:7"


class Aws(BaseHTTPRequestHandler):
    """Answers an invocation as the server says, and keeps what it is asked."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers, answer = {}, b"{}"
        if "/invocations" in self.path:
            headers, answer = self.server.answer
            if answer is None:
                self.close_connection = True
                return
        self.server.asked.append((self.headers.get("x-amz-target") or self.path, json.loads(body)))
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def aws(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv(pre_traffic.VERSION, VERSION)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (({}, b'{"statusCode": 200}'), "Succeeded"),
        (({}, b'{"statusCode": 200, "audited": true}'), "Succeeded"),
        (({}, b'{"statusCode": 200, "audited": false}'), "Failed"),
        (({}, b'{"statusCode": 500, "error": {}}'), "Failed"),
        (({"X-Amz-Function-Error": "Unhandled"}, b'{"statusCode": 200}'), "Failed"),
        (({}, b"null"), "Failed"),
        (({}, b"no JSON"), "Failed"),
        (({}, None), "Failed"),
    ],
)
def test_codedeploy_is_told_whether_the_new_version_passed_its_probe(aws, answer, status):
    aws.answer = answer
    assert pre_traffic.handler(EVENT) == {"status": status}
    *asked, told = aws.asked
    assert told == (
        "CodeDeploy_20141006.PutLifecycleEventHookExecutionStatus",
        {"deploymentId": "d-1", "lifecycleEventHookExecutionId": "hook-1", "status": status},
    )
    assert [(path.replace("%3A", ":"), body) for path, body in asked] == [
        (f"/2015-03-31/functions/{VERSION}/invocations", {"probe": True})
    ] * (answer[1] is not None)


def test_without_the_name_of_a_version_the_deployment_fails_at_once(aws, monkeypatch):
    monkeypatch.delenv(pre_traffic.VERSION)
    assert pre_traffic.handler(EVENT) == {"status": "Failed"}
    assert len(aws.asked) == 1
