"""A function of a few lines, run by the real Lambda runtime client: it does what its event says."""

import logging
import os
import signal
import threading

import telemetry
from telemetry import catalog
from telemetry.aws_lambda import invocation, last_words


def handler(event, context):
    with invocation(event, context) as here:
        here.add(trigger="direct")
        with telemetry.observe(catalog.CREATE_MANIFEST, bytes_read=10):
            pass
        if event["do"] == "log":
            logging.getLogger("some.library").warning("a warning of a library")
        if event["do"] == "fail":
            raise ValueError("the work failed")
        if event["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if event["do"] == "eat":
            with telemetry.observe(catalog.READ_ARTIFACT):
                eaten = []
                while True:
                    eaten.append(b"x" * 10_000_000)
        if event["do"] == "hang":
            hang(context)
    return {"did": event["do"]}


def hang(context):
    """Work until the clock kills; a guard speaks shortly before."""
    guard = threading.Timer(context.get_remaining_time_in_millis() / 1000 - 0.5, last_words)
    guard.start()
    with telemetry.observe(catalog.PACKAGE_REQUEST, targets=1), telemetry.observe(catalog.READ_ARTIFACT, bytes_read=77):
        threading.Event().wait()
