"""Turns trained and compiled models of any size into AWS IoT Greengrass components, as one stream.

The one call that does it all is `package`; `package_component` and `create_dda_manifest` are its two halves for callers
that bring a manifest along. Every failure is a PackagerError with its figures as fields.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packager.device.check import check_component
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
    from packager.extractor import ArchiveInfo, StreamingExtractor
    from packager.limits.cleanup import CleanupContext
    from packager.limits.staging import ExtractedFile
    from packager.limits.storage import StorageManager, StorageMetrics
    from packager.packaging import create_dda_manifest, package, package_component
    from packager.results import ComponentResult, Finding, PackageResult, ProcessingState
    from packager.settings import Settings
    from packager.zipper import IncrementalZipper

__all__ = [
    "AccessDeniedError",
    "ArchiveInfo",
    "ArtifactChangedError",
    "ArtifactNotFoundError",
    "CleanupContext",
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
    "StorageManager",
    "StorageMetrics",
    "StoreError",
    "StreamingExtractor",
    "UnsafeArchiveError",
    "check_component",
    "create_dda_manifest",
    "package",
    "package_component",
]

_NAMES_OF = {
    "packager.device.check": ("check_component",),
    "packager.errors": (
        "AccessDeniedError",
        "ArtifactChangedError",
        "ArtifactNotFoundError",
        "CleanupFailedError",
        "ComponentRefusedError",
        "CompressionError",
        "ExtractionError",
        "InsufficientStorageError",
        "LimitExceededError",
        "ManifestError",
        "OperationAbortedError",
        "OutOfTimeError",
        "PackagerError",
        "RequestError",
        "SettingsError",
        "StagingNeededError",
        "StoreError",
        "UnsafeArchiveError",
    ),
    "packager.extractor": ("ArchiveInfo", "StreamingExtractor"),
    "packager.limits.cleanup": ("CleanupContext",),
    "packager.limits.staging": ("ExtractedFile",),
    "packager.limits.storage": ("StorageManager", "StorageMetrics"),
    "packager.packaging": ("create_dda_manifest", "package", "package_component"),
    "packager.results": ("ComponentResult", "Finding", "PackageResult", "ProcessingState"),
    "packager.settings": ("Settings",),
    "packager.zipper": ("IncrementalZipper",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever bears the name
    """Import a public name when it is first used: a refused request of the function needs hardly any of them."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value
