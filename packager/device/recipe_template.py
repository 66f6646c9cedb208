"""A recipe made from a user's template: the artifact is filled in, everything else stays as the user wrote it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from posixpath import basename
from typing import TYPE_CHECKING, Any

from packager.device.recipe_check import LITE, check_recipe, get
from packager.device.recipe_file import MAX_FILE_BYTES, read_recipe, read_recipe_source, render_json, render_yaml
from packager.device.recipe_reference import nearest
from packager.errors import RequestError, printable
from packager.os_errors import map_os_errors
from packager.settings import TEMPLATE_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packager.device.recipe import Artifact
    from packager.results import Finding
    from packager.stores import Stores

PLACEHOLDERS = ("@COMPONENT_PATH@", "@COMPONENT_NAME@", "@COMPONENT_VERSION@")
_PLACEHOLDER = re.compile(r"@COMPONENT_[A-Z_]*@?")
_ZIP_NAME = re.compile(r"[A-Za-z0-9_-]+\.zip")


@dataclass(frozen=True, slots=True)
class RecipeNames:
    """What replaces the template's own values; None keeps them."""

    name: str | None = None
    version: str | None = None
    publisher: str | None = None
    description: str | None = None


def shipped_template(name: str) -> bytes:
    """The template of that name, with its comments. RequestError for one that does not come with the package."""
    if name not in TEMPLATE_NAMES:
        right = nearest(name, TEMPLATE_NAMES)
        raise RequestError(
            f"No template is named '{printable(name)}'.",
            next_step=f"Did you mean {right}?" if right else f"There are {', '.join(TEMPLATE_NAMES)}.",
            field="template",
            found=printable(name),
        )
    return files("packager.device").joinpath("templates", f"{name}.yaml").read_bytes()


def read_template(named: str, stores: Stores | None = None) -> tuple[Any, bool]:
    """The template in a file or an object, or the shipped one of that name; and whether it is JSON.

    `-` is the standard input of `stores`. Errors: as for an artifact.
    """
    if stores is not None and (named == "-" or ":/" in named):
        return read_recipe_source(stores.source(named))
    if named in TEMPLATE_NAMES and not Path(named).exists():
        return read_recipe(shipped_template(named), named)
    path = Path(named)
    with map_os_errors("read", path), path.open("rb") as file:
        return read_recipe(file.read(MAX_FILE_BYTES + 1), named)


def render(recipe: Any, *, as_json: bool) -> bytes:  # noqa: ANN401  any plain value
    return render_json(recipe) if as_json else render_yaml(recipe)


def fill_template(template: Any, artifact: Artifact, names: RecipeNames) -> tuple[dict[str, Any], list[Finding]]:  # noqa: ANN401  any plain value
    """The recipe of an artifact from a template, and what nucleus lite does not take of it.

    In each manifest the artifact without a Uri, or with a Digest of the same bytes, is filled in: Uri, Digest,
    Algorithm, and Unarchive and Permission where the template has none. Without any, it is added to each manifest.
    RequestError for what the reference refuses: `findings` lists it.
    """
    if not isinstance(template, dict):
        refuse_broken(check_recipe(template))
    if not _ZIP_NAME.fullmatch(basename(artifact.uri)):
        raise RequestError(
            f"The artifact '{printable(artifact.uri)}' is no ZIP whose name has letters, digits, '_', '-' and one dot.",
            next_step="Publish it under such a name; the device names the folder after it.",
            field="uri",
            found=printable(artifact.uri),
        )
    recipe = _with_names(template, names)
    _put_artifact(recipe, artifact)
    recipe = _replaced(recipe, _values(recipe, artifact))
    findings = check_recipe(recipe)
    refuse_broken([each for each in findings if not each.rule.startswith(LITE)])
    return recipe, [each for each in findings if each.rule.startswith(LITE)]


def refuse_broken(findings: Sequence[Finding]) -> None:
    if findings:
        listed = " ".join(f"{each.message} {each.next_step}" for each in findings)
        count = "1 place" if len(findings) == 1 else f"{len(findings)} places"
        raise RequestError(
            f"The recipe breaks its reference at {count}: {listed}",
            next_step="Correct the template and make the recipe again.",
            field="template",
            findings=[f"{each.rule}: {each.message} {each.next_step}" for each in findings],
        )


