"""What a device and Greengrass need of a component: one row per rule, one finding per broken rule.

Sources: https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html (unarchiving),
https://docs.aws.amazon.com/greengrass/v2/developerguide/greengrass-nucleus-component.html (the store on the device),
https://docs.aws.amazon.com/general/latest/gr/greengrassv2.html (sizes), and the model converter of the server
components that run the models.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from posixpath import basename
from typing import TYPE_CHECKING

from packager.device.listing import HEAD_BYTES, CheckedComponent, ComponentEntry, ComponentListing
from packager.errors import ComponentRefusedError, ManifestError, in_units, printable
from packager.model.identity import FILE_NAME_ENDING
from packager.model.manifest import MANIFEST, is_onnx
from packager.model.strict import read_json
from packager.results import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from packager.model.targets import Target

COMPONENT_BUDGET_BYTES = 2_000_000_000
"""What the artifacts of a component may have in all."""

DEVICE_STORE_BYTES = 10_000_000_000
"""The default size of the store in which a device keeps artifacts, packed and unpacked ones together."""

STAGES_OF_GRAPH = {"single_stage_model_graph": 1, "two_stage_model_graph": 2, "two_stage_model_graph_bbox": 2}
FIRST_STAGE_FIELDS = ("threshold", "image_width", "image_height", "image_range_scale", "normalize")

# Two forms of a Neo artifact: the graph runtime's, and the Relay VM's, told by its executable `.ro`.
GRAPH_RUNTIME = (".so", ".params", ".json", ".meta")
RELAY_VM = (".so", ".ro", ".meta")
NO_MODEL_FILES = frozenset({"libdlr.so", "model-shapes.json", "hyperparams.json", "version.json"})

# ELF: machine numbers of the generic ABI, and the name Greengrass has for the architecture.
ELF_MACHINES = {183: "aarch64", 62: "amd64", 40: "arm", 3: "x86"}
ELF_64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"

OF_GREENGRASS = frozenset(
    {"leading-bytes", "entry-storage", "links", "entry-paths", "unique-paths", "component-size", "device-store"}
)
"""The rules of Greengrass itself, for any component; the others are those of the server component that runs models."""

SHOWN = 3
"""How many of the breaches of one rule its finding names."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `breaches` names each place that breaks it; `consequence` and `next_step` are sentences for people."""

    id: str
    consequence: str
    next_step: str
    breaches: Callable[[CheckedComponent], Iterable[str]]


def check(listing: ComponentListing, target: Target | None = None) -> list[Finding]:
    """One finding for each rule that the component breaks, in the order of RULES; none when a device would take it.

    With a target, also what that target needs, and only what Greengrass needs where no server component runs there.
    Never raises, whatever the component holds.
    """
    component = CheckedComponent(listing, target)
    rules = RULES if target is None or target.dependency else [each for each in RULES if each.id in OF_GREENGRASS]
    return [finding for rule in rules if (finding := _finding(rule, component))]


def refuse_if_strict(findings: Sequence[Finding], *, strict: bool) -> None:
    """In strict mode, ComponentRefusedError when there is any finding; `findings` on the error lists them."""
    if strict and findings:
        raise ComponentRefusedError(
            f"The component breaks {len(findings)} of the device's rules: "
            + " ".join(f"({each.rule}) {each.message}" for each in findings),
            next_step=" ".join(dict.fromkeys(each.next_step for each in findings)),
            findings=[asdict(each) for each in findings],
        )


def _finding(rule: Rule, component: CheckedComponent) -> Finding | None:
    breaches = iter(rule.breaches(component))
    shown = list(islice(breaches, SHOWN))
    if not shown:
        return None
    more = sum(1 for _ in breaches)
    return Finding(
        rule=rule.id,
        message=f"{'; '.join(shown)}{f'; and {more} more' if more else ''}. {rule.consequence}",
        next_step=rule.next_step,
        subject=printable(component.listing.file_name),
    )


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"'{printable(value[:120])}'"
    return "missing" if value is None else "no text"


