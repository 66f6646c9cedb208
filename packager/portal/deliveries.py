"""Messages that SQS, SNS and S3 deliver to the function, the requests in them, and the queue of dead letters.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packager.errors import Fault, PackagerError, RequestError, is_recoverable, printable
from packager.portal.aws import AwsRefusedError, call_aws, client, map_aws_errors
from packager.portal.fields import Fields, wrong
from packager.portal.replies import shared_failure
from packager.results import FAILED
from telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from packager.results import PackageResult

_LARGEST_BYTES = 250_000
"""Of a dead letter: a message of SQS has at most 256 KiB, attributes included."""


class NotDoneError(PackagerError):
    """Targets failed for a cause that can pass, or were left; the event has to be delivered again."""


class FailedTargetsError(PackagerError):
    """Targets failed for good."""

    def __init__(self, message: str, faults: set[Fault]) -> None:
        super().__init__(printable(message, 1000))
        self.fault: Fault = "service" if "service" in faults else "artifact"


@dataclass(frozen=True, slots=True)
class Message:
    """One record of an event. `source` is sqs, sns or s3; messages of one `group` are in order (FIFO queues)."""

    source: str
    id: str
    record: dict[str, Any]
    group: str = ""

    def request(self) -> Any:  # noqa: ANN401  any JSON value
        """The request that the message holds, None for a test of S3. RequestError when it holds none."""
        if self.source == "s3":
            raise _notification()
        fields = Fields(self.record)
        value = _json(fields["body"] if self.source == "sqs" else fields.object("Sns")["Message"])
        if isinstance(value, dict) and value.get("Type") == "Notification" and "Message" in value:
            value = _json(value["Message"])  # SNS, subscribed by the queue
        if not isinstance(value, dict):
            raise RequestError("The message holds no object.", next_step="Send a request of machines.", field="body")
        if value.get("Event") == "s3:TestEvent":
            return None
        if "Records" in value:
            raise _notification()
        if "httpMethod" in value or "requestContext" in value:
            raise RequestError(
                "The message holds a request of the API, whose identity nobody vouches for here.",
                next_step="Send a request of machines, or call the API.",
                field="requestContext",
            )
        return value


def is_queue_event(event: dict[str, Any]) -> bool:
    """Whether SQS delivered the event, which alone takes a report by message."""
    return any(isinstance(each, dict) and each.get("eventSource") == "aws:sqs" for each in event.get("Records", ()))


def refuse_failures(result: PackageResult) -> None:
    """Raise what keeps any target from being packaged: NotDoneError when trying again can help, else the failure."""
    failed = {each.target: each.error for each in result.components if each.status == FAILED and each.error}
    again = [*result.left, *(target for target, error in failed.items() if error and is_recoverable(error))]
    if again:
        raise NotDoneError(
            f"Targets that are not done yet: {printable(', '.join(again), 1000)}.",
            next_step="They are tried again when the event is delivered again.",
        )
    if error := shared_failure(result):
        raise error
    if failed:
        faults = {error.fault for error in failed.values() if error}
        why = "; ".join(f"{target}: {error}" for target, error in failed.items())
        raise FailedTargetsError(f"Targets failed for good. {why}", faults)


def messages(event: dict[str, Any]) -> list[Message]:
    """The messages of an event. RequestError for one of another source."""
    if "Records" not in event:
        return []  # S3 tries out whether its notifications arrive
    return [_message(Fields(each, f"Records[{number}]")) for number, each in enumerate(Fields(event).list("Records"))]


def consume(
    event: dict[str, Any], serve: Callable[[Any], object], is_settled: Callable[[Exception, object], bool]
) -> tuple[dict[str, Any], Sequence[Exception]]:
    """Serve each message of an event; the reply that SQS expects, and the failures of messages that have to come again.

    `is_settled` is asked about a failure of a message: whether it is done with all the same. Of a FIFO group, what
    follows a failure has to come again too. Senders other than SQS want the failures raised.
    """
    failures: dict[str, Exception] = {}
    failed_groups: set[str] = set()
    for number, message in enumerate(messages(event)):
        if message.group in failed_groups:
            failures[message.id] = NotDoneError("An earlier message of the group has to come again first.")
            continue
        try:
            request = message.request()
            if request is not None:
                serve(request)
        except Exception as error:  # noqa: BLE001  the other messages have to be served
            if not is_settled(error, message.record):
                failures[message.id or str(number)] = error
                failed_groups |= {message.group} - {""}
    reply = {"batchItemFailures": [{"itemIdentifier": each} for each in failures]}
    return reply, list(failures.values())


def _message(fields: Fields) -> Message:
    source = fields["eventSource"] or fields["EventSource"]
    record = fields.whole()
    if source == "aws:sqs":
        attributes = fields["attributes"] if isinstance(fields["attributes"], dict) else {}
        return Message("sqs", fields.text("messageId"), record, str(attributes.get("MessageGroupId", "")))
    if source == "aws:sns":
        return Message("sns", fields.object("Sns").text("MessageId"), record)
    if source == "aws:s3":
        return Message("s3", "", record)
    raise wrong(fields.named("eventSource"), source, "aws:sqs or aws:sns")


def _notification() -> RequestError:
    return RequestError(
        "A notification of S3 names an object, and not what to make of it.",
        next_step="Send a request of machines, which names trained, compiled and output.",
        field="Records",
    )


def _json(text: object) -> Any:  # noqa: ANN401  any JSON value
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        raise RequestError("The message is not valid JSON.", next_step="Send an object.", field="body") from None


def keep_dead_letter(queue_url: str, event: object, error: PackagerError) -> bool:
    """Send an event that can never succeed to the queue of dead letters, with its reason; whether it is there."""
    if not queue_url:
        return False
    reason = {"ErrorType": type(error).__name__, "ErrorMessage": printable(error, 1000)}
    body = json.dumps(event)
    if len(body) > _LARGEST_BYTES:
        body = json.dumps({"begins_with": body[: _LARGEST_BYTES // 2]})
    try:
        with map_aws_errors("SQS SendMessage"):
            call_aws(
                client("sqs").send_message,
                QueueUrl=queue_url,
                MessageBody=body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in reason.items()
                },
            )
    except AwsRefusedError as refused:
        log("error", "a dead letter was not kept", error=refused.message, next_step=refused.next_step)
        return False
    return True