def _with_names(template: dict[str, Any], names: RecipeNames) -> dict[str, Any]:
    recipe = dict(template)
    for key, value in (
        ("ComponentName", names.name),
        ("ComponentVersion", names.version),
        ("ComponentDescription", names.description),
        ("ComponentPublisher", names.publisher),
    ):
        if value is not None:
            recipe = {name: each for name, each in recipe.items() if name.lower() != key.lower()} | {key: value}
    order = ["recipeformatversion", "componentname", "componentversion"]
    first = sorted(recipe, key=lambda key: order.index(key.lower()) if key.lower() in order else len(order))
    return {key: recipe[key] for key in first}


def _put_artifact(recipe: dict[str, Any], artifact: Artifact) -> None:
    key = next((name for name in recipe if name.lower() == "manifests"), "Manifests")
    manifests = recipe.get(key)
    if not isinstance(manifests, list):
        return  # the check says so
    filled = [_filled(each, artifact) if isinstance(each, dict) else each for each in manifests]
    if not any(count for _, count in (each for each in filled if isinstance(each, tuple))):
        recipe[key] = [_added(each, artifact) if isinstance(each, dict) else each for each in manifests]
    else:
        recipe[key] = [each[0] if isinstance(each, tuple) else each for each in filled]


def _filled(manifest: dict[str, Any], artifact: Artifact) -> tuple[dict[str, Any], int]:
    """The manifest with its open artifacts filled in, and how many those were."""
    key = next((name for name in manifest if name.lower() == "artifacts"), "Artifacts")
    artifacts = manifest.get(key)
    if not isinstance(artifacts, list):
        return manifest, 0
    is_open = [isinstance(each, dict) and _is_open(each, artifact) for each in artifacts]
    entries = [_entry(each, artifact) if open_ else each for each, open_ in zip(artifacts, is_open, strict=True)]
    return {**manifest, key: entries}, sum(is_open)


def _is_open(entry: dict[str, Any], artifact: Artifact) -> bool:
    return not get(entry, "Uri") or get(entry, "Digest") == digest_of(artifact)


def _added(manifest: dict[str, Any], artifact: Artifact) -> dict[str, Any]:
    key = next((name for name in manifest if name.lower() == "artifacts"), "Artifacts")
    there = manifest.get(key)
    if there is not None and not isinstance(there, list):
        return manifest
    return {**manifest, key: [*(there or []), _entry({}, artifact)]}


def _entry(template: dict[str, Any], artifact: Artifact) -> dict[str, Any]:
    filled = {"Uri": artifact.uri, "Digest": digest_of(artifact), "Algorithm": "SHA-256"}
    default = {"Unarchive": "ZIP", "Permission": {"Read": "ALL", "Execute": "ALL"}}
    kept = {key: value for key, value in template.items() if key.lower() not in {each.lower() for each in filled}}
    missing = {key: value for key, value in default.items() if get(kept, key) is None}
    return {**filled, **kept, **missing}


def digest_of(artifact: Artifact) -> str:
    """The artifact's SHA-256 as recipes have it, in base64."""
    return base64.b64encode(bytes.fromhex(artifact.sha256)).decode("ascii")


def _values(recipe: dict[str, Any], artifact: Artifact) -> dict[str, str]:
    folder = "{artifacts:decompressedPath}/" + basename(artifact.uri).removesuffix(".zip")
    return {
        "@COMPONENT_PATH@": folder,
        "@COMPONENT_NAME@": str(get(recipe, "ComponentName")),
        "@COMPONENT_VERSION@": str(get(recipe, "ComponentVersion")),
    }


def _replaced(value: Any, values: dict[str, str]) -> Any:  # noqa: ANN401  any plain value
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: _value_of(found[0], values), value)
    if isinstance(value, dict):
        return {key: _replaced(each, values) for key, each in value.items()}
    return [_replaced(each, values) for each in value] if isinstance(value, list) else value


def _value_of(placeholder: str, values: dict[str, str]) -> str:
    if placeholder in values:
        return values[placeholder]
    right = nearest(placeholder, values)
    raise RequestError(
        f"The template has the placeholder {printable(placeholder)}, which stands for nothing.",
        next_step=f"Did you mean {right}?" if right else f"There are {', '.join(values)}.",
        field="template",
        found=printable(placeholder),
    )
