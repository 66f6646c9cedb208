"""Rows of the work itself: from reading an artifact to a checked component."""

from __future__ import annotations

from telemetry.catalog import parts
from telemetry.catalog.parts import OVERVIEW, STORAGE, STORAGE_BOARD, STORAGE_FIELDS, TARGETS_BOARD
from telemetry.engine.operation import Fold, Metric, Operation, Panel, Property, Unit
from telemetry.engine.standard import CALLS, PEAK_MEMORY

PACKAGE_REQUEST = Operation(
    name="PackageRequest",
    span="package request",
    meaning="All targets of one call",
    metrics=(
        parts.TARGETS,
        Metric("targets_failed", "TargetsFailed", Unit.COUNT, "Targets without a component at the end", "Sum"),
        parts.BYTES_IN,
        parts.BYTES_OUT,
        parts.PEAK_SCRATCH,
        Metric("throughput", "Throughput", Unit.BYTES_PER_SECOND, "Bytes in by seconds of the request", "p50"),
        *STORAGE,
    ),
    panels=(
        Panel(TARGETS_BOARD, "Calls: good and bad", ("success", "failure")),
        Panel(TARGETS_BOARD, "Targets: asked for and failed", ("targets", "targets_failed")),
        Panel(OVERVIEW, "Time of a request", ("duration_ms",)),
        Panel(OVERVIEW, "Bytes in and out, speed", ("bytes_in", "bytes_out", "throughput")),
        Panel(STORAGE_BOARD, "Scratch of a request", ("peak_scratch_bytes", *STORAGE_FIELDS)),
    ),
)
PACKAGE_TARGET = Operation(
    name="PackageTarget",
    span="package target",
    meaning="One component for one target, from artifact to committed ZIP",
    metrics=(
        parts.BYTES_IN,
        parts.BYTES_OUT,
        parts.FILES,
        Metric("ratio", "Ratio", Unit.NONE, "Bytes of the component by bytes of its files", "Average"),
        parts.PEAK_SCRATCH,
        PEAK_MEMORY,
        Metric("already_there", "AlreadyThere", Unit.COUNT, "1 when the component existed and nothing moved", "Sum"),
        Metric("warnings", "Warnings", Unit.COUNT, "Device rules that the component breaks", "Sum"),
        Metric("left_out", "LeftOut", Unit.COUNT, "Members of the artifact that were left out", "Sum"),
        *STORAGE,
    ),
    dimensions=(parts.TARGET, parts.STRATEGY, parts.FAULT),
    dimension_sets=(("target",), ("strategy",), ("fault",)),
    properties=(parts.KEY, parts.BUCKET, parts.SHA256),
    panels=(
        Panel(TARGETS_BOARD, "Failures by target", ("failure",), by="target"),
        Panel(TARGETS_BOARD, "Failed targets: whose failure", ("failure",), by="fault"),
        Panel(TARGETS_BOARD, "Components by target", ("success",), by="target"),
        Panel(TARGETS_BOARD, "Time by target", ("duration_ms",), by="target"),
        Panel(TARGETS_BOARD, "Time by strategy", ("duration_ms",), by="strategy"),
        Panel(TARGETS_BOARD, "Bytes and files", ("bytes_in", "bytes_out", "files")),
        Panel(TARGETS_BOARD, "Compression", ("ratio",)),
        Panel(TARGETS_BOARD, "Already there, warnings, left out", ("already_there", "warnings", "left_out")),
        Panel(STORAGE_BOARD, "Scratch of a target", ("peak_scratch_bytes", *STORAGE_FIELDS)),
        Panel(STORAGE_BOARD, "Memory of a target", ("peak_memory_bytes",)),
    ),
    links_to="PackageRequest",
    label="target",
)
CREATE_MANIFEST = Operation(
    name="CreateManifest",
    span="create manifest",
    meaning="The trained artifact read for the facts of the manifest",
    metrics=(parts.BYTES_READ, parts.MEMBERS),
    dimensions=(parts.MODEL_TYPE,),
    dimension_sets=(("model_type",),),
    properties=(parts.SOURCE,),
    panels=(
        Panel(TARGETS_BOARD, "Manifests", ("success", "failure")),
        Panel(TARGETS_BOARD, "Time of a manifest, members read", ("duration_ms", "members")),
        Panel(TARGETS_BOARD, "Bytes read for manifests", ("bytes_read",)),
    ),
)
IDENTIFY_ARTIFACT = Operation(
    name="IdentifyArtifact",
    span="identify artifact",
    meaning="The identity that the component's key is made of",
    metrics=(Metric("bytes_hashed", "BytesHashed", Unit.BYTES, "Bytes hashed; 0 where the store knows", "Sum"),),
    properties=(parts.SOURCE, parts.SHA256),
    panels=(
        Panel(TARGETS_BOARD, "Identified artifacts", ("success", "failure")),
        Panel(TARGETS_BOARD, "Identify: time, bytes hashed", ("duration_ms", "bytes_hashed")),
    ),
)
READ_ARTIFACT = Operation(
    name="ReadArtifact",
    span="read artifact",
    meaning="An artifact streamed from its store",
    metrics=(
        parts.BYTES_READ,
        Metric("requests", "Requests", Unit.COUNT, "Range reads that were sent", "Sum"),
        Metric("resumed", "Resumed", Unit.COUNT, "Range reads that broke and went on at their byte", "Sum", Fold.SUM),
        *CALLS,
    ),
    dimensions=(parts.STORE,),
    dimension_sets=(("store",),),
    properties=(parts.SOURCE, parts.KEY, parts.BUCKET),
    panels=(
        Panel(TARGETS_BOARD, "Reads", ("success", "failure", "requests")),
        Panel(TARGETS_BOARD, "Reads: trouble with the store", ("resumed", "retries", "throttles"), by="store"),
        Panel(TARGETS_BOARD, "Reads: time, bytes", ("duration_ms", "bytes_read")),
    ),
)
WRITE_COMPONENT = Operation(
    name="WriteComponent",
    span="write component",
    meaning="A component streamed to its store and committed, or aborted without a trace",
    metrics=(
        Metric("bytes_written", "BytesWritten", Unit.BYTES, "Bytes of the component", "Sum"),
        Metric("parts", "Parts", Unit.COUNT, "Parts that it was made of", "Maximum"),
        Metric(
            "bytes_copied_by_s3", "BytesCopiedByS3", Unit.BYTES, "Bytes of it that S3 copied from the artifact", "Sum"
        ),
        Metric(
            "copies_refused",
            "CopiesRefused",
            Unit.COUNT,
            "Parts that S3 did not copy and that were sent: slower, never wrong, so no alarm",
            "Sum",
        ),
        *CALLS,
        Metric("aborted", "Aborted", Unit.COUNT, "1 when the upload was given up and removed", "Sum"),
        Metric("left_behind", "LeftBehind", Unit.COUNT, "1 when parts of the upload could not be removed", "Sum"),
        *STORAGE,
    ),
    dimensions=(parts.STORE,),
    dimension_sets=(("store",),),
    properties=(parts.KEY, parts.BUCKET, parts.SHA256),
    panels=(
        Panel(TARGETS_BOARD, "Writes", ("success", "failure", "aborted", "left_behind", "parts")),
        Panel(TARGETS_BOARD, "Writes: trouble with the store", ("retries", "throttles", "copies_refused"), by="store"),
        Panel(TARGETS_BOARD, "Writes: time, bytes", ("duration_ms", "bytes_written", "bytes_copied_by_s3")),
        Panel(STORAGE_BOARD, "Scratch of a write", STORAGE_FIELDS),
    ),
)
EXTRACT_ARCHIVE = Operation(
    name="ExtractArchive",
    span="extract archive",
    meaning="Members of an archive written to scratch",
    metrics=(parts.MEMBERS, parts.BYTES_OUT, *STORAGE),
    properties=(parts.SOURCE,),
    panels=(
        Panel(STORAGE_BOARD, "Extractions", ("success", "failure", "members")),
        Panel(STORAGE_BOARD, "Extractions: time, bytes", ("duration_ms", "bytes_out")),
        Panel(STORAGE_BOARD, "Scratch of an extraction", STORAGE_FIELDS),
    ),
)
ZIP_COMPONENT = Operation(
    name="ZipComponent",
    span="zip component",
    meaning="Files compressed into the ZIP",
    metrics=(parts.FILES, parts.BYTES_IN, parts.BYTES_OUT, *STORAGE),
    properties=(Property("copied_bytes", "Bytes of it that were copied from the artifact as they stand"),),
    panels=(
        Panel(STORAGE_BOARD, "ZIPs", ("success", "failure", "files")),
        Panel(STORAGE_BOARD, "ZIPs: time, bytes", ("duration_ms", "bytes_in", "bytes_out")),
        Panel(STORAGE_BOARD, "Scratch of a ZIP", STORAGE_FIELDS),
    ),
)
INSPECT_ARCHIVE = Operation(
    name="InspectArchive",
    span="inspect archive",
    meaning="An archive read through without extracting",
    metrics=(parts.MEMBERS, parts.FINDINGS),
    properties=(parts.SOURCE,),
    panels=(
        Panel(TARGETS_BOARD, "Inspections", ("success", "failure", "findings")),
        Panel(TARGETS_BOARD, "Inspections: time, members", ("duration_ms", "members")),
    ),
)
PLAN_PACKAGE = Operation(
    name="PlanPackage",
    span="plan package",
    meaning="What a package would need, with nothing written",
    panels=(
        Panel(TARGETS_BOARD, "Plans", ("success", "failure")),
        Panel(TARGETS_BOARD, "Time of a plan", ("duration_ms",)),
    ),
)
CHECK_COMPONENT = Operation(
    name="CheckComponent",
    span="check component",
    meaning="The device's rules held against a component",
    metrics=(parts.FINDINGS,),
    dimensions=(parts.STRICT,),
    properties=(parts.SOURCE,),
    panels=(
        Panel(TARGETS_BOARD, "Checks", ("success", "failure", "findings")),
        Panel(TARGETS_BOARD, "Time of a check", ("duration_ms",)),
    ),
)
CHOOSE_STRATEGY = Operation(
    name="ChooseStrategy",
    span="choose strategy",
    meaning="Which strategy fits the limits",
    metrics=(
        Metric("required_bytes", "RequiredBytes", Unit.BYTES, "Scratch that the strategy needs", "Maximum"),
        parts.AVAILABLE,
    ),
    dimensions=(parts.STRATEGY, parts.FELL_BACK),
    dimension_sets=(("strategy",), ("fell_back",)),
    properties=(Property("reason", "Why this strategy"),),
    panels=(
        Panel(STORAGE_BOARD, "Strategies that fitted, and none that did", ("success", "failure"), by="strategy"),
        Panel(STORAGE_BOARD, "Fallbacks", ("success",), by="fell_back"),
        Panel(STORAGE_BOARD, "Scratch needed and there", ("required_bytes", "available_bytes")),
        Panel(STORAGE_BOARD, "Time of a choice", ("duration_ms",)),
    ),
)
PUBLISH_COMPONENT = Operation(
    name="PublishComponent",
    span="publish component",
    meaning="A component version uploaded, created in Greengrass and waited for",
    metrics=(
        parts.BYTES_OUT,
        Metric("created", "Created", Unit.COUNT, "1 when the version was not there before", "Sum"),
    ),
    properties=(parts.SOURCE, parts.SHA256),
    panels=(
        Panel(TARGETS_BOARD, "Publications", ("success", "failure", "created")),
        Panel(TARGETS_BOARD, "Publications: time, bytes uploaded", ("duration_ms", "bytes_out")),
    ),
)
BUNDLE_LOCAL = Operation(
    name="BundleLocal",
    span="bundle local",
    meaning="A component written as the folders of a deployment without the cloud",
    metrics=(parts.BYTES_OUT,),
    properties=(parts.SOURCE, parts.SHA256),
    panels=(
        Panel(TARGETS_BOARD, "Local bundles", ("success", "failure")),
        Panel(TARGETS_BOARD, "Local bundles: time, bytes", ("duration_ms", "bytes_out")),
    ),
)
COMPARE_COMPONENTS = Operation(
    name="CompareComponents",
    span="compare components",
    meaning="Two components compared by their directories",
    metrics=(parts.DIFFERENCES,),
    properties=(parts.SOURCE,),
    panels=(
        Panel(TARGETS_BOARD, "Comparisons", ("success", "failure", "differences")),
        Panel(TARGETS_BOARD, "Time of a comparison", ("duration_ms",)),
    ),
)
VERIFY_UNPACKED = Operation(
    name="VerifyUnpacked",
    span="verify unpacked",
    meaning="What a device has unpacked, compared byte for byte with its component",
    metrics=(parts.FILES, parts.BYTES_READ, parts.DIFFERENCES),
    properties=(parts.SOURCE,),
    panels=(
        Panel(TARGETS_BOARD, "Verifications", ("success", "failure", "files", "differences")),
        Panel(TARGETS_BOARD, "Verifications: time, bytes", ("duration_ms", "bytes_read")),
    ),
)
WORK = (
    PACKAGE_REQUEST,
    PACKAGE_TARGET,
    CREATE_MANIFEST,
    IDENTIFY_ARTIFACT,
    READ_ARTIFACT,
    WRITE_COMPONENT,
    EXTRACT_ARCHIVE,
    ZIP_COMPONENT,
    INSPECT_ARCHIVE,
    PLAN_PACKAGE,
    CHECK_COMPONENT,
    CHOOSE_STRATEGY,
    PUBLISH_COMPONENT,
    BUNDLE_LOCAL,
    COMPARE_COMPONENTS,
    VERIFY_UNPACKED,
)
