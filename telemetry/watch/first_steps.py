"""What runbooks ask and do: queries of Logs Insights, commands of the AWS CLI, and automations made of them."""

from __future__ import annotations

from telemetry.watch.types import Action, Automation


def failures_of(*operations: str, only: str = 'outcome != "success"') -> str:
    """Return the query for the failed steps of operations, the newest first."""
    events = ", ".join(f'"{operation}"' for operation in operations)
    return (
        "fields @timestamp, event, fault, error_type, error, next_step, target, training_id, usecase_id, request_id,"
        f" trace_id | filter event in [{events}] and {only} | sort @timestamp desc | limit 20"
    )


def largest(operation: str, metric: str, *, ascending: bool = False) -> str:
    """Return the query for the worst values of a metric, with the run behind each."""
    return (
        f"fields @timestamp, {metric}, target, training_id, request_id, trace_id, outcome"
        f' | filter Operation = "{operation}" and ispresent({metric})'
        f" | sort {metric} {'asc' if ascending else 'desc'} | limit 20"
    )


FAILED_BY_SERVICE = failures_of(
    "InvokeFunction",
    "PackageTarget",
    "ReadRecord",
    "UpdateRecord",
    "AssumeRole",
    only='fault = "service"',
)
BAD_ARTIFACTS = (
    'filter event in ["PackageTarget", "CreateManifest"] and fault = "artifact"'
    " | stats count(*) as failures, count_distinct(training_id) as models, latest(error) as newest"
    " by error_type, target, usecase_id"
    " | sort failures desc | limit 20"
)
WHO_IS_HURT = (
    'filter event in ["InvokeFunction", "PackageTarget"] and outcome != "success"'
    " | stats count(*) as failures by usecase_id, target, fault, error_type | sort failures desc | limit 20"
)
_ENDS = (
    '["InvokeFunction", "PackageTarget", "CreateManifest", "ReadRecord", "UpdateRecord", "AssumeRole",'
    ' "TriggerPublish", "Probe"]'
)
SINCE_WHEN = (
    f'filter event in {_ENDS} and fault = "service"'
    " | stats earliest(@timestamp) as since, latest(@timestamp) as last, count_distinct(request_id) as requests"
    " by usecase_id, target | sort requests desc | limit 10"
)
"""Since when the service fails, and for whom: a failure inside a request counts once for it."""

_BY_FAULT = "count_distinct(request_id) as requests, latest(@timestamp) as last by fault"
_FAILED = f'filter event in {_ENDS} and outcome = "failure"'
TOP_USE_CASES = f"{_FAILED} | stats {_BY_FAULT}, usecase_id | sort requests desc | limit 10"
TOP_TARGETS = f"{_FAILED} and ispresent(target) | stats {_BY_FAULT}, target | sort requests desc | limit 10"
TOP_ERRORS = (
    f"{_FAILED} | stats count_distinct(request_id) as requests, latest(error) as newest by fault, event, error_type"
    " | sort requests desc | limit 10"
)
GIVEN_UP = (
    "fields @timestamp, cause, attempt, wait_s, target, training_id, trace_id"
    ' | filter event = "RetryTarget" and exhausted > 0 | sort @timestamp desc | limit 20'
)
ENDED = (
    "fields @timestamp, @requestId, @maxMemoryUsed, @memorySize, @duration, @message"
    ' | filter @type = "REPORT" or @message like /Task timed out|signal: killed|Runtime exited/'
    " | sort @timestamp desc | limit 40"
)
PROBES = (
    "fields @timestamp, outcome, part, error_type, error, next_step, duration_ms, trace_id"
    ' | filter event = "Probe" | sort @timestamp desc | limit 20'
)
RUNS = 'filter @type = "REPORT" | stats count(*) as runs, max(@duration) as longest by bin(5m)'
SCRATCH = (
    "fields @timestamp, UsedBytes, AvailableBytes, Slope, Level, path, training_id, request_id, trace_id"
    ' | filter Operation = "MonitorStorage" and ispresent(UsedBytes) | sort UsedBytes desc | limit 20'
)
WHERE_TIME_WENT = (
    "fields @timestamp, Operation, Duration, TimeLeft, AbortedForTime, BytesRead, BytesWritten, Retries, Throttles,"
    " request_id, trace_id"
    ' | filter Operation in ["InvokeFunction", "ReadArtifact", "WriteComponent", "RetryTarget"]'
    " | sort Duration desc | limit 20"
)
SPANS_LOST = (
    "fields @timestamp, spans_lost, endpoint_dead, first_fault"
    ' | filter event = "TelemetryHealth" and spans_lost > 0 | sort @timestamp desc | limit 20'
)
FAULTS = (
    "fields @timestamp, faults, lines_lost, lines_trimmed, first_fault"
    ' | filter event = "TelemetryHealth" and (faults > 0 or lines_lost > 0) | sort @timestamp desc | limit 20'
)