def _manifest(component: CheckedComponent) -> Iterator[str]:
    listing = component.listing
    if listing.manifest is None:
        unreadable = any(each.name == MANIFEST for each in component.scan.unreadable)
        if not unreadable:  # how an entry is stored is another rule's finding
            yield f"There is no readable {MANIFEST} at the root"
        return
    try:
        read_json(listing.manifest, MANIFEST)
    except ManifestError as error:
        yield error.message.rstrip(".")
        return
    dataset = component.manifest.get("dataset")
    sides = [dataset.get(side) for side in ("image_width", "image_height")] if isinstance(dataset, dict) else [None]
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        yield f"{MANIFEST} has no dataset with a positive image_width and image_height"


def _graph_type(component: CheckedComponent) -> Iterator[str]:
    kind, found = component.graph.get("model_graph_type"), len(component.stages)
    needed = STAGES_OF_GRAPH.get(kind) if isinstance(kind, str) else None
    if needed is None and component.manifest:
        yield f"model_graph.model_graph_type is {_shown(kind)}, not one of {', '.join(STAGES_OF_GRAPH)}"
    elif needed is not None and found != needed:
        yield f"model_graph.model_graph_type {kind} needs {needed} stages, and there are {found}"


def _stage_folders(component: CheckedComponent) -> Iterator[str]:
    for number, stage in enumerate(component.stages, start=1):
        kind = stage.get("type")
        if not isinstance(kind, str):
            yield f"The type of stage {number} is {_shown(kind)}"
        elif kind not in component.scan.folders:
            yield f"There are no files in a folder {_shown(kind)} for stage {number}"


def _first_stage(component: CheckedComponent) -> Iterator[str]:
    for first in component.stages[:1]:
        missing = [field for field in FIRST_STAGE_FIELDS if field not in first]
        if missing:
            yield f"Stage 1 lacks {', '.join(missing)}"


def _model_folders(component: CheckedComponent) -> Iterator[tuple[str, dict[str, ComponentEntry]]]:
    """The folder of each stage that has one, with the files of its model by path."""
    for kind in dict.fromkeys(kind for stage in component.stages if isinstance(kind := stage.get("type"), str)):
        if kind in component.scan.folders:
            yield kind, component.scan.folders[kind]


def _compiled_files(component: CheckedComponent) -> Iterator[str]:
    model_files = _onnx_file if is_onnx(component.manifest) else _neo_files
    for kind, files in _model_folders(component):
        for breach in model_files(component, files):
            yield f"In {_shown(kind)} there {breach}"


def _onnx_file(component: CheckedComponent, files: Mapping[str, ComponentEntry]) -> Iterator[str]:
    artifact = component.manifest.get("runtime_artifact")
    if isinstance(artifact, str) and artifact in files:  # the device looks for this very path
        return
    deeper = [path for path in files if isinstance(artifact, str) and path.endswith(f"/{artifact}")]
    where = f"; {_shown(deeper[0])} lies too deep" if deeper else ""
    yield f"is no file for runtime_artifact, which is {_shown(artifact)}{where}"


def _neo_files(_: CheckedComponent, files: Mapping[str, ComponentEntry]) -> Iterator[str]:
    form = _neo_form(files)
    for ending in form:
        found = [path for path in _neo_set(files) if path.endswith(ending)]
        if not found:
            deeper = [path for path in files if path.endswith(ending) and "/" in path]
            yield f"is no *{ending}" + (f" at the top; {_shown(deeper[0])} lies too deep" if deeper else "")
        elif len(found) > 1:
            listed = ", ".join(_shown(path) for path in found[:SHOWN])
            yield f"are {len(found)} *{ending} instead of one ({listed}{_of_macos(found)})"


