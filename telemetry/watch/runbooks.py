"""What to do when an alarm fires: written for the person who was just woken up."""

from __future__ import annotations

from telemetry.watch.types import Action, Automation, Runbook


def _failures_of(*operations: str) -> str:
    events = ", ".join(f'"{operation}"' for operation in operations)
    return (
        "fields @timestamp, event, error_type, error, next_step, target, training_id, request_id, trace_id"
        f' | filter event in [{events}] and outcome != "success" | sort @timestamp desc | limit 20'
    )


def _largest(operation: str, metric: str, *, ascending: bool = False) -> str:
    return (
        f"fields @timestamp, {metric}, target, training_id, request_id, trace_id, outcome"
        f' | filter Operation = "{operation}" and ispresent({metric})'
        f" | sort {metric} {'asc' if ascending else 'desc'} | limit 20"
    )


def _collect(what: str, query: str) -> Action:
    return Action(f"Collect {what}", "query", query)


_LIST_UPLOADS = Action(
    "List unfinished uploads",
    "command",
    "aws s3api list-multipart-uploads --bucket BUCKET --prefix model_artifacts/"
    " --query 'Uploads[].{Key: Key, UploadId: UploadId, Initiated: Initiated}'",
)
_SWEEP_UPLOADS = Action(
    "Abort one unfinished upload",
    "command",
    "aws s3api abort-multipart-upload --bucket BUCKET --key KEY --upload-id UPLOAD_ID",
)
_CONFIGURATION = Action(
    "Show what the function has",
    "command",
    "aws lambda get-function-configuration --function-name {function_name}"
    " --query '{Memory: MemorySize, Timeout: Timeout, Scratch: EphemeralStorage.Size}'",
)
_AGAIN = (
    "Package the failed targets again, from the portal, or with the event of the run:"
    " `aws lambda invoke --function-name {function_name}:live --cli-binary-format raw-in-base64-out"
    " --payload file://event.json result.json`. Components that are there are found, not made again."
)
_GO_BACK = (
    "When it began with a deployment, go back to the version before:"
    " `aws lambda list-versions-by-function --function-name {function_name}"
    " --query 'Versions[-5:].[Version,LastModified]' --output text`, then"
    " `aws lambda update-alias --function-name {function_name} --name live --function-version VERSION`."
)
_NEW_ENVIRONMENTS = (
    "New environments begin afresh, with an empty disk: `aws lambda update-function-configuration --function-name"
    ' {function_name} --description "new environments $(date -u +%FT%TZ)" && aws lambda wait function-updated'
    " --function-name {function_name} && aws lambda update-alias --function-name {function_name} --name live"
    ' --function-version "$(aws lambda publish-version --function-name {function_name} --query Version'
    ' --output text)"`.'
)
_UNFINISHED = f"What uploads left, by bucket: `{_LIST_UPLOADS.text}`."
_ABORT = f"Abort what is older than a day: `{_SWEEP_UPLOADS.text}`."
_ALARMS_NOW = (
    "`aws cloudwatch describe-alarms --state-value ALARM --alarm-name-prefix {function_name}-"
    " --alarm-types MetricAlarm CompositeAlarm"
    " --query '[MetricAlarms,CompositeAlarms][].[StateUpdatedTimestamp,AlarmName]' --output text | sort`"
)


def _deploy(setting: str, value: str) -> str:
    """Return the command that changes one setting of the infrastructure, and with it all that follows from it."""
    return f'`make deploy STAGE={{stage}} ARGS="-c {setting}={value}"`'


_MORE_SCRATCH = f"More scratch (10,240 MiB at most): {_deploy('scratch_bytes', '10240MiB')}; then in infra/cdk.json."
_MORE_MEMORY = (
    f"More memory, and with it more processor (10,240 MiB at most): {_deploy('memory_bytes', '4096MiB')}; then in"
    " infra/cdk.json."
)

