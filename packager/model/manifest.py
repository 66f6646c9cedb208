"""The manifest a device reads, made from three small facts of a trained artifact."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from posixpath import basename
from typing import TYPE_CHECKING, Any, TypeGuard

from packager.core.names import is_safe_path
from packager.errors import ManifestError, printable
from packager.model.strict import read_json, read_yaml, values_at_most

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packager.settings import Settings

MANIFEST = "manifest.json"
"""At the root of a component."""

CONFIG = "config.yaml"
EXPORTS = "export_artifacts/"
TRAINED_MANIFEST = f"{EXPORTS}{MANIFEST}"
ONNX = "onnx"

LARGEST_SIDE = 2**31 - 1
"""Image libraries and runtimes on devices hold sizes as signed 32-bit integers."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class TrainedFacts:
    """What the manifest is made from.

    Attributes:
        config_yaml: bytes of `config.yaml`, None when the archive has none.
        manifest_json: bytes of `export_artifacts/manifest.json`, None when the archive has none.
        pt_name: file name of the first `.pt` directly below `export_artifacts/`, None when there is none.
        onnx_members: paths of every `.onnx` anywhere below `export_artifacts/`, in the order of the archive.
        below: the folder that holds the files of a trained artifact when they are not at the root; else empty.
    """

    config_yaml: bytes | None = None
    manifest_json: bytes | None = None
    pt_name: str | None = None
    onnx_members: tuple[str, ...] = ()
    below: str = ""


class TrainedFactsCollector:
    """Picks the facts out of a stream of members: `see` every path, `take` the data of those it `wants`.

    Two files of a few KiB are read into memory; the limits only keep a hostile archive from filling it.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = {
            CONFIG: ("MAX_CONFIG_BYTES", settings.max_config_bytes),
            TRAINED_MANIFEST: ("MAX_MANIFEST_BYTES", settings.max_manifest_bytes),
        }
        self._settings = settings
        self._documents: dict[str, bytes] = {}
        self._pt_name: str | None = None
        self._onnx_members: list[str] = []
        self._below = ""

    def wants(self, path: str, size_bytes: int) -> bool:
        """Whether the member's data is needed; ManifestError when it is needed and above its limit."""
        if path not in self._limits:
            return False
        setting, limit_bytes = self._limits[path]
        if size_bytes > limit_bytes:
            raise too_large(path, setting, limit_bytes, size_bytes)
        return True

    def take(self, path: str, data: bytes) -> None:
        """Keep a document that is wanted; ManifestError for a manifest of too many values."""
        self._documents[path] = bounded_manifest(data, self._settings, path) if path == TRAINED_MANIFEST else data

    def see(self, path: str) -> None:
        if not path.startswith(EXPORTS):
            below = next((path.removesuffix(f"/{name}") for name in self._limits if path.endswith(f"/{name}")), "")
            self._below = self._below or below
        elif path.endswith(".onnx"):
            self._onnx_members.append(path)
        elif path.endswith(".pt") and "/" not in path.removeprefix(EXPORTS):
            self._pt_name = self._pt_name or basename(path)

    def facts(self) -> TrainedFacts:
        return TrainedFacts(
            config_yaml=self._documents.get(CONFIG),
            manifest_json=self._documents.get(TRAINED_MANIFEST),
            pt_name=self._pt_name,
            onnx_members=tuple(self._onnx_members),
            below=self._below,
        )


def build_manifest(facts: TrainedFacts) -> tuple[dict[str, Any], str]:
    """The component's manifest, and the file name of the model it speaks of.

    An imported ONNX model (`runtime: onnx` in the trained manifest) keeps its manifest and gains `dataset`; anything
    else gets the manifest of a compiled PyTorch model. ManifestError names the field that is missing or wrong.
    """
    trained = _trained_manifest(facts)
    first_stage = _first_stage(trained, TRAINED_MANIFEST)
    input_shape = _input_shape(trained, first_stage)
    if is_onnx(trained):
        return _imported_onnx(facts, trained)
    if facts.pt_name is None:
        raise ManifestError(
            f"The trained artifact has no {EXPORTS}<name>.pt.",
            next_step=f"Export the model as TorchScript into {EXPORTS}, and pack the archive again.",
            field="compilable_models[0].filename",
        )
    return {
        "model_graph": trained["model_graph"],
        "compilable_models": [
            {
                "filename": facts.pt_name,
                "data_input_config": {"input": _dimensions(input_shape)},
                "framework": "PYTORCH",
            }
        ],
        "dataset": _dataset_of_config(facts),
    }, facts.pt_name


