"""Recipes as files: JSON or YAML, read as Greengrass reads them and written in the format they came in."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from packager.errors import ManifestError, RequestError, printable
from packager.model.strict import read_json

if TYPE_CHECKING:
    from packager.stores import Source

MAX_FILE_BYTES = 64_000
"""What a template may have, with its comments."""

_MAX_DEPTH = 40

# Scalars as YAML 1.2 has them: what YAML 1.1 adds (yes and no, dates, base 60) makes of a version a date.
_SCALARS = {
    "tag:yaml.org,2002:bool": r"true|True|TRUE|false|False|FALSE",
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9]{0,300})",
    "tag:yaml.org,2002:float": r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?",
    "tag:yaml.org,2002:null": r"~|null|Null|NULL|",
}


def read_recipe(data: bytes, name: str) -> tuple[Any, bool]:
    """The value in a recipe or template, and whether it is JSON; RequestError names the file and what is wrong."""
    if len(data) > MAX_FILE_BYTES:
        raise _refused(name, f"it has more than {MAX_FILE_BYTES} bytes")
    is_json = data.lstrip()[:1] == b"{"
    try:
        value = read_json(data, name) if is_json else _read_yaml(data)
        # What cannot be written again: numbers beyond all bounds, halves of characters.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ManifestError as error:
        raise _refused(name, error.figures["reason"]) from error
    except (ValueError, RecursionError) as error:
        raise _refused(name, error) from error
    return value, is_json


def read_recipe_source(source: Source) -> tuple[Any, bool]:
    """As read_recipe, of a file, an object or what is piped in."""
    data = b""
    with source.open() as reader:
        while len(data) <= MAX_FILE_BYTES and (more := reader.read(MAX_FILE_BYTES + 1 - len(data))):
            data += more
    return read_recipe(data, source.uri)


def render_json(recipe: Any) -> bytes:  # noqa: ANN401  any plain value
    return json.dumps(recipe, indent=2, ensure_ascii=True).encode("ascii") + b"\n"


def render_yaml(recipe: Any) -> bytes:  # noqa: ANN401  any plain value
    """The recipe as YAML, in the order of its keys; texts of several lines as blocks."""
    import yaml  # noqa: PLC0415  kept off the path of --help

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _: object) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        # Line ends besides \n, which the library writes as they are and reads as spaces, are escaped in quotes only.
        plain = value.replace("\n", "").replace("\t", "").isprintable()
        style = ("|" if "\n" in value else None) if plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    for tag, pattern in _SCALARS.items():  # besides those of YAML 1.1: a text that either reads as a number is quoted
        Dumper.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), None)
    made: str = yaml.dump(recipe, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return made.encode()


def _refused(name: str, reason: object) -> RequestError:
    shown = printable(" ".join(str(reason).split()), 300)
    return RequestError(
        f"The recipe {printable(name, 300)} cannot be read: {shown}.",
        next_step="Write it as UTF-8 JSON or YAML, without anchors and tags.",
        field="recipe",
        found=shown,
    )


def _read_yaml(data: bytes) -> Any:  # noqa: ANN401  any plain value
    import yaml  # noqa: PLC0415  kept off the path of --help

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  of the library's class

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  the library's
            value = super().construct_mapping(node, deep=deep)
            if len(value) != len(node.value) or not all(isinstance(key, str) for key in value):
                raise yaml.YAMLError(f"{node.start_mark}: a key is there twice, or is no text")
            return value

    for tag, pattern in _SCALARS.items():
        Loader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), None)
    try:
        _refuse_expansion(yaml, data.decode("utf-8"))
        return yaml.load(data.decode("utf-8"), Loader=Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _refuse_expansion(yaml: Any, text: str) -> None:  # noqa: ANN401  the module
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise ValueError(f"line {event.start_mark.line + 1} uses an anchor, an alias or a tag")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