def _neo_form(files: Iterable[str]) -> tuple[str, ...]:
    return RELAY_VM if any(path.endswith(".ro") and "/" not in path for path in files) else GRAPH_RUNTIME


def _neo_set(files: Iterable[str]) -> list[str]:
    """The files that DLR looks at: those of one folder, and none below it."""
    return [path for path in files if "/" not in path and path not in NO_MODEL_FILES]


def _of_macos(paths: Iterable[str]) -> str:
    companions = [path for path in paths if basename(path).startswith("._")]
    return f"; {_shown(companions[0])} is a companion of macOS (AppleDouble)" if companions else ""


def _empty_files(component: CheckedComponent) -> Iterator[str]:
    for kind, files in _model_folders(component):
        if is_onnx(component.manifest):
            artifact = component.manifest.get("runtime_artifact")
            needed = [path for path in files if path.endswith(".onnx") or path == artifact]
        else:
            endings = _neo_form(files)  # looks at every path
            needed = [path for path in _neo_set(files) if path.endswith(endings)]
        for path in needed:
            if not files[path].size_bytes:
                yield f"{_shown(f'{kind}/{path}')} is empty"


def _libraries(component: CheckedComponent) -> Iterator[str]:
    wanted = component.target.architecture if component.target else ""
    for kind, files in _model_folders(component):
        for path, entry in files.items():
            if not entry.head:  # nobody looked into it, or it is empty
                continue
            machine = _machine(entry.head)
            if not machine:
                yield f"{_shown(f'{kind}/{path}')} is no shared library (ELF)"
            elif wanted and machine != wanted:
                yield f"{_shown(f'{kind}/{path}')} is for {machine}, not for {wanted}"
            wanted = wanted or machine


def _machine(head: bytes) -> str:
    """What an ELF library runs on; empty when it is no such library."""
    if not head.startswith(b"\x7fELF") or len(head) < HEAD_BYTES:
        return ""
    if not head.startswith(ELF_64_LITTLE_ENDIAN):
        return "a processor of another kind (not 64 bits, little-endian)"
    number = int.from_bytes(head[18:20], "little")
    return ELF_MACHINES.get(number, f"ELF machine {number}")


def _target_runtime(component: CheckedComponent) -> Iterator[str]:
    runs_onnx = component.target is not None and component.target.runs_compiled_onnx
    if runs_onnx and component.manifest and not is_onnx(component.manifest):
        yield f"The target runs ONNX models, and {MANIFEST} does not say runtime: onnx"


def _reserved_names(component: CheckedComponent) -> Iterator[str]:
    # The converter links every name at the root beside its own files.
    return (f"There is an entry {name} at the root" for name in sorted(component.scan.at_root))


def _entry_storage(component: CheckedComponent) -> Iterator[str]:
    for each in component.scan.unreadable:
        if each.is_encrypted:
            yield f"{_shown(each.name)} is encrypted"
        else:
            yield f"{_shown(each.name)} is compressed by method {each.method}, not stored (0) or deflated (8)"


def _links(component: CheckedComponent) -> Iterator[str]:
    return (f"{_shown(name)} is a link" for name in component.scan.links)


def _entry_paths(component: CheckedComponent) -> Iterator[str]:
    return (f"{_shown(name)} {fault}" for name, fault in component.scan.misplaced)


def _unique_paths(component: CheckedComponent) -> Iterator[str]:
    for path, is_folder in component.scan.clashes():
        yield f"{_shown(path)} is {'both a file and a folder' if is_folder else 'there more than once'}"


def _file_name(component: CheckedComponent) -> Iterator[str]:
    name = component.listing.file_name
    if not name.endswith(FILE_NAME_ENDING) or name.count(".") != 1:
        yield f"The file is named {_shown(name)}"


def _component_size(component: CheckedComponent) -> Iterator[str]:
    size_bytes = component.listing.size_bytes
    if size_bytes > COMPONENT_BUDGET_BYTES:
        yield f"The component has {in_units(size_bytes)} ({size_bytes} bytes), above {COMPONENT_BUDGET_BYTES} bytes"


