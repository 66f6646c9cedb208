"""The Greengrass recipe that publishes a component.

Source of the format: https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packager.device.recipe_file import render_json
from packager.device.recipe_reference import MAX_NAME_LENGTH, MAX_RECIPE_BYTES
from packager.device.rules import COMPONENT_BUDGET_BYTES
from packager.errors import RequestError, in_units, printable
from packager.model.identity import FILE_NAME_ENDING

if TYPE_CHECKING:
    from packager.model.targets import Target

_NAME = re.compile(r"model-[A-Za-z0-9._-]+")
# The device's converter takes the first number for the model's version and wants it above zero.
_VERSION = re.compile(r"[1-9][0-9]{0,5}\.0\.0")
_S3_URI = re.compile(r"s3://[^/\s]+/\S+")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_CONVERTER = "/aws_dda/model_convertor.py"
_CLEANUP = "/aws_dda/convert_model_cleanup.py"
_CONVERTER_NEEDS = (f"-f {_CONVERTER}", f"-f {_CLEANUP}", "-d /aws_dda/resources_for_copy")
_WAIT_S = 600
_STARTUP_TIMEOUT_S = 1800
_SHUTDOWN_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Artifact:
    """The published ZIP: where it lies, the SHA-256 of its bytes (64 hex digits), its size."""

    uri: str
    sha256: str
    size_bytes: int


def recipe(
    artifact: Artifact, name: str, version: str, target: Target, model_name: str | None = None
) -> dict[str, Any]:
    """The recipe that installs `artifact` on devices of `target` as component `name`.

    `model_name` is what people see on the device; the component's name by default. RequestError for what Greengrass or
    the device would refuse: its name, version, artifact or the recipe's own size.
    """
    _check_name(name)
    _check_version(version)
    check_artifact(artifact)
    made = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentType": "aws.greengrass.generic",
        "ComponentConfiguration": {
            "DefaultConfiguration": {
                "Autostart": False,
                "PYTHONPATH": "/usr/bin/python3.9",
                "ModelName": name if model_name is None else model_name,
            }
        },
        "ComponentDependencies": {target.dependency: {"VersionRequirement": "^1.0.0", "DependencyType": "HARD"}},
        "Manifests": [
            {
                "Platform": {"os": "linux", "architecture": target.architecture},
                "Lifecycle": _lifecycle(artifact, name, version),
                "Artifacts": [
                    {
                        "Uri": artifact.uri,
                        "Digest": base64.b64encode(bytes.fromhex(artifact.sha256)).decode("ascii"),
                        "Algorithm": "SHA-256",
                        "Unarchive": "ZIP",
                        "Permission": {"Read": "ALL", "Execute": "ALL"},
                    }
                ],
            }
        ],
    }
    check_size(made)
    return made


def render(made: dict[str, Any]) -> bytes:
    """The recipe as JSON, which Greengrass takes as well as YAML."""
    return render_json(made)


def _lifecycle(artifact: Artifact, name: str, version: str) -> dict[str, Any]:
    # The server component counts as started before it has put the converter on the host, so startup waits for it.
    # Every word in the scripts is checked against a pattern before it gets here, so none needs quoting.
    folder = "{artifacts:decompressedPath}/" + artifact.uri.rsplit("/", 1)[-1].removesuffix(".zip")
    absent = " || ".join(f"[ ! {test} ]" for test in _CONVERTER_NEEDS)
    wait = (
        f"deadline=$(($(date +%s) + {_WAIT_S}))\n"
        f"while {absent}; do\n"
        '  if [ "$(date +%s)" -ge "$deadline" ]; then\n'
        f'    echo "No model converter in /aws_dda after {_WAIT_S} s: is the server component running?" >&2\n'
        "    exit 1\n"
        "  fi\n"
        "  sleep 2\n"
        "done\n"
    )
    convert = f"python3 {_CONVERTER} --unarchived_model_path {folder}/ --model_version {version} --model_name {name}"
    return {
        "Startup": {"Script": wait + convert, "Timeout": _STARTUP_TIMEOUT_S, "RequiresPrivilege": True},
        "Shutdown": {
            "Script": f"python3 {_CLEANUP} --model_name {name}",
            "Timeout": _SHUTDOWN_TIMEOUT_S,
            "RequiresPrivilege": True,
        },
    }


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise RequestError(
            f"The component name '{printable(name, 140)}' has {len(name)} characters; Greengrass takes at most "
            f"{MAX_NAME_LENGTH}: 'model-' and then letters, digits, '.', '_' and '-'.",
            next_step="Name it like model-line-3-scratches.",
            field="name",
            found=printable(name),
        )


def _check_version(version: str) -> None:
    if not _VERSION.fullmatch(version):
        raise RequestError(
            f"The component version '{printable(version)}' is not N.0.0 with N from 1 to 999999.",
            next_step="Count whole versions: 1.0.0, then 2.0.0.",
            field="version",
            found=printable(version),
        )


def check_artifact(artifact: Artifact) -> None:
    """RequestError for an artifact that this product's devices, or Greengrass, do not take."""
    check_publishable(artifact)
    uri = printable(artifact.uri)
    file_name = artifact.uri.rsplit("/", 1)[-1]
    if not re.fullmatch(rf"[A-Za-z0-9_-]*{FILE_NAME_ENDING.replace('.', '[.]')}", file_name):
        raise RequestError(
            f"The artifact '{uri}' is not named <id>_{FILE_NAME_ENDING} with letters, digits, '_' and '-' and one dot; "
            "the device would unpack it where nothing looks for it.",
            next_step="Publish the ZIP under the key that packaging gave it.",
            field="uri",
            found=uri,
        )


def check_publishable(artifact: Artifact) -> None:
    """RequestError for an artifact that Greengrass does not publish, whatever it holds."""
    if not _S3_URI.fullmatch(artifact.uri):
        raise RequestError(
            f"The artifact '{printable(artifact.uri)}' is not an s3:// URI; Greengrass publishes from S3 only.",
            next_step="Upload the ZIP (aws s3 cp FILE s3://BUCKET/KEY) and name that URI.",
            field="uri",
            found=printable(artifact.uri),
        )
    if not _SHA256.fullmatch(artifact.sha256):
        raise RequestError(
            f"The SHA-256 '{printable(artifact.sha256, 80)}' is not 64 lower-case hexadecimal digits.",
            next_step="Pass the checksum that packaging reported, or the output of sha256sum.",
            field="sha256",
            found=printable(artifact.sha256, 80),
        )
    if artifact.size_bytes > COMPONENT_BUDGET_BYTES:
        raise RequestError(
            f"The artifact has {in_units(artifact.size_bytes)} ({artifact.size_bytes} bytes); Greengrass takes at most "
            f"{COMPONENT_BUDGET_BYTES} bytes.",
            next_step="Make the model smaller: half precision, pruning, or fewer files in the compiled artifact.",
            field="size_bytes",
            found=artifact.size_bytes,
            limit=COMPONENT_BUDGET_BYTES,
        )


def check_size(made: dict[str, Any]) -> None:
    size_bytes = len(render(made))
    if size_bytes > MAX_RECIPE_BYTES:
        raise RequestError(
            f"The recipe has {size_bytes} bytes; Greengrass takes at most {MAX_RECIPE_BYTES}.",
            next_step="Choose a shorter model name or a shorter key.",
            field="model_name",
            found=size_bytes,
            limit=MAX_RECIPE_BYTES,
        )
