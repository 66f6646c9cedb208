"""What Greengrass nucleus lite does not read of a recipe that nucleus classic takes.

https://github.com/aws-greengrass/aws-greengrass-lite/blob/main/docs/RECIPE_SUPPORT_CHANGES.md, and its sources:
modules/ggl-recipe/src/recipe.c (manifests, keys), modules/recipe2unit/src/unit_file_generator.c (phases).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from packager.device import recipe_reference as reference
from packager.device.recipe_variables import texts_of_lifecycles
from packager.errors import printable
from packager.results import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OF_A_DEPENDENCY = re.compile(r"(?<!\$)\{[.\w-]+:(?:configuration|artifacts|work):[^:{}\n]+\}")


def lite_findings(recipe: Mapping[str, Any]) -> list[Finding]:
    """What nucleus lite passes over or refuses; one finding when no manifest is for it."""
    manifests = recipe.get("Manifests")
    listed = manifests if isinstance(manifests, list) else []
    if listed and not any(_is_for_lite(each) for each in listed):
        what = "skips this recipe: no manifest has Platform.runtime '*' or aws_nucleus_lite."
        step = 'Add runtime: "*" to the platforms that both nuclei run, or nothing when no device has nucleus lite.'
        return [_finding("runtime", what, step, "Manifests")]
    return [*_top(recipe), *_of_manifests(listed, recipe), *_variables(recipe)]


def _finding(rule: str, what: str, next_step: str, where: str) -> Finding:
    return Finding(f"lite-{rule}", f"Nucleus lite {what}", next_step, where)


def _is_for_lite(manifest: object) -> bool:
    platform = manifest.get("Platform") if isinstance(manifest, dict) else None
    return isinstance(platform, dict) and platform.get("runtime") in reference.LITE_RUNTIMES


def _top(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _case(recipe, reference.TOP, "")
    kind = recipe.get("ComponentType", "aws.greengrass.generic")
    if kind != "aws.greengrass.generic":
        yield _finding(
            "type", f"runs generic components only, not {printable(kind)}.", "Keep it to classic.", "ComponentType"
        )
    if "\n" in str(recipe.get("ComponentDescription", "")).strip():
        what = "writes the description into one line of a unit file, and it has several."
        yield _finding("description", what, "Say it in one line.", "ComponentDescription")


def _of_manifests(manifests: list[Any], recipe: Mapping[str, Any]) -> Iterator[Finding]:
    for number, manifest in enumerate(manifests):
        where = f"Manifests[{number}]"
        if isinstance(manifest, dict) and "Platform" not in manifest:
            yield _finding("runtime", f"refuses the recipe: {where} has no Platform.", "Give it one.", where)
        if _is_for_lite(manifest):
            yield from _manifest(manifest, where, recipe)


def _manifest(manifest: Mapping[str, Any], where: str, recipe: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _case(manifest, reference.MANIFEST, f"{where}.")
    yield from _case(manifest["Platform"], reference.PLATFORM, f"{where}.Platform.")
    lifecycle, path = manifest.get("Lifecycle"), f"{where}.Lifecycle"
    if not lifecycle:
        selected = recipe.get("Lifecycle")
        lifecycle, path = (selected.get("all") if isinstance(selected, dict) else None), "Lifecycle.all"
    if not isinstance(lifecycle, dict) or not any(reference.same_key(key, reference.PHASES) for key in lifecycle):
        yield _finding(
            "phases", f"refuses {where}, which has no phase.", "Give it one, such as install: 'true'.", where
        )
        return
    yield from _case(lifecycle, reference.LIFECYCLE, f"{path}.")
    for key, step in lifecycle.items():
        yield from _phase(key, step, f"{path}.{printable(key)}")


def _phase(key: str, step: object, where: str) -> Iterator[Finding]:
    if key.lower() in reference.NOT_IN_LITE:
        step_to = "Do without it: clean up at the next start, or let the process end on SIGTERM."
        yield _finding("phases", f"never runs {where}.", step_to, where)
    if isinstance(step, dict) and key.lower() in reference.PHASES:
        yield from _case(step, reference.STEP, f"{where}.")
        if any(name.lower() == "skipif" for name in step):
            yield _finding("skipif", f"runs {where} whatever its Skipif says.", "Test for it in the script.", where)


def _case(mapping: object, known: tuple[str, ...], above: str) -> Iterator[Finding]:
    for key in mapping if isinstance(mapping, dict) else ():
        right = reference.same_key(key, known)
        if right and right != key:
            where = f"{above}{printable(key)}"
            yield _finding("keys", f"does not find {where}.", f"Write {right}, which both nuclei read.", where)


def _variables(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    for where, text in texts_of_lifecycles(recipe):
        for found in _OF_A_DEPENDENCY.finditer(text):
            what = f"leaves {printable(found[0])} as it is, in {where}."
            yield _finding("macros", what, "Pass the value by a configuration key of this component.", where)
