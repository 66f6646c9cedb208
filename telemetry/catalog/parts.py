"""Metrics, dimensions and panels that several rows share: one name, one unit, one meaning everywhere."""

from __future__ import annotations

from telemetry.engine import conventions
from telemetry.engine.operation import OTHER, Dimension, Fold, Metric, Property, Unit
from telemetry.engine.standard import REQUEST_ID

NAMESPACE = "EdgeModelPackager"
"""The CloudWatch namespace of every metric of ours. Each stage of the service writes to one of its own below it."""

OPERATION_DIMENSION = "Operation"
"""The dimension that every metric has: the name of its row."""

OVERVIEW, SERVICE_BOARD, TARGETS_BOARD, STORAGE_BOARD, TELEMETRY_BOARD = DASHBOARDS = (
    "overview",
    "service",
    "targets",
    "storage",
    "telemetry",
)

TARGET = Dimension(
    "target",
    "Target",
    (
        "jetson-xavier",
        "jetson-xavier-jp5",
        "jetson-xavier-jp6",
        "jetson-xavier-jp7",
        "onnx-jetson-xavier-jp5",
        "onnx-jetson-xavier-jp6",
        "onnx-jetson-xavier-jp7",
        "arm64-cpu",
        "x86_64-cpu",
        "x86_64-cuda",
        "onnx",
        OTHER,
    ),
    "The compilation target the component is for",
)
STRATEGY = Dimension(
    "strategy", "Strategy", ("streaming", "standard", "sequential", "partial", OTHER), "How the package is made"
)
STORE = Dimension("store", "Store", ("s3", "file", OTHER), "Where the bytes live")
MODEL_TYPE = Dimension("model_type", "ModelType", ("pytorch", "onnx", OTHER), "The kind of trained model")
FELL_BACK = Dimension("fell_back", "FellBack", ("true", "false", OTHER), "Whether the first choice did not fit")
STRICT = Dimension("strict", "Strict", ("true", "false", OTHER), "Whether a finding refuses the component")
LEVEL = Dimension(
    "level", "Level", ("ok", "warning", "critical", OTHER), "The level of scratch use that was seen", "storage_level"
)
REASON = Dimension(
    "reason",
    "Reason",
    ("normal", "forced", "sweep", OTHER),
    "What asked for the clean-up",
    "cleanup_reason",
)
TRIGGER = Dimension(
    "trigger",
    "Trigger",
    ("api", "direct", "event", "machine", "probe", OTHER),
    "Who called the function",
    attribute=conventions.FAAS_TRIGGER,
    attribute_values=(
        ("api", "http"),
        ("direct", "other"),
        ("event", "pubsub"),
        ("machine", "other"),
        ("probe", "timer"),
    ),
)
TABLE = Dimension(
    "table",
    "Table",
    ("training_jobs", "usecases", "user_roles", "audit_log", OTHER),
    "The table of the portal",
    attribute=conventions.DB_COLLECTION_NAME,
)

FAULT = Dimension(
    "fault",
    "Fault",
    ("none", "artifact", "request", "service", OTHER),
    "Whose failure it is: the artifact's, the caller's, the service's; none without a failure",
)

TARGETS = Metric("targets", "Targets", Unit.COUNT, "Targets that were asked for", "Sum")
BYTES_READ = Metric("bytes_read", "BytesRead", Unit.BYTES, "Bytes read from the artifact", "Sum")
BYTES_IN = Metric("bytes_in", "BytesIn", Unit.BYTES, "Bytes taken in, as stored", "Sum")
BYTES_OUT = Metric("bytes_out", "BytesOut", Unit.BYTES, "Bytes given out", "Sum")
MEMBERS = Metric("members", "Members", Unit.COUNT, "Members of the archive that were seen", "Maximum")
FILES = Metric("files", "Files", Unit.COUNT, "Files in the component", "Maximum")
DIFFERENCES = Metric("differences", "Differences", Unit.COUNT, "Files that are not the same on both sides", "Sum")
FINDINGS = Metric("findings", "Findings", Unit.COUNT, "Rules that the input breaks", "Sum")
AVAILABLE = Metric("available_bytes", "AvailableBytes", Unit.BYTES, "Free bytes on the scratch disk", "Minimum")
PEAK_SCRATCH = Metric(
    "peak_scratch_bytes", "PeakScratchBytes", Unit.BYTES, "Most bytes held on the scratch disk", "Maximum", Fold.PEAK
)

STORAGE = (
    Metric("storage_before_bytes", "StorageBeforeBytes", Unit.BYTES, "Scratch in use when the step began", "Maximum"),
    Metric(
        "storage_peak_bytes", "StoragePeakBytes", Unit.BYTES, "Most scratch in use during the step", "Maximum", Fold.MAX
    ),
    Metric("storage_after_bytes", "StorageAfterBytes", Unit.BYTES, "Scratch in use when the step ended", "Maximum"),
)
"""Scratch figures before, peak and after: part of every operation that touches storage."""

STORAGE_FIELDS = tuple(metric.field for metric in STORAGE)

KEY = Property("key", "Key of the object, or path of the file", conventions.S3_KEY)
BUCKET = Property("bucket", "Bucket of the object", conventions.S3_BUCKET)
SOURCE = Property("source", "URI that was read")
SHA256 = Property("sha256", "SHA-256 of what was written or identified, hexadecimal")

CONTEXT_KEYS = (
    REQUEST_ID,
    Property("training_id", "Id of the training job"),
    Property("usecase_id", "Id of the use case"),
    Property("target", "Compilation target, unabridged"),
    Property("job_name", "Name of the compilation job"),
)
"""What `telemetry.context` binds to every span, EMF line and log line inside it."""