_TARGETS = _failures_of("PackageTarget", "ChooseStrategy")
_NOTHING_DONE = _failures_of("PackageTarget", "ChooseStrategy", "CreateManifest", "PackageRequest")
_GIVEN_UP = (
    "fields @timestamp, cause, attempt, wait_s, target, training_id, trace_id"
    ' | filter event = "RetryTarget" and exhausted > 0 | sort @timestamp desc | limit 20'
)
_ENDED = (
    "fields @timestamp, @requestId, @maxMemoryUsed, @memorySize, @duration, @message"
    ' | filter @type = "REPORT" or @message like /Task timed out|signal: killed|Runtime exited/'
    " | sort @timestamp desc | limit 40"
)
_FAILED_WORK = Automation(
    "failed-work",
    "Collects what failed, what was given up, what Lambda ended, and what the function has",
    (
        _collect("what failed", _NOTHING_DONE),
        _collect("what was given up", _GIVEN_UP),
        _collect("what Lambda ended", _ENDED),
        _CONFIGURATION,
    ),
)
_UPLOADS = Automation(
    "unfinished-uploads", "Lists unfinished uploads, and aborts one that is named", (_LIST_UPLOADS, _SWEEP_UPLOADS)
)
TARGET_FAILURES = Runbook(
    meaning="At least one target ended without a component.",
    hurt="The data scientist who asked for that target; other targets of the same request are whole.",
    look_first="The query: error and next_step say what to do. Dashboard targets, *Failures by target*: one or all.",
    query=_TARGETS,
    causes=(
        "The compiled or trained artifact is damaged or incomplete (ExtractionError, ManifestError).",
        "The artifact or the bucket cannot be reached (StoreError: AccessDenied, NoSuchKey, NoSuchBucket).",
        "A limit was reached (InsufficientStorageError, OutOfTimeError).",
    ),
    actions=(
        "A damaged artifact: `packager inspect s3://BUCKET/KEY` shows what is wrong; ask for the compilation again.",
        "Access: `aws s3api head-object --bucket BUCKET --key KEY` with the use case's role shows the refusal.",
        "A limit: next_step names the setting or the strategy; `packager plan` shows what the artifact needs.",
        _AGAIN,
    ),
    escalate="When the same error_type hits more than one use case, or nothing explains it within 30 minutes.",
    over="No failure for an hour, and the failed targets were packaged again.",
    automation=_FAILED_WORK,
)
TARGET_FAILURE_RATE = Runbook(
    meaning="Of the targets of the last minutes, too large a share failed: this is not one bad artifact.",
    hurt="Everybody who packages now.",
    look_first="Dashboard overview, *Failures by target*: all, or one? Then the query: one error_type, or many?",
    query=_TARGETS,
    causes=(
        "A dependency is down or refuses: S3, KMS, the role of the use case.",
        "A new version of the function is wrong: compare the start of the failures with the deployment.",
        "One use case sends a series of damaged artifacts.",
    ),
    actions=(
        "Count them: in the query, `stats count(*) as failures by error_type, target` in place of sort and limit.",
        _GO_BACK,
        "AccessDenied: compare the role's policy with what the error names.",
        "S3 or KMS: the AWS Health Dashboard of the region; nothing is lost, what failed is packaged again later.",
        _AGAIN,
    ),
    escalate="At once when all targets of all use cases fail; else after 30 minutes without a cause.",
    over="The share is below the threshold for three periods.",
    automation=_FAILED_WORK,
)
NO_WORK_DONE = Runbook(
    meaning="Targets were asked for, and not one component was packaged or found already there.",
    hurt="Everybody who asked in that time; they may not know it yet.",
    look_first="Dashboard overview, *Targets: asked for and failed*; then the query: one cause for all, or several.",
    query=_NOTHING_DONE,
    causes=(
        "Every target fails for one reason: see error_type.",
        "The function is cut off before any target ends (time, memory): see the function's errors.",
        "Requests ask for targets whose compilation is not done.",
    ),
    actions=(
        "One cause for all: error and next_step say what to do; then the runbook of target-failures.",
        "Runs that were cut off: `filter @message like /Task timed out|signal: killed|Runtime exited/`.",
        _GO_BACK,
        _AGAIN,
    ),
    escalate="At once when it lasts for a second period.",
    over="One target succeeds.",
    automation=_FAILED_WORK,
)
FUNCTION_ERRORS = Runbook(
    meaning="Lambda itself ended an invocation: killed by memory or time, or the code could not start.",
    hurt="The caller of that invocation; a killed function leaves no line of its own at the end.",
    look_first="The function's REPORT lines in the query: memory used against size, duration against time-out.",
    query=_ENDED,
    causes=(
        "Memory: @maxMemoryUsed equals @memorySize.",
        "Time: Task timed out; the guard could not abort in time.",
        "A broken deployment: Runtime.ImportModuleError, or a missing permission at start.",
    ),
    actions=(
        _GO_BACK,
        _MORE_MEMORY,
        f"More time (900 s at most): {_deploy('time_s', '900')}. At 900 s, send targets through the state machine.",
        _UNFINISHED,
        _ABORT,
    ),
    escalate="When the version before fails in the same way.",
    over="No error for three periods.",
    automation=_FAILED_WORK,
)
_SCRATCH = (
    "fields @timestamp, UsedBytes, AvailableBytes, Slope, Level, path, training_id, request_id, trace_id"
    ' | filter Operation = "MonitorStorage" and ispresent(UsedBytes) | sort UsedBytes desc | limit 20'
)
_WHERE_TIME_WENT = (
    "fields @timestamp, Operation, Duration, TimeLeft, AbortedForTime, BytesRead, BytesWritten, Retries, Throttles,"
    " request_id, trace_id"
    ' | filter Operation in ["InvokeFunction", "ReadArtifact", "WriteComponent", "RetryTarget"]'
    " | sort Duration desc | limit 20"
)
_LIMITS = Automation(
    "near-limits",
    "Collects who used most of disk, time and memory, and what the function has",
    (
        _collect("the use of scratch", _SCRATCH),
        _collect("where the time went", _WHERE_TIME_WENT),
        _collect("the use of memory", _largest("InvokeFunction", "PeakMemoryBytes")),
        _CONFIGURATION,
    ),
)
STORAGE_WARNING = Runbook(
    meaning="Scratch use passed the warning line; the work goes on, by streaming where it can.",
    hurt="Nobody yet. Larger artifacts than this one will fall back or fail.",
    look_first="Dashboard storage, *Scratch now* and *Scratch trend*; then the query: which run, which path.",
    query=_SCRATCH,
    causes=(
        "Large artifacts run with a strategy that stages files (standard, sequential).",
        "Several targets run at once.",
        "Scratch was not given back: see clean-ups and what they left.",
    ),
    actions=(
        'Why runs did not stream: `filter event = "ChooseStrategy" | display strategy, reason, target, training_id`.',
        'What clean-ups left: `filter event = "CleanUp" and left > 0 | display left_paths`.',
        _MORE_SCRATCH,
    ),
    escalate="When use keeps growing after the runs have ended.",
    over="Use is below the warning line for 15 minutes.",
    automation=_LIMITS,
)
STORAGE_CRITICAL = Runbook(
    meaning="Scratch use passed the critical line: clean-up runs first, and what does not fit is refused.",
    hurt="Targets that need scratch now; streaming ones go on.",
    look_first="Dashboard storage, *Scratch now* and *Clean-ups*: whether cleaning helps; then the query: which run.",
    query=_SCRATCH,
    causes=(
        "An artifact that has to be staged is larger than the disk allows.",
        "Clean-up fails: files stay although their run is over.",
        "Too many staged targets at once.",
    ),
    actions=(
        'What was refused: `filter event = "ReserveStorage" and outcome != "success" | display error, figures`.',
        'What clean-ups left: `filter event = "CleanUp" and left > 0 | display left_paths`.',
        _NEW_ENVIRONMENTS,
        _MORE_SCRATCH,
        _AGAIN,
    ),
    escalate="When new environments reach the line with a single target.",
    over="Use is below the critical line for 15 minutes, and refused targets were packaged again.",
    automation=_LIMITS,
)
STORAGE_FILLING = Runbook(
    meaning="At its present growth the scratch disk is full before the work can end.",
    hurt="Nobody yet; without a change the running targets fail.",
    look_first="Dashboard storage, *Scratch trend*: slope and time to full; then the query: which run.",
    query=_largest("MonitorStorage", "SecondsToFull", ascending=True),
    causes=(
        "A staged artifact expands to more than was estimated.",
        "Freed files are still held open by something.",
        "Several staged targets grow at once.",
    ),
    actions=(
        "`packager inspect s3://BUCKET/KEY` shows the real sizes of that artifact's members.",
        'Package it with `"options": {"strategy": "streaming"}` in its event, or one target at a time.',
        _MORE_SCRATCH,
    ),
    escalate="When it is followed by the critical alarm.",
    over="No shorter time to full than the threshold for 15 minutes.",
    automation=_LIMITS,
)
TIME_NEARLY_UP = Runbook(
    meaning="An invocation ended with little time left: the next larger artifact will be cut off.",
    hurt="Nobody, or the one whose run was aborted to stay clean: see AbortedForTime.",
    look_first="Dashboard overview, *Time left at the end* and *Aborted*; then the query: what took longest.",
    query=_WHERE_TIME_WENT,
    causes=(
        "A larger artifact, or more targets in one call.",
        "A slow store: retries and throttles in the panels of reads and writes.",
        "Less memory means less processor: compression is slower.",
    ),
    actions=(
        "Open the trace of the worst run: the longest span is where the time went.",
        "Many targets: send them through the state machine, one invocation each.",
        _MORE_MEMORY,
    ),
    escalate="When one target alone needs the whole time.",
    over="Time left is above the threshold for an hour of real work.",
    automation=_LIMITS,
)
MEMORY_NEARLY_UP = Runbook(
    meaning="The process came near its memory; past it, Lambda kills it without a word.",
    hurt="Nobody yet.",
    look_first="Dashboard storage, *Memory and scratch of the function*, *Memory relief*; the query: which run.",
    query=_largest("InvokeFunction", "PeakMemoryBytes"),
    causes=(
        "Too many targets in one process.",
        "Relief came too late, or freed nothing: buffers before and after.",
        "A leak: the peak grows with the invocations of one environment.",
    ),
    actions=(
        (
            'A leak rises with the invocations of one environment: `filter Operation = "InvokeFunction"'
            " | stats max(PeakMemoryBytes) by log_stream, Invocations`."
        ),
        _NEW_ENVIRONMENTS,
        f"Fewer targets in one process: {_deploy('concurrent_targets', '1')}.",
        _MORE_MEMORY,
    ),
    escalate="When a single target passes the line.",
    over="The peak is below the threshold for an hour of real work.",
    automation=_LIMITS,
)
RETRIES_EXHAUSTED = Runbook(
    meaning="A target failed again and again for a cause that should pass, and was given up.",
    hurt="Those who asked for these targets.",
    look_first="The query: cause. Dashboard targets, *Reads: trouble with the store*, and *Writes* likewise.",
    query=_GIVEN_UP,
    causes=(
        "A dependency is down for longer than the retries last: S3, KMS, STS.",
        "A fault that never passes is taken for one that does.",
        "Throttling by too many functions at once.",
    ),
    actions=(
        "The AWS Health Dashboard of the region, for the service in cause.",
        f"Throttling: fewer targets at once: {_deploy('map_concurrency', '10')}.",
        _AGAIN,
    ),
    escalate="When the service is healthy and the cause repeats.",
    over="No exhausted retry for 30 minutes, and the targets were packaged again.",
    automation=_FAILED_WORK,
)
CLEANUP_FAILED = Runbook(
    meaning="Something on the scratch disk, or the parts of an upload, could not be removed.",
    hurt="Nobody now; later runs of that environment have less disk, and parts that stay cost money silently.",
    look_first="The query: left_paths names files and reasons, key the upload. Dashboard storage, *Clean-ups*.",
    query=(
        "fields @timestamp, event, left_paths, bucket, key, error, cleanup_reason, freed_bytes, trace_id"
        ' | filter (event = "CleanUp" and (left > 0 or outcome != "success"))'
        ' or (event = "WriteComponent" and left_behind > 0) | sort @timestamp desc | limit 20'
    ),
    causes=(
        "A file is still open or mapped in another thread.",
        "Rights or flags on a file that an archive brought along.",
        "The disk itself fails (I/O error).",
    ),
    actions=(
        _NEW_ENVIRONMENTS,
        _UNFINISHED,
        f"{_ABORT} AccessDenied: the right to abort is missing.",
    ),
    escalate="When it happens in new environments too.",
    over="No failed clean-up for a day, and no unfinished upload is listed.",
    automation=_UPLOADS,
)
UPLOADS_ABORTED = Runbook(
    meaning="Uploads were begun and given up; the parts were removed.",
    hurt="Those whose targets failed with them. Parts that stay behind cost money silently.",
    look_first="The query: a CRC or length that is wrong is the artifact's. Dashboard targets, *Writes*.",
    query=_failures_of("WriteComponent"),
    causes=(
        "The artifact turned out damaged at its end: then nothing must be published, and this is right.",
        "The store refused a part: checksum, rights, KMS.",
        "The time was nearly up, and the work was cut cleanly.",
    ),
    actions=(
        "A damaged artifact: `packager inspect s3://BUCKET/KEY`; ask for the compilation again.",
        _UNFINISHED,
        _ABORT,
    ),
    escalate="When aborted uploads stay listed after their runs.",
    over="No aborted upload for an hour, and none is listed.",
    automation=_UPLOADS,
)
THROTTLES = Runbook(
    meaning="Lambda refused invocations: no concurrency was left.",
    hurt="Callers of the API get an error; events and the state machine come later.",
    look_first="Dashboard overview, *AWS/Lambda: Throttles*: a burst, or for long? The query: how many ran, how long.",
    query='filter @type = "REPORT" | stats count(*) as runs, max(@duration) as longest by bin(5m)',
    causes=(
        "A burst of requests, or a state machine with many targets.",
        "Another function of the account takes the concurrency.",
        "The reserved concurrency of the function is too small.",
    ),
    actions=(
        "What the account has: `aws lambda get-account-settings --query AccountLimit`.",
        "What is set aside: `aws lambda get-function-concurrency --function-name {function_name}`.",
        f"More for the function: {_deploy('reserved_concurrency', '100')}.",
        f"Fewer targets at once: {_deploy('map_concurrency', '20')}.",
    ),
    escalate="When the account's own limit is reached: ask for more through Service Quotas.",
    over="No throttle for three periods.",
)
_FAILED_CALLS = (
    "fields @timestamp, error_type, error, trigger, job_name, training_id, request_id, trace_id"
    ' | filter event = "InvokeFunction" and outcome != "success" | sort @timestamp desc | limit 20'
)
_UNSERVED = Automation("failed-calls", "Collects the calls that failed", (_collect("failed calls", _FAILED_CALLS),))
DEAD_LETTERS = Runbook(
    meaning="Events wait in the queue of dead letters: the function failed at each three times, or never got it.",
    hurt="Whoever waits for what the event would have done: a compiled target that is not packaged. It stays so.",
    look_first="The message: aws sqs receive-message --queue-url QUEUE_URL --message-attribute-names All",
    query=_FAILED_CALLS,
    causes=(
        "The portal's tables or a use case's role could not be reached for minutes (AwsRefusedError).",
        "Lambda killed each attempt: function-errors has fired too.",
        "The event waited for concurrency for more than six hours: throttles has fired too.",
    ),
    actions=(
        "Find the message's RequestID in the query, and remove its cause. The message goes after 14 days.",
        (
            "Send the body again: aws lambda invoke --function-name {function_name}:live --invocation-type Event"
            " --cli-binary-format raw-in-base64-out --payload file://body.json answer.json"
        ),
        "Then delete it: aws sqs delete-message --queue-url QUEUE_URL --receipt-handle RECEIPT_HANDLE",
    ),
    escalate="When new messages come after the cause is gone.",
    over="The queue is empty, and every event in it was sent again or is known to be needless.",
    automation=_UNSERVED,
)
BROKEN_METRICS = Runbook(
    meaning="CloudWatch could not read metric lines of the function: its metrics have holes, other alarms are blind.",
    hurt="Whoever relies on the dashboards and alarms.",
    look_first="The query: the lines. Dashboard telemetry, *AWS/Logs: EMF parsing errors, EMF validation errors*.",
    query='filter @message like "CloudWatchMetrics" and not ispresent(_aws.Timestamp) | limit 20',
    causes=(
        "Something else writes to standard output between our lines.",
        "A new metric or dimension breaks a limit of the format.",
        "Lines longer than Lambda passes on in one piece.",
    ),
    actions=(
        (
            "Fetch the lines: `aws logs filter-log-events --log-group-name /aws/lambda/{function_name}"
            " --filter-pattern CloudWatchMetrics --max-items 500 --query 'events[].[message]' --output text"
            " > lines.jsonl`."
        ),
        "Have every broken rule named: `python -m telemetry check lines.jsonl`.",
        _GO_BACK,
    ),
    escalate="When the checker finds nothing and the errors go on.",
    over="No parsing or validation error for an hour.",
)
_SPANS_LOST = (
    "fields @timestamp, spans_lost, endpoint_dead, first_fault"
    ' | filter event = "TelemetryHealth" and spans_lost > 0 | sort @timestamp desc | limit 20'
)
_FAULTS = (
    "fields @timestamp, faults, lines_lost, lines_trimmed, first_fault"
    ' | filter event = "TelemetryHealth" and (faults > 0 or lines_lost > 0) | sort @timestamp desc | limit 20'
)
_TELEMETRY = Automation(
    "lost-telemetry",
    "Collects what telemetry lost",
    (_collect("lost spans", _SPANS_LOST), _collect("faults and lost lines", _FAULTS)),
)
ENDPOINT_DEAD = Runbook(
    meaning="The trace endpoint does not answer in time and was given up; spans are lost. Metrics and logs are whole.",
    hurt="Whoever looks for a trace. Packages are not slowed beyond the flush limit.",
    look_first="Dashboard telemetry, *Spans and points lost, endpoint dead*: since when. "
    "Then the query: first_fault says why.",
    query=_SPANS_LOST,
    causes=(
        "The collector is down, or its name does not resolve.",
        "The function's network has no way to it (security group, route, missing VPC endpoint).",
        "Credentials: AWS's own endpoint asks for xray:PutTraceSegments.",
    ),
    actions=(
        (
            "The endpoint: `aws lambda get-function-configuration --function-name {function_name}:live"
            " --query Environment.Variables.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`."
        ),
        "From the same network, any code is an answer: `curl -m 2 -sS -o /dev/null -w '%{http_code}' ENDPOINT`.",
        f"To stop trying: {_deploy('traces_endpoint', '')}.",
    ),
    escalate="When the owner of the collector finds it healthy.",
    over="No lost span for an hour.",
    automation=_TELEMETRY,
)
TELEMETRY_FAULTS = Runbook(
    meaning="Telemetry met values it could not send, fields that no row declares, or lines it could not write.",
    hurt="Whoever reads the affected metric.",
    look_first="The query: first_fault names it. Dashboard telemetry, *Faults of telemetry*: since when.",
    query=_FAULTS,
    causes=(
        "A new version adds a field that its row does not declare.",
        "A number was NaN or infinite: a division by a time or size of zero.",
        "Standard output was closed or full.",
    ),
    actions=(
        _GO_BACK,
        "Correct what first_fault names; `telemetry.engine.testing.recorded()` makes it fail in a test.",
    ),
    escalate="When lines are lost.",
    over="No fault for a day.",
    automation=_TELEMETRY,
)
TARGETS_PACKAGED = Runbook(
    meaning="Failed targets use up the error budget faster than it lasts.",
    hurt="Those who package; the SLO is about to be missed.",
    look_first="Dashboard overview, *Targets: asked for and failed*: since when; then the query: what failed.",
    query=_TARGETS,
    causes=TARGET_FAILURE_RATE.causes,
    actions=TARGET_FAILURE_RATE.actions,
    escalate="When the fast pair fires, tell the owner of the portal at once.",
    over="Both windows of the pair are below their rate.",
    automation=_FAILED_WORK,
)
REQUESTS_ANSWERED = Runbook(
    meaning="Requests that end in an error of ours use up the error budget faster than it lasts.",
    hurt="Callers of the API and the portal's users behind them.",
    look_first="Dashboard overview, *Invocations: good and bad*: since when; then the query: error_type and trace.",
    query=(
        "fields @timestamp, status_5xx, error_type, error, request_id, trace_id"
        ' | filter event = "InvokeFunction" and (status_5xx > 0 or outcome != "success")'
        " | sort @timestamp desc | limit 20"
    ),
    causes=(
        "The portal's tables cannot be read or written: see the panels of records.",
        "The role of a use case cannot be assumed.",
        "A new version of the function is wrong.",
    ),
    actions=(
        "Open the trace of a failed request: the innermost failed span names the call.",
        _GO_BACK,
    ),
    escalate="When the fast pair fires, tell the owner of the portal at once.",
    over="Both windows of the pair are below their rate.",
    automation=_FAILED_WORK,
)
PACKAGING_BROKEN = Runbook(
    meaning="Packaging does not work for many or for all. This one alarm speaks for all that say so.",
    hurt="Everybody who packages now.",
    look_first="Which of its alarms are in alarm, the oldest first: their runbooks are more exact.",
    query=(
        "fields @timestamp, event, error_type, error, next_step, target, trace_id"
        ' | filter level = "error" | stats count(*) as failures by event, error_type | sort failures desc'
    ),
    causes=(
        "The disk is full: storage-critical is in alarm too.",
        "Lambda kills the function: function-errors is in alarm too.",
        "A dependency is down: retries-exhausted is in alarm too.",
        "A new version of the function is wrong: all began with a deployment.",
    ),
    actions=(
        _ALARMS_NOW,
        "Follow the runbook of the first one; none of them explains it: the query, by event and error_type.",
        _GO_BACK,
    ),
    escalate="After 30 minutes without a cause, or at once when nothing is packaged at all.",
    over="None of its alarms is in alarm.",
    automation=_FAILED_WORK,
)
_WHAT_FAILED = (
    "fields @timestamp, event, error_type, error, next_step, target, training_id, request_id, trace_id"
    ' | filter event in ["PackageTarget", "ChooseStrategy", "WriteComponent", "CleanUp"]'
    ' and (outcome != "success" or left > 0 or left_behind > 0)'
    " | sort @timestamp desc | limit 20"
)
PACKAGING_IMPAIRED = Runbook(
    meaning="A target ended without a component, an upload was given up, or a clean-up left something; others work.",
    hurt="The data scientist who asked for that target. Nobody, when only something was left behind.",
    look_first="The query: what failed, why, and in next_step what to try. A damaged artifact shows in several rows.",
    query=_WHAT_FAILED,
    causes=(
        "A damaged artifact: target-failures and uploads-aborted are in alarm together.",
        "An artifact, a bucket or a key that cannot be reached: target-failures alone, or with uploads-aborted.",
        "Files or parts of an upload that could not be removed: cleanup-failed.",
    ),
    actions=(
        _ALARMS_NOW,
        "Follow the runbook of target-failures first when it is among them; the others mostly follow from it.",
    ),
    escalate="When packaging-broken fires, or nothing explains it within 30 minutes of working time.",
    over="None of its alarms is in alarm, and the failed targets were packaged again.",
    automation=_FAILED_WORK,
)
LIMITS_NEAR = Runbook(
    meaning="Disk, memory or time come near their limits; nothing has failed for it yet.",
    hurt="Nobody yet; the next larger model.",
    look_first="Which of its alarms is in alarm; dashboard storage shows the history by week.",
    query=(
        "fields @timestamp, Operation, Level, UsedBytes, SecondsToFull, TimeLeft, PeakMemoryBytes, request_id, trace_id"
        ' | filter Operation = "InvokeFunction" or Level in ["warning", "critical"] or ispresent(SecondsToFull)'
        " | sort @timestamp desc | limit 40"
    ),
    causes=("Models grow.", "More targets run in one call.", "Something is not given back: disk, memory."),
    actions=(_ALARMS_NOW, "Follow the runbook of the first one; it raises the limit before something fails."),
    escalate="When the limit is already the largest that Lambda offers.",
    over="None of its alarms is in alarm.",
    automation=_LIMITS,
)
TELEMETRY_BROKEN = Runbook(
    meaning="What is reported cannot be relied on: metrics, traces or lines are missing.",
    hurt="Whoever is on call: other alarms may be blind.",
    look_first="Which of its alarms is in alarm; dashboard telemetry.",
    query=(
        "fields @timestamp, endpoint_dead, spans_lost, faults, lines_lost, first_fault"
        ' | filter event = "TelemetryHealth" and (endpoint_dead > 0 or spans_lost > 0 or faults > 0 or lines_lost > 0)'
        " | sort @timestamp desc | limit 20"
    ),
    causes=("Broken metric lines.", "A dead trace endpoint.", "Faults inside telemetry."),
    actions=(_ALARMS_NOW, "Follow the runbook of the first one."),
    escalate="When metrics are missing altogether.",
    over="None of its alarms is in alarm.",
    automation=_TELEMETRY,
)
