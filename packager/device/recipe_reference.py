"""What a Greengrass recipe may hold: keys, values and variables, as the published reference has them.

https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html; what nucleus lite reads of it:
https://github.com/aws-greengrass/aws-greengrass-lite/blob/main/docs/RECIPE_SUPPORT_CHANGES.md
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT_VERSION = "2020-01-25"
MAX_RECIPE_BYTES = 16_000
MAX_NAME_LENGTH = 128
MAX_VERSION_LENGTH = 64

TOP = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentConfiguration",
    "ComponentDependencies",
    "ComponentType",
    "ComponentSource",
    "Manifests",
    "Lifecycle",
)
CONFIGURATION = ("DefaultConfiguration",)
DEPENDENCY = ("VersionRequirement", "DependencyType")
MANIFEST = ("Name", "Platform", "Lifecycle", "Selections", "Artifacts")
PLATFORM = ("os", "architecture", "architecture.detail", "runtime")
PHASES = ("bootstrap", "install", "run", "startup", "shutdown", "recover")
LIFECYCLE = ("Setenv", *PHASES)
STEP = ("Script", "RequiresPrivilege", "Skipif", "Timeout", "Setenv", "BootstrapOnRollback")
ARTIFACT = ("Uri", "Digest", "Algorithm", "Unarchive", "Permission")
PERMISSION = ("Read", "Execute")

COMPONENT_TYPES = ("aws.greengrass.generic", "aws.greengrass.lambda", "aws.greengrass.plugin", "aws.greengrass.nucleus")
DEPENDENCY_TYPES = ("HARD", "SOFT")
UNARCHIVE = ("ZIP", "NONE")
ALGORITHMS = ("SHA-256",)
ACCESS = ("ALL", "OWNER", "NONE")
OPERATING_SYSTEMS = ("linux", "darwin", "windows", "all", "*")
ARCHITECTURES = ("amd64", "aarch64", "arm", "x86", "riscv64", "all", "*")
RUNTIMES = ("*", "aws_nucleus_lite", "aws_nucleus_classic")
LITE_RUNTIMES = ("*", "aws_nucleus_lite")
NOT_IN_LITE = ("shutdown", "recover")

VARIABLES = {
    "artifacts": ("path", "decompressedPath"),
    "work": ("path",),
    "kernel": ("rootPath",),
    "iot": ("thingName",),
    "configuration": (),
}
"""Namespaces of recipe variables with their keys; those of `configuration` are JSON pointers."""

OF_DEPENDENCIES = ("configuration", "artifacts", "work")
"""Namespaces of `{component:namespace:key}`."""

NAME = re.compile(r"[A-Za-z0-9._-]+")
SEMANTIC_VERSION = re.compile(
    r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})"
    r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
ARTIFACT_URI = re.compile(r"(s3://[^/\s]+/\S+|greengrass:\S+|docker:\S+)")

_VERSIONS = r"(?:[~^]|[<>]=?|=)? ?v?(?:\d+|[xX*])(?:\.(?:\d+|[xX*])){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_REQUIREMENT = re.compile(rf"{_VERSIONS}(?:(?: - | ?\|\| ?| ?, ?| ){_VERSIONS})*")
_MAX_REQUIREMENT_LENGTH = 256


def is_requirement(text: str) -> bool:
    """Whether the text says which versions will do, in the form of npm: comparators, ranges, and `||` between them."""
    return len(text) <= _MAX_REQUIREMENT_LENGTH and bool(_REQUIREMENT.fullmatch(" ".join(text.split())))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` is a misspelling of; empty when it is like none."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word[:80].lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[found[0]] if found else ""


def same_key(word: str, known: Iterable[str]) -> str:
    """The known key that `word` is but for its case, as nucleus classic reads keys; empty when it is none."""
    return next((each for each in known if each.lower() == word.lower()), "")
