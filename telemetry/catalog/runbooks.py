"""What to do when an alarm fires: written for the person who was just woken up."""

from __future__ import annotations

from telemetry.catalog.watch import Action, Runbook


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


def _collect(query: str) -> Action:
    return Action("Collect the facts", "query", query)


_RAISE_SCRATCH = Action("Raise the scratch disk", "setting", "scratch_bytes")
_RAISE_MEMORY = Action("Raise the memory", "setting", "memory_bytes")
_RAISE_TIME = Action("Raise the time-out", "setting", "time_s")
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
_WHAT_RUNS_NEXT = "Package the failed targets again: the same request skips every component that is already there."

_TARGETS = _failures_of("PackageTarget", "ChooseStrategy")
TARGET_FAILURES = Runbook(
    meaning="At least one target ended without a component.",
    hurt="The data scientist who asked for that target; other targets of the same request are whole.",
    look_first="Dashboard targets, panel Failures by target; then the query: error and next_step say what to do.",
    query=_TARGETS,
    causes=(
        "The compiled or trained artifact is damaged or incomplete (ExtractionError, ManifestError).",
        "The artifact or the bucket cannot be reached (StoreError: AccessDenied, NoSuchKey, NoSuchBucket).",
        "A limit was reached (InsufficientStorageError, OutOfTimeError).",
    ),
    actions=(
        "Run the query and group by error_type and target.",
        "A damaged artifact: packager inspect s3://BUCKET/KEY shows what is wrong; ask for the compilation again.",
        "Access: aws s3api head-object --bucket BUCKET --key KEY with the use case's role shows the refusal.",
        _WHAT_RUNS_NEXT,
    ),
    escalate="When the same error_type hits more than one use case, or nothing explains it within 30 minutes.",
    over="No failure for an hour, and the failed targets were packaged again.",
    automation=(_collect(_TARGETS),),
)
TARGET_FAILURE_RATE = Runbook(
    meaning="Of the targets of the last minutes, too large a share failed: this is not one bad artifact.",
    hurt="Everybody who packages now.",
    look_first="Dashboard overview, panel Targets: asked for and failed; then Failures by target: all, or one?",
    query=_TARGETS,
    causes=(
        "A dependency is down or refuses: S3, KMS, the role of the use case.",
        "A new version of the function is wrong: compare the start of the failures with the deployment.",
        "One use case sends a series of damaged artifacts.",
    ),
    actions=(
        "Group the failures: stats count(*) by error_type, target after the filter of the query.",
        (
            "aws lambda list-versions-by-function --function-name {function_name} shows when the code changed;"
            " point the alias back to the version before when the failures began with it."
        ),
        "AccessDenied: compare the role's policy with what the error names.",
        _WHAT_RUNS_NEXT,
    ),
    escalate="At once when all targets of all use cases fail; else after 30 minutes without a cause.",
    over="The share is below the threshold for three periods.",
    automation=(_collect(_TARGETS), _CONFIGURATION),
)
NO_WORK_DONE = Runbook(
    meaning="Targets were asked for, and not one component was packaged or found already there.",
    hurt="Everybody who asked in that time; they may not know it yet.",
    look_first="Dashboard overview, panel Targets: asked for and failed; then the query for how requests ended.",
    query=_failures_of("PackageRequest"),
    causes=(
        "Every target fails for one reason: see the failures of PackageTarget.",
        "The function is cut off before any target ends (time, memory): see the function's errors.",
        "Requests ask for targets whose compilation is not done.",
    ),
    actions=(
        'Look at the failures of targets: the same query with event = "PackageTarget".',
        'Look for cut-off runs: filter @message like "Task timed out" or @type = "REPORT" and @maxMemoryUsed > 0.',
        _WHAT_RUNS_NEXT,
    ),
    escalate="At once when it lasts for a second period.",
    over="One target succeeds.",
    automation=(_collect(_failures_of("PackageRequest")), _CONFIGURATION),
)
FUNCTION_ERRORS = Runbook(
    meaning="Lambda itself ended an invocation: killed by memory or time, or the code could not start.",
    hurt="The caller of that invocation; a killed function leaves no line of its own at the end.",
    look_first="The function's REPORT lines in the query: memory used against size, duration against time-out.",
    query=(
        "fields @timestamp, @requestId, @maxMemoryUsed, @memorySize, @duration, @message"
        ' | filter @type = "REPORT" or @message like /Task timed out|signal: killed|Runtime exited/'
        " | sort @timestamp desc | limit 40"
    ),
    causes=(
        "Memory: @maxMemoryUsed equals @memorySize.",
        "Time: Task timed out; the guard could not abort in time.",
        "A broken deployment: Runtime.ImportModuleError, or a missing permission at start.",
    ),
    actions=(
        "Memory or time: find the artifact through the request id, and plan it: packager plan shows what it needs.",
        "Raise memory_bytes or time_s in the infrastructure settings and deploy.",
        "A broken deployment: point the alias back to the version before.",
        "Abort what killed uploads left: aws s3api list-multipart-uploads --bucket BUCKET --prefix model_artifacts/",
    ),
    escalate="When the version before fails in the same way.",
    over="No error for three periods.",
    automation=(_CONFIGURATION, _RAISE_MEMORY, _RAISE_TIME, _LIST_UPLOADS, _SWEEP_UPLOADS),
)
_SCRATCH = (
    "fields @timestamp, UsedBytes, AvailableBytes, Slope, Level, path, training_id, request_id, trace_id"
    ' | filter Operation = "MonitorStorage" and ispresent(UsedBytes) | sort UsedBytes desc | limit 20'
)
STORAGE_WARNING = Runbook(
    meaning="Scratch use passed the warning line; the work goes on, by streaming where it can.",
    hurt="Nobody yet. Larger artifacts than this one will fall back or fail.",
    look_first="Dashboard storage, panels Scratch now and Scratch trend; then Strategies that fitted.",
    query=_SCRATCH,
    causes=(
        "Large artifacts run with a strategy that stages files (standard, sequential).",
        "Several targets run at once.",
        "Scratch was not given back: see clean-ups and what they left.",
    ),
    actions=(
        "Find the runs with the query, and why they did not stream: the log lines of ChooseStrategy hold the reason.",
        'Look at what clean-ups left: filter event = "CleanUp" and left > 0.',
        "When large staged artifacts are normal, raise scratch_bytes in the infrastructure settings and deploy.",
    ),
    escalate="When use keeps growing after the runs have ended.",
    over="Use is below the warning line for 15 minutes.",
    automation=(_collect(_SCRATCH), _RAISE_SCRATCH),
)
STORAGE_CRITICAL = Runbook(
    meaning="Scratch use passed the critical line: clean-up runs first, and what does not fit is refused.",
    hurt="Targets that need scratch now; streaming ones go on.",
    look_first="Dashboard storage, panels Scratch now and Clean-ups; freed bytes show whether cleaning helps.",
    query=_SCRATCH,
    causes=(
        "An artifact that has to be staged is larger than the disk allows.",
        "Clean-up fails: files stay although their run is over.",
        "Too many staged targets at once.",
    ),
    actions=(
        'Look at refusals: filter event = "ReserveStorage" and outcome != "success"; figures hold bytes.',
        'Look at what clean-ups left: filter event = "CleanUp" and left > 0 | display left_paths.',
        "Leaked files die with the environment: publish a new version of the function to get new environments.",
        "Raise scratch_bytes (at most 10,240 MiB) in the infrastructure settings and deploy.",
    ),
    escalate="When new environments reach the line with a single target.",
    over="Use is below the critical line for 15 minutes, and refused targets were packaged again.",
    automation=(_collect(_SCRATCH), _RAISE_SCRATCH),
)
STORAGE_FILLING = Runbook(
    meaning="At its present growth the scratch disk is full before the work can end.",
    hurt="Nobody yet; without a change the running targets fail.",
    look_first="Dashboard storage, panel Scratch trend: slope and time to full.",
    query=_largest("MonitorStorage", "SecondsToFull", ascending=True),
    causes=(
        "A staged artifact expands more than its size promised.",
        "Freed files are still held open by something.",
        "Several staged targets grow at once.",
    ),
    actions=(
        "Find the run with the query; packager inspect s3://BUCKET/KEY shows the real sizes of its members.",
        "Package that artifact with the strategy streaming, or one target at a time.",
        "Raise scratch_bytes in the infrastructure settings when such artifacts are normal.",
    ),
    escalate="When it is followed by the critical alarm.",
    over="No shorter time to full than the threshold for 15 minutes.",
    automation=(_collect(_largest("MonitorStorage", "SecondsToFull", ascending=True)), _RAISE_SCRATCH),
)
_WHERE_TIME_WENT = (
    "fields @timestamp, Operation, Duration, TimeLeft, AbortedForTime, BytesRead, BytesWritten, Retries, Throttles,"
    " request_id, trace_id"
    ' | filter Operation in ["InvokeFunction", "ReadArtifact", "WriteComponent", "RetryTarget"]'
    " | sort Duration desc | limit 20"
)
TIME_NEARLY_UP = Runbook(
    meaning="An invocation ended with little time left: the next larger artifact will be cut off.",
    hurt="Nobody, or the one whose run was aborted to stay clean: see AbortedForTime.",
    look_first="Dashboard overview, panels Time left at the end and Aborted; speed stands beside bytes.",
    query=_WHERE_TIME_WENT,
    causes=(
        "A larger artifact, or more targets in one call.",
        "A slow store: retries and throttles in the panels of reads and writes.",
        "Less memory means less processor: compression is slower.",
    ),
    actions=(
        "Open the trace of the worst run: the longest span is where the time went.",
        "Many targets: send them through the state machine, one invocation each.",
        "Raise memory_bytes (more processor), or time_s up to 900, in the infrastructure settings.",
    ),
    escalate="When one target alone needs the whole time.",
    over="Time left is above the threshold for an hour of real work.",
    automation=(_collect(_WHERE_TIME_WENT), _CONFIGURATION, _RAISE_MEMORY),
)
MEMORY_NEARLY_UP = Runbook(
    meaning="The process came near its memory; past it, Lambda kills it without a word.",
    hurt="Nobody yet.",
    look_first="Dashboard storage, panels Memory and scratch of the function, Memory relief.",
    query=_largest("InvokeFunction", "PeakMemoryBytes"),
    causes=(
        "Too many targets in one process.",
        "Relief came too late, or freed nothing: buffers before and after.",
        "A leak: the peak grows with the invocations of one environment.",
    ),
    actions=(
        "Compare the peak with Invocations of the same environment: rising means a leak, new environments help.",
        "Lower MAX_CONCURRENT_OPERATIONS, or raise memory_bytes in the infrastructure settings.",
    ),
    escalate="When a single target passes the line.",
    over="The peak is below the threshold for an hour of real work.",
    automation=(_collect(_largest("InvokeFunction", "PeakMemoryBytes")), _RAISE_MEMORY),
)
RETRIES_EXHAUSTED = Runbook(
    meaning="A target failed again and again for a cause that should pass, and was given up.",
    hurt="Those who asked for these targets.",
    look_first="Dashboard targets, panels Reads and Writes: trouble with the store; the cause stands in the query.",
    query=(
        "fields @timestamp, cause, attempt, wait_s, target, training_id, trace_id"
        ' | filter event = "RetryTarget" and exhausted > 0 | sort @timestamp desc | limit 20'
    ),
    causes=(
        "A dependency is down for longer than the retries last: S3, KMS, STS.",
        "A fault that never passes is taken for one that does.",
        "Throttling by too many functions at once.",
    ),
    actions=(
        "Look at the AWS Health Dashboard of the region for the service in cause.",
        "Throttling: lower the concurrency of the state machine's Map.",
        _WHAT_RUNS_NEXT,
    ),
    escalate="When the service is healthy and the cause repeats.",
    over="No exhausted retry for 30 minutes, and the targets were packaged again.",
)
CLEANUP_FAILED = Runbook(
    meaning="Something on the scratch disk, or the parts of an upload, could not be removed.",
    hurt="Nobody now; later runs of that environment have less disk, and parts that stay cost money silently.",
    look_first="Dashboard storage, panel Clean-ups; left_paths in the query name file and reason, key the upload.",
    query=(
        "fields @timestamp, event, left_paths, bucket, key, error, reason, freed_bytes, trace_id"
        ' | filter (event = "CleanUp" and (left > 0 or outcome != "success"))'
        ' or (event = "WriteComponent" and left_behind > 0) | sort @timestamp desc | limit 20'
    ),
    causes=(
        "A file is still open or mapped in another thread.",
        "Rights or flags on a file that an archive brought along.",
        "The disk itself fails (I/O error).",
    ),
    actions=(
        "Read the reason of each path in left_paths.",
        "New environments start with an empty disk: publish a new version of the function.",
        "An upload: list what is unfinished in its bucket and abort it; the right to abort may be missing.",
    ),
    escalate="When it happens in new environments too.",
    over="No failed clean-up for a day, and no unfinished upload is listed.",
    automation=(_LIST_UPLOADS, _SWEEP_UPLOADS),
)
UPLOADS_ABORTED = Runbook(
    meaning="Uploads were begun and given up; the parts were removed.",
    hurt="Those whose targets failed with them. Parts that stay behind cost money silently.",
    look_first="Dashboard targets, panel Writes; the query shows why.",
    query=_failures_of("WriteComponent"),
    causes=(
        "The artifact turned out damaged at its end: then nothing must be published, and this is right.",
        "The store refused a part: checksum, rights, KMS.",
        "The time was nearly up, and the work was cut cleanly.",
    ),
    actions=(
        "Run the query; error_type tells a damaged artifact from a refusing store.",
        "Make sure nothing stays: aws s3api list-multipart-uploads --bucket BUCKET --prefix model_artifacts/",
        (
            "Abort what is older than a day: aws s3api abort-multipart-upload --bucket BUCKET --key KEY"
            " --upload-id UPLOAD_ID"
        ),
    ),
    escalate="When aborted uploads stay listed after their runs.",
    over="No aborted upload for an hour, and none is listed.",
    automation=(_collect(_failures_of("WriteComponent")), _LIST_UPLOADS, _SWEEP_UPLOADS),
)
THROTTLES = Runbook(
    meaning="Lambda refused invocations: no concurrency was left.",
    hurt="Callers of the API get an error; events and the state machine come later.",
    look_first="Concurrent executions of the account against its limit, in the Lambda console.",
    query='filter @type = "REPORT" | stats count(*) as runs, max(@duration) as longest by bin(5m)',
    causes=(
        "A burst of requests, or a state machine with many targets.",
        "Another function of the account takes the concurrency.",
        "The reserved concurrency of the function is too small.",
    ),
    actions=(
        "aws lambda get-account-settings --query AccountLimit",
        "aws lambda get-function-concurrency --function-name {function_name}",
        "Raise the reserved concurrency in the infrastructure settings, or lower the Map's MaxConcurrency.",
    ),
    escalate="When the account's own limit is reached: ask for more through Service Quotas.",
    over="No throttle for three periods.",
)
_FAILED_CALLS = (
    "fields @timestamp, error_type, error, trigger, job_name, training_id, request_id, trace_id"
    ' | filter event = "InvokeFunction" and outcome != "success" | sort @timestamp desc | limit 20'
)
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
    automation=(_collect(_FAILED_CALLS),),
)
BROKEN_METRICS = Runbook(
    meaning="CloudWatch could not read metric lines of the function: its metrics have holes, other alarms are blind.",
    hurt="Whoever relies on the dashboards and alarms.",
    look_first="EMFParsingErrors and EMFValidationErrors of the log group; then the lines themselves.",
    query='filter @message like "CloudWatchMetrics" and not ispresent(_aws.Timestamp) | limit 20',
    causes=(
        "Something else writes to standard output between our lines.",
        "A new metric or dimension breaks a limit of the format.",
        "Lines longer than Lambda passes on in one piece.",
    ),
    actions=(
        "Export the lines and check them: python -m telemetry check FILE names every broken rule.",
        "Find who writes to standard output without the line writer.",
    ),
    escalate="When the checker finds nothing and the errors go on.",
    over="No parsing or validation error for an hour.",
)
ENDPOINT_DEAD = Runbook(
    meaning="The trace endpoint does not answer in time and was given up; spans are lost. Metrics and logs are whole.",
    hurt="Whoever looks for a trace. Packages are not slowed beyond the flush limit.",
    look_first="Dashboard telemetry, panel Spans lost, endpoint dead.",
    query=(
        "fields @timestamp, spans_lost, endpoint_dead, first_fault"
        ' | filter event = "TelemetryHealth" and spans_lost > 0 | sort @timestamp desc | limit 20'
    ),
    causes=(
        "The collector is down, or its name does not resolve.",
        "The function's network has no way to it (security group, route, missing VPC endpoint).",
        "Credentials: AWS's own endpoint asks for xray:PutTraceSegments.",
    ),
    actions=(
        "aws lambda get-function-configuration --function-name {function_name} --query Environment shows the endpoint.",
        "Send an empty request to it from the same network: curl -m 2 -X POST ENDPOINT/v1/traces",
        "To stop trying, set OTEL_TRACES_EXPORTER=none in the infrastructure settings.",
    ),
    escalate="When the owner of the collector finds it healthy.",
    over="No lost span for an hour.",
)
TELEMETRY_FAULTS = Runbook(
    meaning="Telemetry met values it could not send, fields that no row declares, or lines it could not write.",
    hurt="Whoever reads the affected metric.",
    look_first="Dashboard telemetry, panel Faults of telemetry; first_fault in the query names it.",
    query=(
        "fields @timestamp, faults, lines_lost, lines_trimmed, first_fault"
        ' | filter event = "TelemetryHealth" and (faults > 0 or lines_lost > 0) | sort @timestamp desc | limit 20'
    ),
    causes=(
        "A new version adds a field that its row does not declare.",
        "A number was NaN or infinite: a division by a time or size of zero.",
        "Standard output was closed or full.",
    ),
    actions=("Correct what first_fault names; telemetry.testing.recorded() makes it fail in a test.",),
    escalate="When lines are lost.",
    over="No fault for a day.",
)
TARGETS_PACKAGED = Runbook(
    meaning="Failed targets eat the error budget of the promise faster than it lasts.",
    hurt="Those who package; the promise to them is about to be broken.",
    look_first="Dashboard overview, panel Targets: asked for and failed; then what failed, by error_type.",
    query=_TARGETS,
    causes=TARGET_FAILURE_RATE.causes,
    actions=TARGET_FAILURE_RATE.actions,
    escalate="When the fast pair fires, tell the owner of the portal at once.",
    over="Both windows of the pair are below their rate.",
    automation=TARGET_FAILURE_RATE.automation,
)
REQUESTS_ANSWERED = Runbook(
    meaning="Requests that end in an error of ours eat the error budget of the promise faster than it lasts.",
    hurt="Callers of the API and the portal's users behind them.",
    look_first="Dashboard overview, panel Invocations: good and bad.",
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
        "Point the alias back to the version before when the failures began with a deployment.",
    ),
    escalate="When the fast pair fires, tell the owner of the portal at once.",
    over="Both windows of the pair are below their rate.",
    automation=(_CONFIGURATION,),
)
PACKAGING_BROKEN = Runbook(
    meaning="Packaging does not work for many or for all. This one alarm speaks for all that say so.",
    hurt="Everybody who packages now.",
    look_first="Which of its alarms are in alarm: their runbooks are more exact. Storage and function errors first.",
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
        (
            'aws cloudwatch describe-alarms --state-value ALARM --alarm-name-prefix "{function_name}-"'
            " --query 'MetricAlarms[].AlarmName'"
        ),
        "Follow the runbook of the first alarm that fired.",
    ),
    escalate="After 30 minutes without a cause, or at once when nothing is packaged at all.",
    over="None of its alarms is in alarm.",
    automation=(_CONFIGURATION,),
)
LIMITS_NEAR = Runbook(
    meaning="Disk, memory or time come near their limits; nothing has failed for it yet.",
    hurt="Nobody yet; the next larger model.",
    look_first="Which of its alarms is in alarm; dashboard storage shows the trend by week.",
    query=_SCRATCH,
    causes=("Models grow.", "More targets run in one call.", "Something is not given back: disk, memory."),
    actions=("Follow the runbook of the alarm that fired; raise the limit in the infrastructure settings in time.",),
    escalate="When the limit is already the largest that Lambda offers.",
    over="None of its alarms is in alarm.",
    automation=(_CONFIGURATION,),
)
TELEMETRY_BROKEN = Runbook(
    meaning="What is reported cannot be relied on: metrics, traces or lines are missing.",
    hurt="Whoever is on call: other alarms may be blind.",
    look_first="Dashboard telemetry; which of its alarms is in alarm.",
    query=TELEMETRY_FAULTS.query,
    causes=("Broken metric lines.", "A dead trace endpoint.", "Faults inside telemetry."),
    actions=("Follow the runbook of the alarm that fired.",),
    escalate="When metrics are missing altogether.",
    over="None of its alarms is in alarm.",
)