def for_compiled_onnx(manifest: Mapping[str, Any], onnx_name: str) -> dict[str, Any]:
    """The manifest for an ONNX export of the model that `manifest` describes; `onnx_name` is the export's file name."""
    _first_stage(manifest, "the manifest")
    dataset = _dataset(manifest.get("dataset", _MISSING), "the manifest")
    return {
        "model_graph": manifest["model_graph"],
        "dataset": dataset,
        "runtime": ONNX,
        "runtime_artifact": onnx_name,
    }


def checked(manifest: Any, where: str) -> dict[str, Any]:  # noqa: ANN401  any JSON value
    """The manifest, when components can be made with it; ManifestError names what is missing or wrong in it."""
    whole = _object(manifest, where)
    _first_stage(whole, where)
    _dataset(whole.get("dataset", _MISSING), where)
    if is_onnx(whole) and not isinstance(whole.get("runtime_artifact"), str):
        raise _wrong("runtime_artifact", where, whole.get("runtime_artifact", _MISSING), "the name of an .onnx file")
    return whole


def onnx_member(facts: TrainedFacts, model_file_name: str) -> str | None:
    """The path in the archive of an imported ONNX model; the first one when several have the name."""
    return next((path for path in facts.onnx_members if basename(path) == model_file_name), None)


def is_onnx(manifest: Mapping[str, Any]) -> bool:
    """Whether the model runs on the ONNX runtime."""
    runtime = manifest.get("runtime")
    return isinstance(runtime, str) and runtime.lower() == ONNX