def _device_store(component: CheckedComponent) -> Iterator[str]:
    unpacked_bytes = component.scan.unpacked_bytes
    needed_bytes = component.listing.size_bytes + unpacked_bytes
    if needed_bytes > DEVICE_STORE_BYTES:
        yield (
            f"Packed and unpacked it takes {in_units(needed_bytes)} ({needed_bytes} bytes, {unpacked_bytes} of them "
            f"unpacked), above {DEVICE_STORE_BYTES} bytes"
        )


def _leading_bytes(component: CheckedComponent) -> Iterator[str]:
    if count := component.listing.leading_bytes:
        yield f"{count} bytes stand before the first entry"


NOT_LOADED = "The model cannot be loaded on the device."

RULES = (
    Rule(
        "manifest",
        "The device's converter exits and the component becomes BROKEN.",
        "Package the model again from its trained artifact.",
        _manifest,
    ),
    Rule(
        "graph-type",
        NOT_LOADED,
        "Export the model with a model_graph_type the device knows, and as many stages as it needs.",
        _graph_type,
    ),
    Rule(
        "stage-folders",
        NOT_LOADED,
        "Compile every stage and put each artifact into a folder named like the stage's type.",
        _stage_folders,
    ),
    Rule("first-stage", NOT_LOADED, "Export the model with these fields in model_graph.stages[0].", _first_stage),
    Rule(
        "compiled-files",
        "The runtime on the device throws.",
        "Compile the model again, and package the whole artifact of that job, its files at the top, and nothing else.",
        _compiled_files,
    ),
    Rule(
        "empty-files",
        NOT_LOADED,
        "Look at the artifact in its store, and compile or export the model again.",
        _empty_files,
    ),
    Rule(
        "library-machine",
        NOT_LOADED,
        "Compile the model for the architecture of this target, or name the target that it was compiled for.",
        _libraries,
    ),
    Rule(
        "reserved-names",
        "The device's converter writes its own file of that name and fails.",
        "Rename the entry, or the stage type it comes from.",
        _reserved_names,
    ),
    Rule(
        "leading-bytes",
        "Readers that go from front to back unpack what stands there instead.",
        "Package the component again: nothing may be put before it.",
        _leading_bytes,
    ),
    Rule(
        "entry-storage",
        "The device cannot unpack the component.",
        "Write the ZIP again with entries stored or deflated and without a password.",
        _entry_storage,
    ),
    Rule(
        "links",
        "Devices write a small text file in place of a link.",
        "Put the files themselves into the component.",
        _links,
    ),
    Rule(
        "entry-paths",
        "The device drops everything it has unpacked, or cannot unpack it at all.",
        "Name entries in UTF-8, relative to the root, in plain segments of at most 255 bytes.",
        _entry_paths,
    ),
    Rule(
        "unique-paths",
        "The device keeps one of them, not always the last, or fails to unpack.",
        "Give every file a path of its own.",
        _unique_paths,
    ),
    Rule(
        "file-name",
        "The device unpacks it into a folder where nothing looks for it.",
        f"Name the file <id>_{FILE_NAME_ENDING}, without another dot.",
        _file_name,
    ),
    Rule(
        "component-size",
        "Greengrass is expected to refuse it when it is published.",
        "Make the model smaller: half precision, pruning, or fewer files in the compiled artifact.",
        _component_size,
    ),
    Rule(
        "device-store",
        "With default settings the deployment fails on the device.",
        "Make the model smaller, or raise componentStoreMaxSizeBytes of the nucleus on these devices.",
        _device_store,
    ),
    Rule(
        "target-runtime",
        NOT_LOADED,
        "Package the ONNX export for this target, or name the target the artifact was compiled for.",
        _target_runtime,
    ),
)
