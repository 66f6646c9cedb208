"""The layout for everything else: the files of any model, as they are, in a component that carries its own name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packager.core.names import MAX_SEGMENT_BYTES, safe_path
from packager.errors import RequestError, UnsafeArchiveError, printable
from packager.model.layouts import FILES, Component
from packager.model.targets import Target
from packager.settings import LAYOUT_NAMES

if TYPE_CHECKING:
    from packager.stores.archive import Archive

MAX_NAME_LENGTH = 128
MAX_VERSION_LENGTH = 64
MAX_PREFIX_LENGTH = 512

# https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html, and https://semver.org
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NUMBER = r"(?:0|[1-9][0-9]{0,9})"
_PART = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_LABELS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PART}(?:\.{_PART})*)?(?:\+{_LABELS})?")


def component_of_files(archive: Archive, name: str, version: str, prefix: str = "") -> Component:
    """The component `name` of `version` that holds the archive's files, below the folder `prefix` if there is one.

    Its label is `name=version`, as `greengrass-cli deployment create --merge` takes it. RequestError for what
    Greengrass would not take.
    """
    _check("name", name, _NAME, MAX_NAME_LENGTH, "letters, digits, '.', '_' and '-'")
    _check("version", version, _VERSION, MAX_VERSION_LENGTH, "like 1.0.0, as semantic versions are")
    label = f"{name}={version}"
    target = Target(label, architecture="", dependency="")
    return Component(label, (target,), archive, FILES, manifest_source=None, prefix=_folder(prefix))


def check_layout(layout: str) -> None:
    """RequestError for a layout that there is not."""
    if layout not in LAYOUT_NAMES:
        raise wrong("layout", layout, f"one of {', '.join(LAYOUT_NAMES)}")


def _folder(prefix: str) -> str:
    form = f"a relative path of plain folder names of at most {MAX_SEGMENT_BYTES} bytes"
    if not isinstance(prefix, str) or len(prefix) > MAX_PREFIX_LENGTH:
        raise wrong("prefix", prefix, f"{form}, at most {MAX_PREFIX_LENGTH} characters in all")
    try:
        return safe_path(prefix, "prefix")
    except UnsafeArchiveError as error:
        raise RequestError(
            f"The component's prefix {printable(prefix, 100)!r} {error.reason}.",
            next_step=f"Give prefix: {form}.",
            field="prefix",
            found=printable(prefix, 100),
        ) from None


def _check(field: str, value: object, pattern: re.Pattern[str], longest: int, form: str) -> None:
    if not isinstance(value, str) or len(value) > longest or not pattern.fullmatch(value):
        raise wrong(field, value, f"{form}, at most {longest} characters")


def wrong(field: str, value: object, form: str) -> RequestError:
    """The error for something of a component that Greengrass would not take."""
    found = printable(value, 100) if isinstance(value, str) else type(value).__name__
    return RequestError(
        f"The component's {field} is {found!r}." if value else f"The component has no {field}.",
        next_step=f"Give {field}: {form}.",
        field=field,
        found=found,
    )
