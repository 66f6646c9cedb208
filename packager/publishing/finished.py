"""The recipe that goes out with a component: read, held against the ZIP, and filled in with where the ZIP will lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from posixpath import basename
from typing import TYPE_CHECKING, Any

from packager.deadline import raise_if_late
from packager.device import recipe_reference as reference
from packager.device.check import read, sha256_of
from packager.device.recipe import Artifact
from packager.device.recipe_check import get
from packager.device.recipe_file import read_recipe_source
from packager.device.recipe_template import RecipeNames, digest_of, fill_template
from packager.errors import ArtifactChangedError, RequestError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.results import Finding
    from packager.settings import Settings
    from packager.stores import Source

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FinishedRecipe:
    """A recipe with its artifact, and what nucleus lite does not take of it.

    Attributes:
        recipe: as it is published.
        is_json: whether it came as JSON, else it was YAML.
        name, version: of the component.
        artifact: the ZIP, with the URI that the recipe gives it.
        findings: warnings.
    """

    recipe: dict[str, Any]
    is_json: bool
    name: str
    version: str
    artifact: Artifact
    findings: list[Finding]

    @property
    def label(self) -> str:
        return f"{self.name}={self.version}"


@dataclass(frozen=True, slots=True)
class Placing:
    """What decides where an artifact lies: name and version of its component, and what its file is called.

    Attributes:
        named: the s3:// URI that the recipe itself gives the ZIP; empty when it gives none.
    """

    name: str
    version: str
    file_name: str
    named: str


def finish_recipe(
    recipe: Source, zip_file: Source, place: Callable[[Placing], str], settings: Settings | None = None
) -> FinishedRecipe:
    """The recipe, filled in with `zip_file`; `place` says the s3:// URI it will have. Nothing else is asked.

    RequestError for a recipe that breaks the reference, or speaks of other bytes; ExtractionError for a ZIP that is
    damaged: every byte of it is read.
    """
    template, is_json = read_recipe_source(recipe)
    read(zip_file, settings, verify=True)
    measured = Artifact(zip_file.uri, sha256_of(zip_file), zip_file.size_bytes())
    file_name = basename(zip_file.uri)
    named = _named(template, measured, file_name)
    name, version = get(template, "ComponentName"), get(template, "ComponentVersion")
    placing = Placing(
        name if _fits(name, reference.NAME) else "component",  # a wrong name or version is refused below, as such
        version if _fits(version, reference.SEMANTIC_VERSION) else "0.0.0",
        basename(named) or file_name,
        named,
    )
    if not placing.name.strip("."):
        raise RequestError(
            f"ComponentName is '{placing.name}', which names no folder.",
            next_step="Give it a name with letters.",
            field="ComponentName",
            found=placing.name,
        )
    artifact = Artifact(place(placing), measured.sha256, measured.size_bytes)
    made, findings = fill_template(template, artifact, RecipeNames())
    return FinishedRecipe(made, is_json, placing.name, placing.version, artifact, findings)


def copy_zip(zip_file: Source, artifact: Artifact, write: Callable[[memoryview], object]) -> None:
    """Write the ZIP that was measured. ArtifactChangedError, at its end, when it is not the same any more."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_COPY_BYTES))
    with zip_file.open() as reader:
        while count := reader.readinto(buffer):
            raise_if_late()
            digest.update(buffer[:count])
            write(buffer[:count])
    if digest.hexdigest() != artifact.sha256:
        raise ArtifactChangedError(
            f"{printable(zip_file.uri, 1000)} was replaced while it was read.",
            next_step="Try again when nothing writes to it.",
            operation="read",
            uri=printable(zip_file.uri, 1000),
            code="Changed",
        )


def _fits(value: object, pattern: Any) -> bool:  # noqa: ANN401  re's
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _named(template: object, artifact: Artifact, file_name: str) -> str:
    """The URI that the recipe gives the ZIP; its entry gets the digest, which is how it is known when it is filled in.

    RequestError when the recipe is a finished one, of other bytes.
    """
    entries = list(_entries(template))
    digest = digest_of(artifact)
    for entry in entries:
        is_ours = basename(str(get(entry, "Uri"))) == file_name and get(entry, "Digest") is None
        if is_ours or get(entry, "Digest") == digest:
            _set(entry, "Digest", digest)
            return str(get(entry, "Uri", default=""))
    others = [entry for entry in entries if get(entry, "Digest") is not None]
    if others and all(get(entry, "Uri") or get(entry, "Digest") for entry in entries):
        raise _other_bytes(others[0], artifact)
    return ""


def _entries(template: object) -> Iterator[dict[str, Any]]:
    manifests = get(template, "Manifests")
    for manifest in manifests if isinstance(manifests, list) else ():
        artifacts = get(manifest, "Artifacts")
        for entry in artifacts if isinstance(artifacts, list) else ():
            if isinstance(entry, dict) and str(get(entry, "Uri", default="s3://")).startswith("s3://"):
                yield entry


def _set(entry: dict[str, Any], key: str, value: str) -> None:
    name = next((name for name in entry if name.lower() == key.lower()), key)
    entry[name] = value


def _other_bytes(entry: dict[str, Any], artifact: Artifact) -> RequestError:
    uri, found = printable(get(entry, "Uri"), 1000), printable(get(entry, "Digest"), 80)
    return RequestError(
        f"The recipe speaks of other bytes: {uri} has the digest {found}, the ZIP {digest_of(artifact)}.",
        next_step="Make the recipe again for this ZIP, under a new version: a version of a component never changes.",
        field="artifact",
        found=artifact.sha256,
        digest=found,
    )
