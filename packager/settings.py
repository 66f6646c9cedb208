"""Every limit in one frozen record; the environment is read here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packager.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1 << 20
GIB = 1 << 30
SCRATCH = Path("/tmp")  # noqa: S108  Lambda's scratch disk; every folder made there has a random name and mode 0700


def _setting(variable: str, default: Any, meaning: str) -> Any:  # noqa: ANN401  a field of any type
    return field(default=default, metadata={"variable": variable, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of one packager. Sizes are bytes. Each field's metadata holds its environment variable and meaning."""

    scratch_dir: Path = _setting(  # noqa: RUF009  it returns a dataclass field
        "SCRATCH_DIR", SCRATCH, "Folder for everything that has to be staged."
    )
    storage_warning_bytes: int = _setting(
        "STORAGE_WARNING_THRESHOLD", 6_442_450_944, "Used bytes of scratch at which a warning is raised."
    )
    storage_critical_bytes: int = _setting(
        "STORAGE_CRITICAL_THRESHOLD", 7_516_192_768, "Used bytes of scratch at which cleaning comes before all else."
    )
    streaming_enabled: bool = _setting(
        "ENABLE_STREAMING_PROCESSING", True, "Whether `auto` may stream; false stages everything on scratch."
    )
    max_concurrent_operations: int = _setting("MAX_CONCURRENT_OPERATIONS", 2, "Targets packaged at the same time.")
    max_attempts: int = _setting(
        "MAX_ATTEMPTS", 3, "How often a target is tried when it fails for a cause that can pass."
    )
    abandoned_upload_s: int = _setting(
        "ABANDONED_UPLOAD_AGE", 6 * 3600, "Seconds after which an upload that is still open counts as a dead run's."
    )
    memory_limit_bytes: int = _setting(
        "PACKAGER_MEMORY_LIMIT", 0, "Memory the process may use; 0 takes Lambda's or the control group's limit."
    )
    max_members: int = _setting("MAX_ARCHIVE_MEMBERS", 100_000, "Members an archive may have.")
    max_unpacked_bytes: int = _setting("MAX_UNPACKED_BYTES", 64 * GIB, "Bytes an archive may unpack to.")
    max_ratio: int = _setting("MAX_COMPRESSION_RATIO", 200, "Unpacked bytes per packed byte an archive may have.")
    max_extension_header_bytes: int = _setting(
        "MAX_EXTENSION_HEADER_BYTES", MIB, "Bytes of one PAX or GNU extension header."
    )
    strict_device_rules: bool = _setting(
        "STRICT_DEVICE_RULES", False, "Whether a component that breaks a rule of the device is refused."
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < _smallest(each.name):
                raise SettingsError(
                    f"{each.metadata['variable']} is {value}; it must be at least {_smallest(each.name)}.",
                    next_step=each.metadata["meaning"],
                    setting=each.metadata["variable"],
                    value=value,
                )
        if self.storage_warning_bytes > self.storage_critical_bytes:
            raise SettingsError(
                f"STORAGE_WARNING_THRESHOLD ({self.storage_warning_bytes}) is above STORAGE_CRITICAL_THRESHOLD "
                f"({self.storage_critical_bytes}).",
                next_step="Set the warning at or below the critical level, so that it comes first.",
                setting="STORAGE_WARNING_THRESHOLD",
                value=self.storage_warning_bytes,
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings from environment variables (default: the process's own); SettingsError names a bad one."""
        environment = os.environ if environment is None else environment
        given = {
            f.name: _parsed(f, environment[v]) for f in fields(cls) if (v := f.metadata["variable"]) in environment
        }
        return cls(**given)


@cache
def from_process_environment() -> Settings:
    """The process's settings, checked once."""
    return Settings.from_environment()


def _smallest(name: str) -> int:
    return 0 if name in ("memory_limit_bytes", "abandoned_upload_s") else 1


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _parsed(setting: Field[Any], text: str) -> Any:  # noqa: ANN401  as the field says
    kind: type = type(setting.default)
    try:
        if kind is bool:
            return _BOOLEANS[text.strip().lower()]
        return int(text) if kind is int else Path(text)
    except (ValueError, KeyError):
        wanted = "true or false" if kind is bool else "a whole number"
        raise SettingsError(
            f"{setting.metadata['variable']} is {printable(text)!r}; it must be {wanted}.",
            next_step=setting.metadata["meaning"],
            setting=setting.metadata["variable"],
            value=printable(text),
        ) from None
