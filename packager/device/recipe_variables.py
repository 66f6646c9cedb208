"""Recipe variables, such as `{artifacts:path}`: those that name nothing stay in the script as they are."""

from __future__ import annotations

import re
from posixpath import basename
from typing import TYPE_CHECKING, Any

from packager.device import recipe_reference as reference
from packager.errors import printable
from packager.results import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# As the nucleus looks for them. `${NAME:-value}` is the shell's.
_VARIABLE = re.compile(r"(?<!\$)\{([.\w-]+):([^:{}\n]+)(?::([^:{}\n]+))?\}")
_FOLDER = re.compile(r"\{artifacts:decompressedPath\}/([^/\s\"';|&]+)")


def variable_findings(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    """A finding for each variable in a script or an environment that names nothing, and each wrong folder."""
    scope = _VariableScope(recipe)
    for where, text in texts_of_lifecycles(recipe):
        for found in _VARIABLE.finditer(text):
            if wrong := scope.fault(*found.groups()):
                what, next_step = wrong
                yield Finding("recipe-macros", f"{where}: {printable(found[0])} {what}.", next_step, where)
        for found in _FOLDER.finditer(text):
            if scope.folders and found[1] not in scope.folders:
                what = f"{where}: no artifact is unpacked to {printable(found[1])}."
                known = ", ".join(map(printable, sorted(scope.folders)))
                yield Finding("recipe-macros", what, f"ZIPs are unpacked to {known}.", where)


def texts_of_lifecycles(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text below a lifecycle, with where it is."""
    for key, value in recipe.items():
        if key.lower() == "lifecycle":
            yield from _texts(value, key)
        elif key.lower() == "manifests" and isinstance(value, list):
            for number, manifest in enumerate(value):
                for inner, below in manifest.items() if isinstance(manifest, dict) else ():
                    if inner.lower() == "lifecycle":
                        yield from _texts(below, f"{key}[{number}].{inner}")


def _texts(value: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{where}.{printable(key)}")


class _VariableScope:
    """What the variables of a recipe can name."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        lower = {key.lower(): value for key, value in recipe.items()}
        configuration = lower.get("componentconfiguration")
        below = configuration.items() if isinstance(configuration, dict) else ()
        self._configuration = next((value for key, value in below if key.lower() == "defaultconfiguration"), None)
        dependencies = lower.get("componentdependencies")
        self._dependencies = set(dependencies) if isinstance(dependencies, dict) else set()
        self.folders = set(_unpacked_folders(lower.get("manifests")))

    def fault(self, first: str, second: str, third: str | None) -> tuple[str, str] | None:
        """What is wrong with a variable, and what to do; None when it names something, or is none of Greengrass'."""
        if third is None:
            return self._own(first, second)
        if second not in reference.OF_DEPENDENCIES:
            right = reference.nearest(second, reference.OF_DEPENDENCIES)
            return ("names nothing", f"Did you mean {{{first}:{right}:...}}?") if right else None
        if first not in self._dependencies:
            right = reference.nearest(first, self._dependencies)
            step = f"Did you mean {right}?" if right else f"Add {printable(first)} to ComponentDependencies."
            return "names a component that is no dependency", step
        return self._key(second, third, of_dependency=True)

    def _own(self, namespace: str, key: str) -> tuple[str, str] | None:
        if namespace in reference.VARIABLES:
            return self._key(namespace, key, of_dependency=False)
        right = reference.nearest(namespace, reference.VARIABLES)
        return ("names nothing", f"Did you mean {{{right}:{printable(key)}}}?") if right else None

    def _key(self, namespace: str, key: str, *, of_dependency: bool) -> tuple[str, str] | None:
        if namespace == "configuration":
            return None if of_dependency else self._pointer(key)
        known = reference.VARIABLES[namespace]
        if key not in known:
            return "names nothing", f"Known: {', '.join(f'{{{namespace}:{each}}}' for each in known)}."
        if key == "decompressedPath" and not self.folders and not of_dependency:
            return "names nothing", "No artifact has Unarchive: ZIP; give it that, or use {artifacts:path}."
        return None

    def _pointer(self, pointer: str) -> tuple[str, str] | None:
        if not pointer.startswith("/"):
            return "is no JSON pointer", f"Write {{configuration:/{printable(pointer)}}}."
        value = self._configuration
        for segment in pointer.split("/")[1:]:
            name = segment.replace("~1", "/").replace("~0", "~")
            if not isinstance(value, dict) or name not in value:
                right = reference.nearest(name, value) if isinstance(value, dict) else ""
                step = f"Did you mean {printable(right)}?" if right else "Give it a value in DefaultConfiguration."
                return "names nothing in DefaultConfiguration", step
            value = value[name]
        return None


def _unpacked_folders(manifests: object) -> Iterator[str]:
    for manifest in manifests if isinstance(manifests, list) else ():
        lower = {key.lower(): value for key, value in manifest.items()} if isinstance(manifest, dict) else {}
        artifacts = lower.get("artifacts")
        for artifact in artifacts if isinstance(artifacts, list) else ():
            fields = {key.lower(): value for key, value in artifact.items()} if isinstance(artifact, dict) else {}
            if fields.get("unarchive") == "ZIP":
                yield basename(str(fields.get("uri", ""))).removesuffix(".zip")
