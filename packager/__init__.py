"""Turns trained and compiled models of any size into AWS IoT Greengrass components, as one stream.

The one call that does it all is `package`; `package_component` and `create_dda_manifest` are its two halves for callers
that bring a manifest along. Every failure is a PackagerError with its figures as fields.
"""

from packager.checking import check_component
from packager.errors import (
    AccessDeniedError,
    ArtifactChangedError,
    ArtifactNotFoundError,
    CleanupFailedError,
    ComponentRefusedError,
    CompressionError,
    ExtractionError,
    InsufficientStorageError,
    LimitExceededError,
    ManifestError,
    OperationAbortedError,
    OutOfTimeError,
    PackagerError,
    RequestError,
    SettingsError,
    StagingNeededError,
    StoreError,
    UnsafeArchiveError,
)
from packager.extractor import ArchiveInfo, ExtractedFile, StreamingExtractor
from packager.packaging import create_dda_manifest, package, package_component
from packager.records import ComponentResult, Finding, PackageResult, ProcessingState
from packager.settings import Settings
from packager.zipper import IncrementalZipper

__all__ = [
    "AccessDeniedError",
    "ArchiveInfo",
    "ArtifactChangedError",
    "ArtifactNotFoundError",
    "CleanupFailedError",
    "ComponentRefusedError",
    "ComponentResult",
    "CompressionError",
    "ExtractedFile",
    "ExtractionError",
    "Finding",
    "IncrementalZipper",
    "InsufficientStorageError",
    "LimitExceededError",
    "ManifestError",
    "OperationAbortedError",
    "OutOfTimeError",
    "PackageResult",
    "PackagerError",
    "ProcessingState",
    "RequestError",
    "Settings",
    "SettingsError",
    "StagingNeededError",
    "StoreError",
    "StreamingExtractor",
    "UnsafeArchiveError",
    "check_component",
    "create_dda_manifest",
    "package",
    "package_component",
]