def stage_types(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The types of the stages in order; artifacts lie in folders of these names.

    ManifestError when the first is missing or no safe folder name. Later stages without a usable type are left out;
    the device rules report them.
    """
    _first_stage(manifest, "the manifest")
    types = (each.get("type") if isinstance(each, dict) else None for each in manifest["model_graph"]["stages"])
    return tuple(each for each in types if is_folder_name(each))


def is_folder_name(value: object) -> TypeGuard[str]:
    """Whether `value` is one path segment that is safe as a folder at the root of a component."""
    return isinstance(value, str) and value != MANIFEST and "/" not in value and is_safe_path(value)


def render(manifest: Mapping[str, Any], max_bytes: int) -> bytes:
    """The bytes of `manifest.json`: the same for the same manifest.

    ManifestError when it is no JSON value, or takes more than `max_bytes`: writing ends there, since a few KiB of
    brackets can stand for gigabytes of indentation. Memory: `max_bytes`.
    """
    rendered = bytearray()
    try:
        for chunk in json.JSONEncoder(indent=2, ensure_ascii=True, allow_nan=False).iterencode(manifest):
            rendered += chunk.encode("ascii")
            if len(rendered) > max_bytes:
                raise too_large(f"The component's {MANIFEST}", "MAX_MANIFEST_BYTES", max_bytes, len(rendered))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(
            f"The manifest cannot be written as JSON: {printable(error)}.",
            next_step="Pass text, numbers, booleans, lists and objects only, without NaN or infinity.",
            reason=printable(error),
        ) from error
    return bytes(rendered)


def bounded_manifest(data: bytes, settings: Settings, what: str) -> bytes:
    """The bytes of a manifest, when they are within the limits on one; else the ManifestError that names the limit."""
    if len(data) > settings.max_manifest_bytes:
        raise too_large(what, "MAX_MANIFEST_BYTES", settings.max_manifest_bytes, len(data))
    if (values := values_at_most(data)) > settings.max_manifest_values:
        raise too_large(what, "MAX_MANIFEST_VALUES", settings.max_manifest_values, values, "values")
    return data


def too_large(what: str, setting: str, limit: int, found: int, unit: str = "bytes") -> ManifestError:
    """The error for a document that is larger than its setting allows."""
    return ManifestError(
        f"{what} exceeds {setting} = {limit} (found {found} {unit}).",
        next_step=f"Leave only the configuration in it; weights belong into files of their own. Or raise {setting}.",
        file=what,
        setting=setting,
        limit=limit,
        found=found,
    )


def _trained_manifest(facts: TrainedFacts) -> dict[str, Any]:
    if facts.manifest_json is None:
        raise _absent(TRAINED_MANIFEST, facts)
    return _object(read_json(facts.manifest_json, TRAINED_MANIFEST), TRAINED_MANIFEST)


def _object(document: object, where: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _wrong("the whole file", where, document, "an object with model_graph")
    return document


def _first_stage(manifest: Mapping[str, Any], where: str) -> dict[str, Any]:
    graph = manifest.get("model_graph", _MISSING)
    if not isinstance(graph, dict):
        raise _wrong("model_graph", where, graph, "an object with stages")
    stages = graph.get("stages", _MISSING)
    if not isinstance(stages, list) or not stages:
        raise _wrong("model_graph.stages", where, stages, "a list of one stage or more")
    first = stages[0]
    if not isinstance(first, dict):
        raise _wrong("model_graph.stages[0]", where, first, "an object with type")
    if not is_folder_name(first.get("type")):
        wanted = (
            "one plain folder name: at most 255 bytes, without '/', '\\', a drive letter or invisible characters, "
            "other than '..' and manifest.json"
        )
        raise _wrong("model_graph.stages[0].type", where, first.get("type", _MISSING), wanted)
    return first


def _input_shape(trained: Mapping[str, Any], first_stage: Mapping[str, Any]) -> list[Any]:
    # A null or empty shape at the top counts as none, as it always has for those who write these files.
    shape = trained.get("input_shape") or first_stage.get("input_shape", _MISSING)
    if not isinstance(shape, list) or not shape:
        wanted = "a list of dimensions there, or in model_graph.stages[0].input_shape"
        raise _wrong("input_shape", TRAINED_MANIFEST, shape, wanted)
    return shape


def _dimensions(shape: list[Any]) -> list[int]:
    for index, dimension in enumerate(shape):
        _positive(dimension, f"input_shape[{index}]", TRAINED_MANIFEST)
    return shape


def _imported_onnx(facts: TrainedFacts, trained: dict[str, Any]) -> tuple[dict[str, Any], str]:
    name = trained.get("runtime_artifact", _MISSING)
    if not isinstance(name, str) or onnx_member(facts, name) is None:
        there = ", ".join(printable(path, 80) for path in facts.onnx_members[:3]) or "none"
        wanted = f"the file name of an .onnx member below {EXPORTS} (there: {there})"
        raise _wrong("runtime_artifact", TRAINED_MANIFEST, name, wanted)
    own = trained.get("dataset")
    dataset = _dataset_of_config(facts) if own is None else _dataset(own, TRAINED_MANIFEST)
    return {**trained, "dataset": dataset}, name


def _dataset_of_config(facts: TrainedFacts) -> dict[str, int]:
    if facts.config_yaml is None:
        raise _absent(CONFIG, facts)
    config = read_yaml(facts.config_yaml, CONFIG)
    if not isinstance(config, dict):
        raise _wrong("the whole file", CONFIG, config, "a mapping with dataset")
    dataset = _dataset(config.get("dataset", _MISSING), CONFIG)
    return {side: dataset[side] for side in ("image_width", "image_height")}


def _dataset(dataset: object, where: str) -> dict[str, Any]:
    if not isinstance(dataset, dict):
        raise _wrong("dataset", where, dataset, "a mapping with image_width and image_height")
    for side in ("image_width", "image_height"):
        _positive(dataset.get(side, _MISSING), f"dataset.{side}", where)
    return dataset


def _positive(value: object, field: str, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_SIDE:
        raise _wrong(field, where, value, f"a whole number from 1 to {LARGEST_SIDE}")


def _absent(name: str, facts: TrainedFacts) -> ManifestError:
    below = printable(facts.below)
    if below:
        return ManifestError(
            f"There is no {name} at the root of the trained artifact: its files lie below the folder {below}/.",
            next_step=f"Pack what is inside of that folder: tar -czf model.tar.gz -C {shlex.quote(below)} .",
            file=name,
            below=below,
        )
    return ManifestError(
        f"The trained artifact has no {name}.",
        next_step="Check that the URI names a trained artifact, not a compiled one, and pack the archive again.",
        file=name,
    )


def _wrong(field: str, where: str, value: object, wanted: str) -> ManifestError:
    found = _described(value)
    return ManifestError(
        f"{field} in {where} is {found}; it must be {wanted}.",
        next_step=f"Correct {where}, and pack the trained artifact again.",
        field=field,
        file=where,
        found=found,
    )


def _described(value: object) -> str:
    if value is _MISSING:
        return "missing"
    if isinstance(value, dict):
        return f"an object with {len(value)} fields"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:  # noqa: PLR2004  longer ones fill the message or the CPU
        return f"an integer of {value.bit_length()} bits"
    return printable(json.dumps(value[:80] if isinstance(value, str) else value, default=repr), 80)
