"""The packager's limits in one frozen record, and the reader of settings from the environment."""

from __future__ import annotations

import os
import re
from dataclasses import Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from packager.errors import SettingsError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1 << 20
GIB = 1 << 30
SCRATCH = Path("/tmp")  # noqa: S108  Lambda's scratch disk; every folder made there has a random name and mode 0700

MODEL_LAYOUT, FILES_LAYOUT = LAYOUT_NAMES = ("model", "files")
"""What a call can ask for: a trained model as the server component takes it, or the files of any model as they are."""

TEMPLATE_NAMES = ("onnxruntime", "tflite", "model")
"""The templates of recipes that come with the package."""

STRATEGY_NAMES = ("auto", "streaming", "standard", "sequential", "partial")
"""The strategies that a call can ask for; `packager.limits.strategy` says what each of them takes."""

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def setting(variable: str, default: Any, meaning: str, *, least: int = 1, form: str = ".*") -> Any:  # noqa: ANN401  a field of any type
    """A field read from an environment variable; a number has to be at least `least`, text of the `form` or empty."""
    return field(default=default, metadata={"variable": variable, "meaning": meaning, "least": least, "form": form})


class EnvironmentSettings:
    """Base of frozen dataclasses whose fields are made by `setting`. SettingsError names a variable that is wrong."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str):
                if value and not re.fullmatch(each.metadata["form"], value):
                    raise refused(each, value, f"of the form {each.metadata['form']}")
            elif isinstance(value, int) and not isinstance(value, bool) and value < each.metadata["least"]:
                raise refused(each, value, f"at least {each.metadata['least']}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings in environment variables (default: the process's own)."""
        environment = os.environ if environment is None else environment
        given = {
            each.name: _parsed(each, environment[variable])
            for each in fields(cls)
            if (variable := each.metadata["variable"]) in environment
        }
        return cls(**given)


def refused(each: Field[Any], value: object, wanted: str) -> SettingsError:
    """The error for a setting that has a `value` that cannot be used."""
    variable = each.metadata["variable"]
    shown = value if isinstance(value, int) else printable(value)
    return SettingsError(
        f"{variable} is {shown!r}; it must be {wanted}.",
        next_step=each.metadata["meaning"],
        setting=variable,
        value=shown,
    )


def _parsed(each: Field[Any], text: str) -> Any:  # noqa: ANN401  as the field says
    text = text.strip()
    if isinstance(each.default, bool):
        if text.lower() not in _BOOLEANS:
            raise refused(each, text, "true or false")
        return _BOOLEANS[text.lower()]
    if isinstance(each.default, int):
        try:
            return int(text)
        except ValueError:
            raise refused(each, text, "a whole number") from None
    if isinstance(each.default, Path):
        if not text:  # Path("") would be the working folder
            raise refused(each, text, "the path of a folder")
        return Path(text)
    return text


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    """The limits of one packager. Sizes are bytes. Each field's metadata holds its environment variable and meaning."""

    scratch_dir: Path = setting(  # noqa: RUF009  it returns a dataclass field
        "SCRATCH_DIR", SCRATCH, "Folder for everything that has to be staged."
    )
    storage_warning_bytes: int = setting(
        "STORAGE_WARNING_THRESHOLD", 6_442_450_944, "Used bytes of scratch at which a warning is raised."
    )
    storage_critical_bytes: int = setting(
        "STORAGE_CRITICAL_THRESHOLD", 7_516_192_768, "Used bytes of scratch at which cleaning comes before all else."
    )
    streaming_enabled: bool = setting(
        "ENABLE_STREAMING_PROCESSING", True, "Whether `auto` may stream; false stages everything on scratch."
    )
    max_concurrent_operations: int = setting("MAX_CONCURRENT_OPERATIONS", 2, "Targets packaged at the same time.")
    max_attempts: int = setting(
        "MAX_ATTEMPTS", 3, "How often a target is tried when it fails for a cause that can pass."
    )
    abandoned_upload_s: int = setting(
        "ABANDONED_UPLOAD_AGE",
        6 * 3600,
        "Seconds after which an upload that is still open counts as a dead run's.",
        least=0,
    )
    memory_limit_bytes: int = setting(
        "PACKAGER_MEMORY_LIMIT",
        0,
        "Memory the process may use; 0 takes Lambda's or the control group's limit.",
        least=0,
    )
    max_members: int = setting(
        "MAX_ARCHIVE_MEMBERS", 100_000, "Members an archive may have, and tiny compressed streams."
    )
    max_unpacked_bytes: int = setting("MAX_UNPACKED_BYTES", 64 * GIB, "Bytes an archive may unpack to.")
    max_ratio: int = setting("MAX_COMPRESSION_RATIO", 200, "Unpacked bytes per packed byte an archive may have.")
    ratio_grace_bytes: int = setting(
        "COMPRESSION_RATIO_GRACE",
        64 * MIB,
        "Unpacked bytes from which on the ratio is held against MAX_COMPRESSION_RATIO.",
        least=0,
    )
    max_extension_header_bytes: int = setting(
        "MAX_EXTENSION_HEADER_BYTES", MIB, "Bytes of one PAX or GNU extension header."
    )
    max_pax_records: int = setting(
        "MAX_PAX_RECORDS", 2_000_000, "Records that the PAX headers of an archive may have in all."
    )
    max_names_bytes: int = setting(
        "MAX_NAMES_BYTES", 64 * MIB, "Memory that the names of an archive's files and folders may take."
    )
    max_xz_memory_bytes: int = setting(
        "MAX_XZ_MEMORY_BYTES", 96 * MIB, "Memory that unpacking xz may take; what `xz -9` packed takes 65 MiB."
    )
    max_zstd_window_bytes: int = setting(
        "MAX_ZSTD_WINDOW_BYTES", 128 * MIB, "Window of zstd, which is kept in memory; `zstd` itself takes 128 MiB."
    )
    max_config_bytes: int = setting("MAX_CONFIG_BYTES", MIB, "Bytes of the `config.yaml` of a trained artifact.")
    max_manifest_bytes: int = setting(
        "MAX_MANIFEST_BYTES", 8 * MIB, "Bytes of the manifest of a trained artifact, and of a component's."
    )
    max_manifest_values: int = setting(
        "MAX_MANIFEST_VALUES", 1_000_000, "Values, objects and lists that such a manifest may hold in all."
    )
    max_selected_bytes: int = setting("MAX_SELECTED_BYTES", 64 * MIB, "Bytes that `extract_selective` holds in memory.")
    max_zip_directory_bytes: int = setting(
        "MAX_ZIP_DIRECTORY_BYTES", 64 * MIB, "Bytes of the directory of a ZIP that is checked."
    )
    strict_device_rules: bool = setting(
        "STRICT_DEVICE_RULES", False, "Whether a component that breaks a rule of the device is refused."
    )

    def __post_init__(self) -> None:
        EnvironmentSettings.__post_init__(self)
        if self.storage_warning_bytes > self.storage_critical_bytes:
            raise SettingsError(
                f"STORAGE_WARNING_THRESHOLD ({self.storage_warning_bytes}) is above STORAGE_CRITICAL_THRESHOLD "
                f"({self.storage_critical_bytes}).",
                next_step="Set the warning at or below the critical level, so that it comes first.",
                setting="STORAGE_WARNING_THRESHOLD",
                value=self.storage_warning_bytes,
            )


@cache
def from_process_environment() -> Settings:
    """The process's settings, checked once."""
    return Settings.from_environment()
