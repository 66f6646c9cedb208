"""A component for a deployment on one device without the cloud: folders of recipes and artifacts.

https://docs.aws.amazon.com/greengrass/v2/developerguide/gg-cli-deployment.html
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from packager.device.recipe_template import render
from packager.os_errors import written_whole
from packager.publishing.finished import FinishedRecipe, Placing, copy_zip, finish_recipe
from packager.stores import Stores
from telemetry import catalog, observe

if TYPE_CHECKING:
    from pathlib import Path

    from packager.settings import Settings
    from packager.stores import Source

_NO_BUCKET = "BUCKET_NAME"
"""Stands for the bucket, as in the recipes of Greengrass' own development kit: the file is found before it is asked."""


@dataclass(frozen=True, slots=True)
class LocalBundle:
    """Where recipe and artifact lie, and the commands that deploy them."""

    finished: FinishedRecipe
    recipe_path: Path
    artifact_path: Path
    recipes: Path
    artifacts: Path

    @property
    def commands(self) -> dict[str, str]:
        """By nucleus: what to run on the device, in a shell of somebody who may."""
        recipes, artifacts, label = (shlex.quote(str(each)) for each in (self.recipes, self.artifacts, self._label))
        return {
            "classic": "sudo /greengrass/v2/bin/greengrass-cli deployment create "
            f"--recipeDir {recipes} --artifactDir {artifacts} --merge {label}",
            "lite": f"sudo ggl-cli deploy --recipe-dir {recipes} --artifacts-dir {artifacts} --add-component {label}",
        }

    @property
    def _label(self) -> str:
        return self.finished.label

    def as_dict(self) -> dict[str, Any]:
        return {
            "component": {"name": self.finished.name, "version": self.finished.version},
            "recipe": str(self.recipe_path),
            "artifact": str(self.artifact_path),
            "sha256": self.finished.artifact.sha256,
            "size_bytes": self.finished.artifact.size_bytes,
            "commands": self.commands,
            "warnings": [asdict(each) for each in self.finished.findings],
        }


def bundle_local(
    recipe: str, artifact: str, output: Path, *, stores: Stores | None = None, settings: Settings | None = None
) -> LocalBundle:
    """Write `recipes/NAME-VERSION` and `artifacts/NAME/VERSION/FILE` below `output`; each whole or not at all.

    What other components and versions have there stays. Errors: as for publish_component, of the recipe and the ZIP;
    StoreError and its kinds, InsufficientStorageError.
    """
    stores = stores or Stores()
    zip_file = stores.source(artifact)
    with observe(catalog.BUNDLE_LOCAL, source=zip_file.uri) as step:
        bundle = _bundled(stores.source(recipe), zip_file, output, settings)
        step.add(bytes_out=bundle.finished.artifact.size_bytes, sha256=bundle.finished.artifact.sha256)
    return bundle


def _bundled(recipe: Source, zip_file: Source, output: Path, settings: Settings | None) -> LocalBundle:
    finished = finish_recipe(recipe, zip_file, _place, settings)
    recipes, artifacts = output.resolve() / "recipes", output.resolve() / "artifacts"
    ending = "json" if finished.is_json else "yaml"
    bundle = LocalBundle(
        finished,
        recipes / f"{finished.name}-{finished.version}.{ending}",
        artifacts / finished.name / finished.version / finished.artifact.uri.rsplit("/", 1)[-1],
        recipes,
        artifacts,
    )
    with written_whole(bundle.artifact_path) as file:
        copy_zip(zip_file, finished.artifact, file.write)
    with written_whole(bundle.recipe_path) as file:
        file.write(render(finished.recipe, as_json=finished.is_json))
    return bundle


def _place(placing: Placing) -> str:
    return placing.named or without_bucket(placing.name, placing.version, placing.file_name)


def without_bucket(name: str, version: str, file_name: str) -> str:
    """The URI of an artifact that lies in no bucket yet."""
    return f"s3://{_NO_BUCKET}/{name}/{version}/{file_name}"
