"""SnapStart: what two environments that were restored from one snapshot share, and what each has anew."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests import portal as local
from tests.portal import request
from tests.runtime_api import function

HANDLER = "tests.end_to_end.restored_handler.handler"


class Credentials(ThreadingHTTPServer):
    """What Lambda gives an environment that can be restored in place of keys in variables: an address to ask."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Lending)
        self.lent = []


class _Lending(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.lent.append(f"AKIALENT{len(self.server.lent):04}")
        until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        body = json.dumps(
            {
                "AccessKeyId": self.server.lent[-1],
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def lending():
    with Credentials() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def snapshot(world, lender):
    """A function whose init phase has ended, and which waits to be restored."""
    keys = {name for name in world.environment if name.startswith(("AWS_ACCESS", "AWS_SECRET", "AWS_SESSION"))}
    environment = {
        **{name: value for name, value in world.environment.items() if name not in keys},
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{lender.server_address[1]}/",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
    }
    with function(environment, handler=HANDLER) as deployed:
        assert deployed.api.snapshot.wait(60), deployed.text()
        yield deployed


def sockets(deployed):
    folder = f"/proc/{deployed.process.pid}/fd"
    return {link for each in os.listdir(folder) if (link := os.readlink(f"{folder}/{each}")).startswith("socket:")}  # noqa: PTH115, PTH208  of another process


@pytest.fixture
def world(s3_server):
    with local.portal(s3_server.endpoint_url) as world:
        yield world


def test_two_environments_restored_from_one_snapshot_share_no_socket_credential_random_number_or_id(world):
    seen = []
    with lending() as lender, snapshot(world, lender) as one, snapshot(world, lender) as other:
        for deployed in (one, other):
            before = sockets(deployed)
            assert len(before) <= 1, "only that of the Runtime API"
            assert deployed.threads() == 1
            asked = len(lender.lent)
            deployed.restore()
            answer = deployed.invoke(request(world.job()))
            assert answer["reply"]["statusCode"] == 200, answer
            assert len(lender.lent) > asked, "credentials are asked for after the restore"
            assert len(sockets(deployed)) > len(before)
            lines = deployed.lines()
            assert [line["ColdStart"] for line in deployed.operations("InvokeFunction")] == [1]
            seen.append(({line["span_id"] for line in lines if "span_id" in line}, answer["random"], asked))
    (ids, number, asked), (other_ids, other_number, _) = seen
    assert asked == 0, "nothing was lent in the init phase"
    assert ids.isdisjoint(other_ids)
    assert number != other_number


def test_a_request_imports_next_to_nothing_that_the_init_phase_could_have(world):
    """Each of these takes milliseconds that provisioned concurrency and SnapStart are paid to spare a request."""
    with function(world.environment, handler=HANDLER) as deployed:
        first = deployed.invoke(request(world.job()))
        second = deployed.invoke(request(world.job()))
    assert [first["reply"]["statusCode"], second["reply"]["statusCode"]] == [200, 200]
    assert second["imported"] == []
    late = [name for name in first["imported"] if name.startswith(("packager", "telemetry", "opentelemetry", "boto"))]
    assert late == [], "\n".join(late)
