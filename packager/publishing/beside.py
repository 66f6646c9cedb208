"""The recipe of a component that was just made, written beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packager.device.recipe import Artifact
from packager.device.recipe_template import RecipeNames, fill_template, render
from packager.os_errors import written_whole
from packager.publishing.local import without_bucket

if TYPE_CHECKING:
    from packager.results import ComponentResult, Finding
    from packager.stores import Stores

_NO_SHA256 = "0" * 64
_ANY_FILE = "0_greengrass_model_component.zip"


def check_template(template: Any, name: str, version: str) -> None:  # noqa: ANN401  any plain value
    """RequestError when no recipe can come of the template, which is better known before a model is packaged."""
    fill_template(
        template, Artifact(without_bucket(name, version, _ANY_FILE), _NO_SHA256, 0), RecipeNames(name, version)
    )


def write_recipe(  # noqa: PLR0913, PLR0917  what a recipe is made of
    template: Any,  # noqa: ANN401  any plain value
    is_json: bool,  # noqa: FBT001  as read_template says
    component: ComponentResult,
    name: str,
    version: str,
    stores: Stores,
) -> tuple[str, list[Finding]]:
    """Write NAME-VERSION.yaml (or .json) into the folder of the component, or below its prefix.

    Returns where it is, and what nucleus lite does not take of it. A component in a local folder has no place in S3
    yet: its bucket is a placeholder, which publishing replaces. Errors: RequestError, StoreError and its kinds.
    """
    where, file_name = (component.uri or "").rsplit("/", 1)
    in_s3 = where.startswith("s3://")
    uri = f"{where}/{file_name}" if in_s3 else without_bucket(name, version, file_name)
    artifact = Artifact(uri, component.sha256 or "", component.size_bytes or 0)
    recipe, findings = fill_template(template, artifact, RecipeNames(name, version))
    data = render(recipe, as_json=is_json)
    own_name = f"{name}-{version}.{'json' if is_json else 'yaml'}"
    if in_s3:
        bucket, _, folder = where.removeprefix("s3://").partition("/")
        key = f"{folder}/{own_name}"
        with stores.sink(f"s3://{bucket}").open(lambda: (key, hashlib.sha256(data).hexdigest())) as upload:
            upload.write(data)
            upload.commit()
    else:
        with written_whole(Path(where) / own_name) as file:
            file.write(data)
    return f"{where}/{own_name}", findings
