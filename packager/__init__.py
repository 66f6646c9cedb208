"""Turns trained and compiled models of any size into AWS IoT Greengrass components, as one stream.

The one call that does it all is `package`; `package_component` and `create_dda_manifest` are its two halves for callers
that bring a manifest along. Every failure is a PackagerError with its figures as fields.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from packager.errors import (
    AccessDeniedError as AccessDeniedError,
    ArtifactChangedError as ArtifactChangedError,
    ArtifactNotFoundError as ArtifactNotFoundError,
    CleanupFailedError as CleanupFailedError,
    ComponentRefusedError as ComponentRefusedError,
    CompressionError as CompressionError,
    ExtractionError as ExtractionError,
    InsufficientStorageError as InsufficientStorageError,
    LimitExceededError as LimitExceededError,
    ManifestError as ManifestError,
    OperationAbortedError as OperationAbortedError,
    OutOfTimeError as OutOfTimeError,
    PackagerError as PackagerError,
    PublishError as PublishError,
    RequestError as RequestError,
    SettingsError as SettingsError,
    StagingNeededError as StagingNeededError,
    StoreError as StoreError,
    UnsafeArchiveError as UnsafeArchiveError,
)

if TYPE_CHECKING:
    from packager.device.check import check_component as check_component
    from packager.extractor import ArchiveInfo as ArchiveInfo, StreamingExtractor as StreamingExtractor
    from packager.limits.cleanup import CleanupContext as CleanupContext
    from packager.limits.staging import ExtractedFile as ExtractedFile
    from packager.limits.storage import StorageManager as StorageManager, StorageMetrics as StorageMetrics
    from packager.packaging import (
        create_dda_manifest as create_dda_manifest,
        package as package,
        package_component as package_component,
    )
    from packager.publishing.local import bundle_local as bundle_local
    from packager.publishing.publish import publish_component as publish_component
    from packager.results import (
        ComponentResult as ComponentResult,
        Finding as Finding,
        PackageResult as PackageResult,
        ProcessingState as ProcessingState,
    )
    from packager.settings import Settings as Settings
    from packager.stores import Stores as Stores
    from packager.stores.s3_options import S3Options as S3Options
    from packager.zipper import IncrementalZipper as IncrementalZipper

_MODULE_OF = {
    "ArchiveInfo": "packager.extractor",
    "CleanupContext": "packager.limits.cleanup",
    "ComponentResult": "packager.results",
    "ExtractedFile": "packager.limits.staging",
    "Finding": "packager.results",
    "IncrementalZipper": "packager.zipper",
    "PackageResult": "packager.results",
    "ProcessingState": "packager.results",
    "S3Options": "packager.stores.s3_options",
    "Settings": "packager.settings",
    "StorageManager": "packager.limits.storage",
    "StorageMetrics": "packager.limits.storage",
    "Stores": "packager.stores",
    "StreamingExtractor": "packager.extractor",
    "bundle_local": "packager.publishing.local",
    "check_component": "packager.device.check",
    "create_dda_manifest": "packager.packaging",
    "package": "packager.packaging",
    "package_component": "packager.packaging",
    "publish_component": "packager.publishing.publish",
}
"""The public names besides the errors, each imported when it is first used: a refused request needs few of them."""

__all__ = [*_MODULE_OF, *(name for name in dir() if name.endswith("Error"))]  # noqa: PLE0604


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever bears the name
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value
