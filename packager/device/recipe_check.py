"""A recipe held against the published reference: one finding for each place that Greengrass or a nucleus refuses.

Findings whose rule begins with `lite-` are about Greengrass nucleus lite alone; others are about every nucleus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packager.device import recipe_reference as reference
from packager.device.lite import lite_findings
from packager.device.recipe_file import read_recipe_source, render_json
from packager.device.recipe_variables import variable_findings
from packager.errors import printable
from packager.results import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packager.stores import Source

LITE = "lite-"
"""What the names of the rules that nucleus lite alone has begin with."""

MAX_FINDINGS = 100


def check_recipe(recipe: Any) -> list[Finding]:  # noqa: ANN401  any plain value
    """The first MAX_FINDINGS places at which a recipe breaks the reference; none when both nuclei take it."""
    if not isinstance(recipe, dict):
        return [_finding("keys", "the recipe", "is no mapping", "Begin with RecipeFormatVersion and ComponentName.")]
    found = [*_top(recipe), *variable_findings(recipe), *lite_findings(recipe)]
    size_bytes = len(render_json(recipe))
    if size_bytes > reference.MAX_RECIPE_BYTES:
        what = f"has {size_bytes} bytes as JSON, above {reference.MAX_RECIPE_BYTES}"
        found.append(_finding("size", "the recipe", what, "Move long scripts into the component."))
    return found[:MAX_FINDINGS]


def is_recipe(uri: str) -> bool:
    """Whether a path or URI is that of a recipe, by its ending; what is piped in is one."""
    return uri == "-" or uri.endswith((".json", ".yaml", ".yml"))


def check_recipe_file(source: Source) -> list[Finding]:
    """As check_recipe, for a recipe in a file or object. RequestError when it cannot be read as one."""
    recipe, _ = read_recipe_source(source)
    return check_recipe(recipe)


def _finding(rule: str, where: str, what: str, next_step: str) -> Finding:
    return Finding(f"recipe-{rule}", f"{where} {what}.", next_step, where)


def _top(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _keys(recipe, reference.TOP, "")
    yield from _one_of(recipe, "RecipeFormatVersion", (reference.FORMAT_VERSION,), "", required=True)
    yield from _text(recipe, "ComponentName", reference.NAME, reference.MAX_NAME_LENGTH)
    yield from _text(recipe, "ComponentVersion", reference.SEMANTIC_VERSION, reference.MAX_VERSION_LENGTH)
    yield from _one_of(recipe, "ComponentType", reference.COMPONENT_TYPES, "")
    for key in ("ComponentDescription", "ComponentPublisher"):
        value = get(recipe, key)
        if value is not None and not isinstance(value, str):
            yield _finding("values", key, "is no text", "Put it in quotes.")
        elif value and any("\ud800" <= each <= "\udfff" for each in value):
            yield _finding("values", key, "is no Unicode text", "Write it in UTF-8.")
    yield from _configuration(recipe)
    for name, dependency in _mapping_items(get(recipe, "ComponentDependencies")):
        yield from _dependency(dependency, f"ComponentDependencies.{printable(name)}")
    yield from _lifecycle(get(recipe, "Lifecycle"), "Lifecycle", selections=True)
    yield from _manifests(get(recipe, "Manifests"))


def _configuration(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    configuration = get(recipe, "ComponentConfiguration")
    if configuration is None:
        return
    if not isinstance(configuration, dict):
        yield _finding("values", "ComponentConfiguration", "is no mapping", "Put DefaultConfiguration below it.")
    else:
        yield from _keys(configuration, reference.CONFIGURATION, "ComponentConfiguration.")


def _dependency(dependency: object, where: str) -> Iterator[Finding]:
    if not isinstance(dependency, dict):
        yield _finding("values", where, "is no mapping", "Give it a VersionRequirement, such as '^1.0.0'.")
        return
    yield from _keys(dependency, reference.DEPENDENCY, f"{where}.")
    yield from _one_of(dependency, "DependencyType", reference.DEPENDENCY_TYPES, f"{where}.")
    requirement = get(dependency, "VersionRequirement")
    if not isinstance(requirement, str) or not reference.is_requirement(requirement):
        said = "has no VersionRequirement" if requirement is None else "has a VersionRequirement that is none"
        yield _finding("values", where, said, "Say which versions will do, such as '^1.0.0' or '>=2.0.0 <3.0.0'.")


def _manifests(manifests: object) -> Iterator[Finding]:
    if not isinstance(manifests, list) or not manifests:
        yield _finding("values", "Manifests", "is no list of manifests", "Give one manifest for each platform.")
        return
    for number, manifest in enumerate(manifests):
        where = f"Manifests[{number}]"
        if not isinstance(manifest, dict):
            yield _finding("values", where, "is no mapping", "Give it a Platform, a Lifecycle and Artifacts.")
            continue
        yield from _keys(manifest, reference.MANIFEST, f"{where}.")
        yield from _platform(get(manifest, "Platform"), f"{where}.Platform")
        yield from _lifecycle(get(manifest, "Lifecycle"), f"{where}.Lifecycle", selections=False)
        yield from _artifacts(get(manifest, "Artifacts"), f"{where}.Artifacts")


def _platform(platform: object, where: str) -> Iterator[Finding]:
    if platform is None:
        return
    if not isinstance(platform, dict):
        yield _finding("platforms", where, "is no mapping", "Give it an os, an architecture and a runtime.")
        return
    for key in platform:  # attributes of one's own are allowed: only misspellings can be told
        if not reference.same_key(key, reference.PLATFORM) and (right := reference.nearest(key, reference.PLATFORM)):
            yield _finding("keys", f"{where}.{printable(key)}", "is no key", f"Did you mean {right}?")
    for key, known in (
        ("os", reference.OPERATING_SYSTEMS),
        ("architecture", reference.ARCHITECTURES),
        ("runtime", reference.RUNTIMES),
    ):
        value = get(platform, key)
        is_pattern = isinstance(value, str) and value.startswith("/") and value.endswith("/")
        if value is not None and not is_pattern:
            yield from _one_of(platform, key, known, f"{where}.", rule="platforms")


def _lifecycle(lifecycle: object, where: str, *, selections: bool) -> Iterator[Finding]:
    if lifecycle is None:
        return
    if not isinstance(lifecycle, dict):
        yield _finding("values", where, "is no mapping", "Put phases below it, such as run.")
        return
    phases = set()
    for key, step in lifecycle.items():
        below = f"{where}.{printable(key)}"
        phase = reference.same_key(key, reference.LIFECYCLE)
        phases.add(phase)
        if phase == "Setenv":
            yield from _environment(step, below)
        elif phase:
            yield from _step(step, below, selections=selections)
        elif selections and isinstance(step, dict) and not reference.nearest(key, reference.LIFECYCLE):
            yield from _lifecycle(step, below, selections=False)
        else:
            yield _unknown(key, reference.LIFECYCLE, below)
    if {"run", "startup"} <= phases:
        yield _finding("values", where, "has run and startup", "Keep one: startup ends, run goes on.")


def _step(step: object, where: str, *, selections: bool) -> Iterator[Finding]:
    if isinstance(step, str) and step.strip():
        return
    if not isinstance(step, dict):
        yield _finding("values", where, "is no script", "Give it a Script.")
        return
    if selections and not any(reference.same_key(key, reference.STEP) for key in step):
        for key, inner in step.items():
            yield from _step(inner, f"{where}.{printable(key)}", selections=False)
        return
    yield from _keys(step, reference.STEP, f"{where}.")
    script, timeout, skip_if = (get(step, key) for key in ("Script", "Timeout", "Skipif"))
    if not isinstance(script, str) or not script.strip():
        yield _finding("values", where, "has no Script", "Say what the phase runs.")
    if timeout is not None and not _is_count(timeout):
        yield _finding("values", f"{where}.Timeout", "is no number of seconds", "Give a whole number.")
    if str(get(step, "RequiresPrivilege", default=False)).lower() not in {"true", "false"}:
        yield _finding("values", f"{where}.RequiresPrivilege", "is neither true nor false", "Give one of them.")
    if skip_if is not None and not (isinstance(skip_if, str) and skip_if.split(" ")[0].lower() in {"onpath", "exists"}):
        yield _finding("values", f"{where}.Skipif", "is no condition", "Write 'onpath PROGRAM' or 'exists FILE'.")
    yield from _environment(get(step, "Setenv"), f"{where}.Setenv")


def _is_count(value: object) -> bool:
    if isinstance(value, str):
        return (value.isascii() and value.isdigit()) or value.startswith("{configuration:")
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _environment(values: object, where: str) -> Iterator[Finding]:
    plain = isinstance(values, dict) and not any(isinstance(each, dict | list) for each in values.values())
    if values is not None and not plain:
        yield _finding("values", where, "is no mapping of names to texts", "Give NAME: value.")


def _artifacts(artifacts: object, where: str) -> Iterator[Finding]:
    if artifacts is None:
        return
    if not isinstance(artifacts, list):
        yield _finding("values", where, "is no list", "Begin each artifact with a dash.")
        return
    for number, artifact in enumerate(artifacts):
        yield from _artifact(artifact, f"{where}[{number}]")


def _artifact(artifact: object, where: str) -> Iterator[Finding]:
    if not isinstance(artifact, dict):
        yield _finding("values", where, "is no mapping", "Give it a Uri.")
        return
    yield from _keys(artifact, reference.ARTIFACT, f"{where}.")
    yield from _one_of(artifact, "Unarchive", reference.UNARCHIVE, f"{where}.")
    yield from _one_of(artifact, "Algorithm", reference.ALGORITHMS, f"{where}.")
    uri = get(artifact, "Uri")
    if not isinstance(uri, str) or not reference.ARTIFACT_URI.fullmatch(uri):
        yield _finding("values", f"{where}.Uri", "is no URI of an artifact", "Give s3://BUCKET/KEY.")
    permission = get(artifact, "Permission")
    if isinstance(permission, dict):
        yield from _keys(permission, reference.PERMISSION, f"{where}.Permission.")
        for key in reference.PERMISSION:
            yield from _one_of(permission, key, reference.ACCESS, f"{where}.Permission.")
    elif permission is not None:
        yield _finding("values", f"{where}.Permission", "is no mapping", "Give it Read and Execute.")


def _keys(mapping: Mapping[str, Any], known: Sequence[str], above: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for key in mapping:
        right = reference.same_key(key, known)
        if not right:
            yield _unknown(key, known, f"{above}{printable(key)}")
        elif right in seen:
            yield _finding("keys", f"{above}{printable(key)}", "is there twice, in two spellings", f"Keep {right}.")
        seen.add(right)


def _unknown(key: str, known: Sequence[str], where: str) -> Finding:
    right = reference.nearest(key, known)
    return _finding("keys", where, "is no key", f"Did you mean {right}?" if right else f"Known: {', '.join(known)}.")


def _one_of(  # noqa: PLR0913  what is looked at, and what is said of it
    mapping: Mapping[str, Any],
    key: str,
    known: Sequence[str],
    above: str,
    *,
    required: bool = False,
    rule: str = "values",
) -> Iterator[Finding]:
    value = get(mapping, key)
    if value is None and not required:
        return
    if not isinstance(value, str) or value not in known:
        right = reference.nearest(value, known) if isinstance(value, str) else ""
        step = f"Did you mean {right}?" if right else f"Known: {', '.join(known)}."
        yield _finding(rule, f"{above}{key}", f"is {_shown(value)}", step)


def _text(recipe: Mapping[str, Any], key: str, pattern: Any, longest: int) -> Iterator[Finding]:  # noqa: ANN401  re's
    value = get(recipe, key)
    if not isinstance(value, str):
        step = "Put it in quotes." if value is not None else f"Give a {key}."
        yield _finding("values", key, f"is {_shown(value)}", step)
    elif not pattern.fullmatch(value) or len(value) > longest:
        step = "Letters, digits, '.', '_' and '-'." if key == "ComponentName" else "A semantic version, such as 1.0.0."
        yield _finding("values", key, f"is {_shown(value)}, of at most {longest} characters", step)


def _shown(value: object) -> str:
    return "missing" if value is None else f"'{printable(value, 80)}'"


def _mapping_items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def get(mapping: object, key: str, *, default: Any = None) -> Any:  # noqa: ANN401  any plain value
    """The value of a key in any case; the default when it is not there, or there is no mapping."""
    if not isinstance(mapping, dict):
        return default
    return next((value for name, value in mapping.items() if name.lower() == key.lower()), default)