def _collect(what: str, query: str) -> Action:
    return Action(f"Collect {what}", "query", query)


LIST_UPLOADS = Action(
    "List unfinished uploads",
    "command",
    "aws s3api list-multipart-uploads --bucket BUCKET --prefix model_artifacts/"
    " --query 'Uploads[].{Key: Key, UploadId: UploadId, Initiated: Initiated}'",
)
ABORT_UPLOAD = Action(
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
FAILED_WORK = Automation(
    "failed-work",
    "Collects what failed, who is hurt, what was given up, what Lambda ended, and what the function has",
    (
        _collect("what failed", FAILED_BY_SERVICE),
        _collect("who is hurt", WHO_IS_HURT),
        _collect("probes", PROBES),
        _collect("what was given up", GIVEN_UP),
        _collect("what Lambda ended", ENDED),
        _CONFIGURATION,
    ),
)
UPLOADS = Automation(
    "unfinished-uploads", "Lists unfinished uploads, and aborts one that is named", (LIST_UPLOADS, ABORT_UPLOAD)
)
LIMITS = Automation(
    "near-limits",
    "Collects who used most of disk, time and memory, and what the function has",
    (
        _collect("the use of scratch", SCRATCH),
        _collect("where the time went", WHERE_TIME_WENT),
        _collect("the use of memory", largest("InvokeFunction", "PeakMemoryBytes")),
        _CONFIGURATION,
    ),
)
TELEMETRY = Automation(
    "lost-telemetry",
    "Collects what telemetry lost",
    (_collect("lost spans", SPANS_LOST), _collect("faults and lost lines", FAULTS)),
)
BAD_MODELS = Automation(
    "bad-artifacts", "Collects the models whose artifacts are no good", (_collect("bad artifacts", BAD_ARTIFACTS),)
)
FAILED_CALLS = failures_of("InvokeFunction", "UpdateRecord", "TriggerPublish")
UNSERVED = Automation("failed-calls", "Collects the calls that failed", (_collect("failed calls", FAILED_CALLS),))

AGAIN = (
    "Package the failed targets again: from the portal, or start the failed execution once more; what is done is found,"
    " not made again. EXECUTION is in the first command's answer:"
    " `aws stepfunctions list-executions --status-filter FAILED --state-machine-arn"
    " \"$(aws stepfunctions list-state-machines --query \"stateMachines[?name=='{function_name}'].stateMachineArn"
    ' | [0]" --output text)" --query "executions[].[startDate,executionArn]" --output text`, then'
    " `aws stepfunctions describe-execution --execution-arn EXECUTION --query input --output text > event.json`, then"
    ' `aws stepfunctions start-execution --input file://event.json --state-machine-arn "$(aws stepfunctions'
    ' describe-execution --execution-arn EXECUTION --query stateMachineArn --output text)"`.'
)
GO_BACK = (
    "When it began with a deployment, go back to the version before:"
    " `aws lambda list-versions-by-function --function-name {function_name}"
    " --query 'Versions[-5:].[Version,LastModified]' --output text` names them, then"
    " `aws lambda update-alias --function-name {function_name} --name live --function-version VERSION`."
)
NEW_ENVIRONMENTS = (
    "New environments begin afresh, with an empty disk: `aws lambda update-function-configuration --function-name"
    ' {function_name} --description "new environments $(date -u +%FT%TZ)" && aws lambda wait function-updated'
    " --function-name {function_name} && aws lambda update-alias --function-name {function_name} --name live"
    ' --function-version "$(aws lambda publish-version --function-name {function_name} --query Version'
    ' --output text)"`.'
)
PROBE_NOW = (
    "Probe now, and read answer.json: `echo '{\"probe\": true}' > probe.json`, then"
    " `AWS_MAX_ATTEMPTS=1 aws lambda invoke --cli-read-timeout 0 --function-name {function_name}:live"
    " --payload fileb://probe.json answer.json`."
)
UNFINISHED = f"What uploads left, by bucket: `{LIST_UPLOADS.text}`."
ABORT = f"Abort what is older than a day: `{ABORT_UPLOAD.text}`."
ALARMS_NOW = (
    "`aws cloudwatch describe-alarms --state-value ALARM --alarm-name-prefix {function_name}-"
    " --alarm-types MetricAlarm CompositeAlarm"
    " --query '[MetricAlarms,CompositeAlarms][].[StateUpdatedTimestamp,AlarmName]' --output text | sort`"
)


def deploy(setting: str, value: str) -> str:
    """Return the command that changes one setting of the infrastructure, and with it all that follows from it."""
    return f'`make deploy STAGE={{stage}} ARGS="-c {setting}={value}"`'


MORE_SCRATCH = f"More scratch (10,240 MiB at most): {deploy('scratch_bytes', '10240MiB')}; then in infra/cdk.json."
MORE_MEMORY = (
    f"More memory, and with it more processor (10,240 MiB at most): {deploy('memory_bytes', '4096MiB')}; then in"
    " infra/cdk.json."
)
