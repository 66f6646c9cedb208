"""The recipe of a component that was just made, written beside it."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packager.device.recipe import Artifact
from packager.device.recipe_template import RecipeNames, fill_template, read_template, render
from packager.errors import PackagerError
from packager.os_errors import written_whole
from packager.publishing.local import without_bucket
from packager.results import WrittenRecipe

if TYPE_CHECKING:
    from packager.results import ComponentResult, Finding, PackageResult
    from packager.stores import Stores

_NO_SHA256 = "0" * 64
_ANY_FILE = "0_greengrass_model_component.zip"


class RecipeBeside:
    """The recipe of a component of files, from a template that was read and held against the reference."""

    def __init__(self, named: str, name: str, version: str, stores: Stores) -> None:
        """Read the template `named`. RequestError when no recipe can come of it, StoreError when it is not there."""
        self._template, self._is_json = read_template(named, stores)
        self._names = RecipeNames(name, version)
        self._name, self._version = name, version
        self._stores = stores
        self._filled(Artifact(without_bucket(name, version, _ANY_FILE), _NO_SHA256, 0))

    def write(self, result: PackageResult) -> PackageResult:
        """The result with its recipe, which is written when there is a component; a failure is the result's error."""
        component = next((each for each in result.components if each.uri), None)
        if component is None:
            return replace(result, recipe=WrittenRecipe())
        try:
            return replace(result, recipe=self._written(component))
        except PackagerError as error:
            return replace(result, recipe=WrittenRecipe(), error=error)

    def _written(self, component: ComponentResult) -> WrittenRecipe:
        """Write NAME-VERSION.yaml (or .json) into the folder of the component, or below its prefix.

        A component in a local folder has no place in S3 yet: its bucket is a placeholder, which publishing replaces.
        """
        where, file_name = (component.uri or "").rsplit("/", 1)
        in_s3 = where.startswith("s3://")
        uri = f"{where}/{file_name}" if in_s3 else without_bucket(self._name, self._version, file_name)
        recipe, findings = self._filled(Artifact(uri, component.sha256 or "", component.size_bytes or 0))
        data = render(recipe, as_json=self._is_json)
        own_name = f"{self._name}-{self._version}.{'json' if self._is_json else 'yaml'}"
        if in_s3:
            bucket, _, folder = where.removeprefix("s3://").partition("/")
            key = f"{folder}/{own_name}"
            with self._stores.sink(f"s3://{bucket}").open(lambda: (key, hashlib.sha256(data).hexdigest())) as upload:
                upload.write(data)
                upload.commit()
        else:
            with written_whole(Path(where) / own_name) as file:
                file.write(data)
        return WrittenRecipe(f"{where}/{own_name}", findings)

    def _filled(self, artifact: Artifact) -> tuple[dict[str, Any], list[Finding]]:
        # Filling in may change what it is given, and it is done twice.
        return fill_template(deepcopy(self._template), artifact, self._names)
