"""What to do when an alarm fires: written for the person who was just woken up."""

from __future__ import annotations

from telemetry.watch import first_steps as steps
from telemetry.watch.first_steps import deploy, failures_of, largest
from telemetry.watch.types import Runbook

PROBE_FAILING = Runbook(
    meaning="The function packages a tiny model for itself, and twice in a row it could not, or nothing came of it.",
    hurt="Everybody who packages now, whether they have noticed or not.",
    look_first="The query: part says what failed. No row at all: the function does not run, or its lines are lost.",
    query=steps.PROBES,
    causes=(
        "part is artifacts or component: S3, KMS, or the role's rights to the buckets.",
        "part is records or audit: DynamoDB, or the role's rights to the tables.",
        "No row: throttled (all-throttled), killed (function-dying), or the log group is gone (metrics-missing).",
        "A new version of the function is wrong: all began with a deployment.",
    ),
    actions=(steps.PROBE_NOW, steps.ALARMS_NOW, steps.GO_BACK),
    escalate="At once when requests fail too; else after 30 minutes without a cause.",
    over="Two probes in a row went well.",
    automation=steps.FAILED_WORK,
)
REQUESTS_FAILING = Runbook(
    meaning="Requests failed through the service: not for what stood in them, and not for their artifacts.",
    hurt="Those who asked; their targets have no component until they are packaged again.",
    look_first="The query: one error_type for all, or several? Dashboard overview, *Requests: failed by the service*.",
    query=steps.FAILED_BY_SERVICE,
    causes=(
        "The portal's tables or the role of a use case refuse: AwsRefusedError, with operation and code.",
        "S3 or KMS refuse or are down: StoreError, AccessDeniedError; what was given up stands in RetryTarget.",
        "A limit was reached: InsufficientStorageError, OutOfTimeError; next_step names the setting.",
        "A new version of the function is wrong: all began with a deployment.",
    ),
    actions=(
        "Open the trace of a failed request: the innermost failed span names the call.",
        "AccessDenied: compare the role's policy with what the error names.",
        "S3, DynamoDB, KMS or STS: the AWS Health Dashboard of the region; nothing is lost.",
        steps.GO_BACK,
        steps.AGAIN,
    ),
    escalate="At once when all use cases are hit; else after 30 minutes without a cause.",
    over="Requests end well again, and the failed ones were sent again.",
    automation=steps.FAILED_WORK,
)
API_FAILING = Runbook(
    meaning="The API answers with 5xx: from the function, or because the function did not answer in time or at all.",
    hurt="The portal's users.",
    look_first="Dashboard overview, *Requests: failed by the service*; then the query. No row: no answer came.",
    query=steps.FAILED_BY_SERVICE,
    causes=(
        "The function answers 500: requests-failing is in alarm too.",
        "The function is killed or throttled: function-dying or all-throttled is in alarm too.",
        "It does not answer within the time that the API waits: api-slow is in alarm too.",
    ),
    actions=(
        steps.ALARMS_NOW,
        "Too slow: large models belong to the state machine, which waits as long as they take.",
        steps.GO_BACK,
    ),
    escalate="At once when no request is answered.",
    over="No 5xx for an hour.",
    automation=steps.FAILED_WORK,
)
EXECUTIONS_FAILING = Runbook(
    meaning="An execution of a state machine failed through the service, timed out, or was stopped.",
    hurt="Whoever started it; targets that were packaged are there, the others are not.",
    look_first="The query; which execution, by the first command of the last step: its error and cause say why.",
    query=steps.FAILED_BY_SERVICE,
    causes=(
        "The machine may not invoke the function: Lambda.AccessDeniedException, after a change of rights.",
        "Targets failed through the service after all retries: the cause holds their records.",
        "Lambda killed the function again and again: function-dying is in alarm too.",
        "Somebody stopped it: its status is ABORTED.",
    ),
    actions=(steps.ALARMS_NOW, steps.GO_BACK, steps.AGAIN),
    escalate="When every execution fails, or nothing explains it within 30 minutes.",
    over="An execution with the same input succeeds.",
    automation=steps.FAILED_WORK,
)
FUNCTION_DYING = Runbook(
    meaning="Lambda ended invocations: killed by memory or time, or the code could not start.",
    hurt="The callers of those invocations; a killed function leaves no line of its own at the end.",
    look_first="The function's REPORT lines in the query: memory used against size, duration against time-out.",
    query=steps.ENDED,
    causes=(
        "Memory: @maxMemoryUsed equals @memorySize.",
        "Time: Task timed out; the work could not be stopped in time.",
        "A broken deployment: Runtime.ImportModuleError, or a missing permission at start.",
        "An event of a compilation that fails again and again: dead-letters follows.",
    ),
    actions=(
        steps.GO_BACK,
        steps.MORE_MEMORY,
        f"More time: {deploy('time_s', '900')}; beyond it, send targets through the state machine.",
        steps.UNFINISHED,
        steps.ABORT,
    ),
    escalate="When the version before fails in the same way.",
    over="No error for an hour.",
    automation=steps.FAILED_WORK,
)
ALL_THROTTLED = Runbook(
    meaning="Lambda refuses every invocation: no concurrency is left, or it was set to 0.",
    hurt="Everybody: the API answers errors, events and the state machines wait.",
    look_first="What is set aside, by the first command. The query: how many ran before, and how long.",
    query=steps.RUNS,
    causes=(
        "Somebody set the reserved concurrency to 0, to stop the function.",
        "All that is reserved is busy with long runs.",
        "Another function of the account takes the concurrency.",
    ),
    actions=(
        "What is set aside: `aws lambda get-function-concurrency --function-name {function_name}`.",
        (
            "Give it back: `aws lambda put-function-concurrency --function-name {function_name}"
            " --reserved-concurrent-executions 50`."
        ),
        "What the account has: `aws lambda get-account-settings --query AccountLimit`.",
    ),
    escalate="When the account's own limit is reached: ask for more through Service Quotas.",
    over="Invocations run, and none is refused for 15 minutes.",
    automation=steps.FAILED_WORK,
)
PACKAGING_BROKEN = Runbook(
    meaning="Packaging does not work for many or for all. This one alarm speaks for all that say so.",
    hurt="Everybody who packages now.",
    look_first="Which of its alarms are in alarm, the oldest first: their runbooks are more exact. Then the query.",
    query=(
        "fields @timestamp, event, fault, error_type, error, next_step, target, trace_id"
        ' | filter level = "error" and fault = "service"'
        " | stats count(*) as failures by event, error_type | sort failures desc"
    ),
    causes=(
        "A dependency refuses or is down: requests-failing or probe-failing is in alarm.",
        "Lambda kills or refuses the function: function-dying or all-throttled is in alarm.",
        "The state machines cannot work: executions-failing is in alarm.",
        "A new version of the function is wrong: all began with a deployment.",
    ),
    actions=(
        steps.ALARMS_NOW,
        "Follow the runbook of the first one; none of them explains it: the query, by event and error_type.",
        steps.GO_BACK,
    ),
    escalate="After 30 minutes without a cause, or at once when nothing is packaged at all.",
    over="None of its alarms is in alarm.",
    automation=steps.FAILED_WORK,
)
_IMPAIRED = failures_of(
    "PackageTarget", "WriteComponent", "CleanUp", "InvokeFunction",
    only='(fault = "service" or left > 0 or left_behind > 0)',
)  # fmt: skip
PACKAGING_IMPAIRED = Runbook(
    meaning="The service failed a request for good, or a clean-up left something; others work.",
    hurt="Whoever asked. Nobody, when only something was left behind.",
    look_first="The query: what failed, why, and in next_step what to try.",
    query=_IMPAIRED,
    causes=(
        "One refusal or one fault of AWS that lasted longer than the retries: service-failure.",
        "One answer of the API that was 5xx, with no line of the function's: api-failure.",
        "One execution that failed, timed out, or that somebody stopped: executions-failed-last.",
        "Files or parts of an upload that could not be removed: cleanup-failed.",
    ),
    actions=(steps.ALARMS_NOW, "Follow the runbook of the first one.", steps.AGAIN),
    escalate="When packaging-broken fires, or nothing explains it within 30 minutes of working time.",
    over="None of its alarms is in alarm, and the failed request was sent again.",
    automation=steps.FAILED_WORK,
)
ARTIFACTS_FAILING = Runbook(
    meaning="At least half of the models, and five or more (ten within two hours), cannot be packaged as they are.",
    hurt="Their owners. The service does what it should: it refuses them, each with the reason.",
    look_first="The query: one error_type or target for all points at what made them.",
    query=steps.BAD_ARTIFACTS,
    causes=(
        "What compiles or uploads the models changed, and writes something damaged or incomplete.",
        "One target's compiler changed its files: all failures have that target.",
        "Somebody tests with bad models.",
    ),
    actions=(
        "What is wrong with one: `packager inspect s3://BUCKET/KEY`; BUCKET and KEY stand in the portal's record.",
        "Tell the owner of the training or compilation jobs, with the rows of the query.",
        "Afterwards the models are packaged again from the portal.",
    ),
    escalate="When good models are refused: a rule of ours is wrong then. Go back to the version before.",
    over="Fewer than half of a day's models are refused.",
    automation=steps.BAD_MODELS,
)
AUDIT_FAILING = Runbook(
    meaning="An entry of the audit log could not be written; the packaging itself went on.",
    hurt="Whoever has to say later who packaged what.",
    look_first="The query: error_type and error. Dashboard service, *Records written*.",
    query=failures_of("UpdateRecord"),
    causes=(
        "The function's role lost dynamodb:PutItem on the audit table, or the use of its key.",
        "The table is gone or renamed: ResourceNotFoundException.",
        "DynamoDB throttles the table.",
    ),
    actions=(
        (
            "The table: `aws dynamodb describe-table --table-name TABLE --query 'Table.TableStatus'`; TABLE is"
            " AUDIT_LOG_TABLE in `aws lambda get-function-configuration --function-name {function_name}"
            " --query Environment.Variables`."
        ),
        "The rights: `make diff STAGE={stage}` shows what was changed by hand; deploy to put it right.",
    ),
    escalate="When entries are missing for longer than your rules for audits allow.",
    over="An entry is written for each request again.",
    automation=steps.UNSERVED,
)
PUBLISHING_FAILING = Runbook(
    meaning="Components are packaged, but the publishing function could not be asked to go on.",
    hurt="Those who wait for a component on their devices.",
    look_first="The query: error_type and error. Dashboard service, *Publishing triggered*.",
    query=failures_of("TriggerPublish"),
    causes=(
        "The function's role may not invoke the publishing function, or it is gone.",
        "Lambda throttles it.",
    ),
    actions=(
        (
            "The function: `aws lambda get-function-configuration --function-name FUNCTION --query State`; FUNCTION"
            " is GREENGRASS_PUBLISH_FUNCTION_NAME in `aws lambda get-function-configuration --function-name"
            " {function_name} --query Environment.Variables`."
        ),
        "Afterwards publish what the query names from the portal: training_id stands in each row.",
    ),
    escalate="When the publishing function is healthy and still cannot be asked.",
    over="Components are published again.",
    automation=steps.UNSERVED,
)
RECORDS_IMPAIRED = Runbook(
    meaning="Packaging works; what comes after it does not: publishing, or the audit log.",
    hurt="Those who wait for a component on their devices, or have to say later who packaged what.",
    look_first="Which of its alarms is in alarm; the query: error_type and error.",
    query=failures_of("UpdateRecord", "TriggerPublish"),
    causes=("A right was taken away.", "A table or function was renamed or removed.", "AWS throttles."),
    actions=(steps.ALARMS_NOW, "Follow the runbook of audit-failing or publishing-failing."),
    escalate="When both last for a day.",
    over="Neither of its alarms is in alarm.",
    automation=steps.UNSERVED,
)
DEVICE_RULES_BROKEN = Runbook(
    meaning="Components break a rule of the device: they were published, and devices may not load them.",
    hurt="Whoever deploys them: the model fails in the field, long after packaging said that it is done.",
    look_first="The query: which models. Dashboard targets, *Already there, warnings, left out*: since when.",
    query=(
        "fields @timestamp, Warnings, target, training_id, usecase_id, request_id, trace_id"
        ' | filter Operation = "PackageTarget" and Warnings > 0 | sort Warnings desc | limit 20'
    ),
    causes=(
        "Models of a kind that the rules did not foresee.",
        "The compiler leaves out files that devices need.",
    ),
    actions=(
        "What is wrong with one: `packager check s3://BUCKET/KEY`; KEY stands in the portal's record.",
        f"Refuse such components from now on: {deploy('strict_device_rules', 'true')}.",
    ),
    escalate="When devices have them already: tell the owner of the use case.",
    over="No component with warnings for a day.",
    automation=steps.BAD_MODELS,
)
STORAGE_WARNING = Runbook(
    meaning="Scratch use passed the warning line; the work goes on, by streaming where it can.",
    hurt="Nobody yet. Larger artifacts than this one will fall back or fail.",
    look_first="Dashboard storage, *Scratch now* and *Scratch trend*; then the query: which run, which path.",
    query=steps.SCRATCH,
    causes=(
        "Large artifacts run with a strategy that stages files (standard, sequential).",
        "Several targets run at once.",
        "Scratch was not given back: see clean-ups and what they left.",
    ),
    actions=(
        'Why runs did not stream: `filter event = "ChooseStrategy" | display strategy, reason, target, training_id`.',
        'What clean-ups left: `filter event = "CleanUp" and left > 0 | display left_paths`.',
        steps.MORE_SCRATCH,
    ),
    escalate="When use keeps growing after the runs have ended.",
    over="Use is below the warning line for 15 minutes.",
    automation=steps.LIMITS,
)
STORAGE_CRITICAL = Runbook(
    meaning="Scratch use passed the critical line: clean-up runs first, and what does not fit is refused.",
    hurt="Targets that need scratch now; streaming ones go on.",
    look_first="Dashboard storage, *Scratch now* and *Clean-ups*: whether cleaning helps; then the query: which run.",
    query=steps.SCRATCH,
    causes=(
        "An artifact that has to be staged is larger than the disk allows.",
        "Clean-up fails: files stay although their run is over.",
        "Too many staged targets at once.",
    ),
    actions=(
        'What was refused: `filter event = "ReserveStorage" and outcome != "success" | display error, figures`.',
        'What clean-ups left: `filter event = "CleanUp" and left > 0 | display left_paths`.',
        steps.NEW_ENVIRONMENTS,
        steps.MORE_SCRATCH,
        steps.AGAIN,
    ),
    escalate="When new environments reach the line with a single target.",
    over="Use is below the critical line for 15 minutes, and refused targets were packaged again.",
    automation=steps.LIMITS,
)
STORAGE_FILLING = Runbook(
    meaning="At its present growth the scratch disk is full before the work can end.",
    hurt="Nobody yet; without a change the running targets fail.",
    look_first="Dashboard storage, *Scratch trend*: slope and time to full; then the query: which run.",
    query=largest("MonitorStorage", "SecondsToFull", ascending=True),
    causes=(
        "A staged artifact expands to more than was estimated.",
        "Freed files are still held open by something.",
        "Several staged targets grow at once.",
    ),
    actions=(
        "`packager inspect s3://BUCKET/KEY` shows the real sizes of that artifact's members.",
        'Package it with `"options": {"strategy": "streaming"}` in its event, or one target at a time.',
        steps.MORE_SCRATCH,
    ),
    escalate="When it is followed by the critical alarm.",
    over="No shorter time to full than the threshold for 15 minutes.",
    automation=steps.LIMITS,
)
TIME_NEARLY_UP = Runbook(
    meaning="An invocation ended with little time left: the next larger artifact will be cut off.",
    hurt="Nobody, or the one whose run was aborted to stay clean: see AbortedForTime.",
    look_first="Dashboard service, *Time left at the end* and *Aborted*; then the query: what took longest.",
    query=steps.WHERE_TIME_WENT,
    causes=(
        "A larger artifact, or more targets in one call.",
        "A slow store: retries and throttles in the panels of reads and writes.",
        "Less memory means less processor: compression is slower.",
    ),
    actions=(
        "Open the trace of the worst run: the longest span is where the time went.",
        "Many targets: send them through the state machine, one invocation each.",
        steps.MORE_MEMORY,
    ),
    escalate="When one target alone needs the whole time.",
    over="Time left is above the threshold for an hour of real work.",
    automation=steps.LIMITS,
)
MEMORY_NEARLY_UP = Runbook(
    meaning="The process came near its memory; past it, Lambda kills it without a word.",
    hurt="Nobody yet.",
    look_first="Dashboard storage, *Memory and scratch of the function*, *Memory relief*; the query: which run.",
    query=largest("InvokeFunction", "PeakMemoryBytes"),
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
        steps.NEW_ENVIRONMENTS,
        f"Fewer targets in one process: {deploy('concurrent_targets', '1')}.",
        steps.MORE_MEMORY,
    ),
    escalate="When a single target passes the line.",
    over="The peak is below the threshold for an hour of real work.",
    automation=steps.LIMITS,
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
        steps.NEW_ENVIRONMENTS,
        steps.UNFINISHED,
        f"{steps.ABORT} AccessDenied: the right to abort is missing.",
    ),
    escalate="When it happens in new environments too.",
    over="No failed clean-up for a day, and no unfinished upload is listed.",
    automation=steps.UPLOADS,
)
THROTTLES = Runbook(
    meaning="Lambda or Step Functions refused calls: no concurrency was left.",
    hurt="Callers of the API get an error; events and the state machine come later.",
    look_first="Dashboard service, *AWS/Lambda: Throttles*: a burst, or for long? The query: how many ran, how long.",
    query=steps.RUNS,
    causes=(
        "A burst of requests, or a state machine with many targets.",
        "Another function of the account takes the concurrency.",
        "The reserved concurrency of the function is too small.",
    ),
    actions=(
        "What the account has: `aws lambda get-account-settings --query AccountLimit`.",
        "What is set aside: `aws lambda get-function-concurrency --function-name {function_name}`.",
        f"More for the function: {deploy('reserved_concurrency', '100')}.",
        f"Fewer targets at once: {deploy('map_concurrency', '20')}.",
    ),
    escalate="When the account's own limit is reached: ask for more through Service Quotas.",
    over="No throttle for three periods.",
    automation=steps.LIMITS,
)
API_SLOW = Runbook(
    meaning="The API nearly waited as long as it can; a request that takes longer is answered 504, though it goes on.",
    hurt="Nobody yet; the next larger model's user sees an error for what was packaged.",
    look_first="Dashboard service, *AWS/ApiGateway: Latency*; then the query: what took longest.",
    query=steps.WHERE_TIME_WENT,
    causes=("Larger models, or more targets in a request.", "A slow store.", "Cold starts at the same time."),
    actions=(
        "Large models belong to the state machine, which waits as long as they take.",
        steps.MORE_MEMORY,
    ),
    escalate="When users see 504.",
    over="No answer above the line for a day.",
    automation=steps.LIMITS,
)
LIMITS_NEAR = Runbook(
    meaning="Disk, memory, time or concurrency come near their limits; nothing has failed for it yet.",
    hurt="Nobody yet; the next larger model.",
    look_first="Which of its alarms is in alarm; dashboard storage shows the history by week.",
    query=(
        "fields @timestamp, Operation, Level, UsedBytes, SecondsToFull, TimeLeft, PeakMemoryBytes, request_id, trace_id"
        ' | filter Operation = "InvokeFunction" or Level in ["warning", "critical"] or ispresent(SecondsToFull)'
        " | sort @timestamp desc | limit 40"
    ),
    causes=("Models grow.", "More targets run in one call.", "Something is not given back: disk, memory."),
    actions=(steps.ALARMS_NOW, "Follow the runbook of the first one; it raises the limit before something fails."),
    escalate="When the limit is already the largest that Lambda offers.",
    over="None of its alarms is in alarm.",
    automation=steps.LIMITS,
)
NOTIFICATIONS_FAILING = Runbook(
    meaning="An alarm spoke, and SNS could not deliver its message to an endpoint or a channel.",
    hurt="Whoever relies on being called: a page may have woken nobody.",
    look_first="What is in alarm now, by the first command: was somebody called for it? The query has what failed.",
    query=steps.FAILED_BY_SERVICE,
    causes=(
        "The endpoint of PagerDuty, Opsgenie or incident.io is down, or its integration was removed: its key is old.",
        "The Slack channel was archived, or the workspace withdrew what it had allowed.",
        "The topic's key was disabled, or its policy changed by hand.",
    ),
    actions=(
        steps.ALARMS_NOW,
        (
            "Who hears, by topic; TOPIC is in the first command's answer: `aws sns list-topics --query"
            " \"Topics[?contains(TopicArn, ':{function_name}-')].TopicArn\" --output text`, then"
            " `aws sns list-subscriptions-by-topic --topic-arn TOPIC`."
        ),
        "Put the endpoint or channel right in infra/cdk.json, and deploy: `make deploy STAGE={stage}`.",
    ),
    escalate="At once when what is in alarm is a page, and nobody was called: call whoever is on duty yourself.",
    over="A message arrives again. To try it: `aws sns publish --topic-arn TOPIC --message trial`.",
)
DEAD_LETTERS = Runbook(
    meaning="Events wait in the queue of dead letters: the function failed at each three times, or never got it.",
    hurt="Whoever waits for what the event would have done: a compiled target that is not packaged. It stays so.",
    look_first=(
        "The messages: `aws sqs receive-message --message-attribute-names All --max-number-of-messages 10"
        ' --queue-url "$(aws sqs get-queue-url --queue-name {function_name}-dead-letters --query QueueUrl'
        ' --output text)"`; then the query, for the RequestID among their attributes.'
    ),
    query=steps.FAILED_CALLS,
    causes=(
        "The portal's tables or a use case's role could not be reached for minutes (AwsRefusedError).",
        "Lambda killed each attempt: function-dying has fired too.",
        "The event waited for concurrency for more than six hours: throttles has fired too.",
    ),
    actions=(
        "Find the message's RequestID in the query, and remove its cause. The message goes after 14 days.",
        (
            "Send the body, saved as body.json, again: `AWS_MAX_ATTEMPTS=1 aws lambda invoke --function-name"
            " {function_name}:live --invocation-type Event --payload"
            " fileb://body.json answer.json`."
        ),
        (
            "Then delete it; RECEIPT_HANDLE stands in the message: `aws sqs delete-message --receipt-handle"
            ' RECEIPT_HANDLE --queue-url "$(aws sqs get-queue-url --queue-name {function_name}-dead-letters'
            ' --query QueueUrl --output text)"`.'
        ),
    ),
    escalate="When new messages come after the cause is gone.",
    over="The queue is empty, and every event in it was sent again or is known to be needless.",
    automation=steps.UNSERVED,
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
        steps.GO_BACK,
    ),
    escalate="When the checker finds nothing and the errors go on.",
    over="No parsing or validation error for an hour.",
    automation=steps.TELEMETRY,
)
METRICS_MISSING = Runbook(
    meaning="Lambda ran the function, and CloudWatch has no metric of it: all our alarms but those on AWS's are blind.",
    hurt="Whoever is on call; packaging itself may be well.",
    look_first="The query. No row: no line arrives at all. Rows: lines arrive, and no metrics are made of them.",
    query='filter event = "TelemetryHealth" | sort @timestamp desc | limit 5',
    causes=(
        "The log group was deleted, or the function's role may not write to it.",
        "The account switched the extraction of metrics off: its policy METRIC_EXTRACTION_POLICY.",
        "A new version writes no metric lines.",
    ),
    actions=(
        "The log group: `aws logs describe-log-groups --log-group-name-prefix /aws/lambda/{function_name}`.",
        "The account's policy: `aws logs describe-account-policies --policy-type METRIC_EXTRACTION_POLICY`.",
        "What was removed by hand comes back with `make deploy STAGE={stage}`.",
        steps.GO_BACK,
    ),
    escalate="When lines and metrics are missing for longer than an hour.",
    over="Dashboard telemetry, *Lines*, shows new values.",
    automation=steps.TELEMETRY,
)
ENDPOINT_DEAD = Runbook(
    meaning="The trace endpoint does not answer in time and was given up; spans are lost. Metrics and logs are whole.",
    hurt="Whoever looks for a trace. Packages are not slowed beyond the flush limit.",
    look_first="Dashboard telemetry, *Spans and points lost, endpoint dead*: since when. "
    "Then the query: first_fault says why.",
    query=steps.SPANS_LOST,
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
        f"To stop trying: {deploy('traces_endpoint', '')}.",
    ),
    escalate="When the owner of the collector finds it healthy.",
    over="No lost span for an hour.",
    automation=steps.TELEMETRY,
)
TELEMETRY_FAULTS = Runbook(
    meaning="Telemetry met values it could not send, fields that no row declares, or lines it could not write.",
    hurt="Whoever reads the affected metric.",
    look_first="The query: first_fault names it. Dashboard telemetry, *Faults of telemetry*: since when.",
    query=steps.FAULTS,
    causes=(
        "A new version adds a field that its row does not declare.",
        "A number was NaN or infinite: a division by a time or size of zero.",
        "Standard output was closed or full.",
    ),
    actions=(
        steps.GO_BACK,
        "Correct what first_fault names; `telemetry.engine.testing.recorded()` makes it fail in a test.",
    ),
    escalate="When lines are lost.",
    over="No fault for a day.",
    automation=steps.TELEMETRY,
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
    causes=("Broken metric lines.", "A dead trace endpoint.", "Faults inside telemetry.", "A log group that is gone."),
    actions=(steps.ALARMS_NOW, "Follow the runbook of the first one."),
    escalate="When metrics are missing altogether.",
    over="None of its alarms is in alarm.",
    automation=steps.TELEMETRY,
)
