"""Files of JSON or YAML, as somebody else wrote them: CloudFormation's short forms, names that are numbers, aliases.

Names are text, as in JSON. What would be lost in silence (a resource that stands twice) or never end (aliases of
aliases) is refused.
"""

from __future__ import annotations

import json
import re
from functools import partial, partialmethod
from typing import TYPE_CHECKING, Any

from dashboards.cloudwatch.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

_INTEGER = "tag:yaml.org,2002:int"
_MOST_VALUES = 2_000_000
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "null")}


def load(path: Path) -> object:
    """Return the JSON or YAML of a file; CloudFormation's short forms (`!Ref`) read as their long ones."""
    if path.suffix in {".tf", ".hcl"}:
        raise DefinitionError(f"{path} is Terraform's own language; give the output of terraform show -json")
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{path} cannot be read: {error}") from error
    return parsed(text, str(path), yaml_too=path.suffix != ".json")


def parsed(text: str, where: str, *, yaml_too: bool = True) -> object:
    """Return the value of JSON or YAML; of several documents of YAML a list."""
    import yaml  # noqa: PLC0415  reading recordings needs it not

    try:
        return _value(text, yaml_too=yaml_too)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DefinitionError(f"{where} cannot be read: {error}") from error


def _value(text: str, *, yaml_too: bool) -> object:
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text, object_pairs_hook=_object)
        except json.JSONDecodeError:
            if not yaml_too:
                raise
    import yaml  # noqa: PLC0415  reading JSON needs it not

    documents = list(yaml.load_all(text, _loader()))  # a SafeLoader
    return _bounded(documents[0] if len(documents) == 1 else documents)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON; a resource that stands twice would be lost in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, value in pairs if isinstance(value, dict) and "Type" in value]
        _refuse_twice(names)
    return found


def _refuse_twice(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DefinitionError(f"the resource {twice[0]} stands twice")


def _loader() -> Any:  # noqa: ANN401  a class of PyYAML's
    import yaml  # noqa: PLC0415  see above

    # A class of our own, since what is registered changes the class; libyaml's is ten times as fast where it is there.
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (base,), {"construct_mapping": partialmethod(_mapping, base.construct_mapping)})
    loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] not in {_INTEGER, "tag:yaml.org,2002:timestamp"}]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    # `0x60` is the text it is: a series of zeros, not the number 96. A date stays text as well, as in JSON.
    loader.add_implicit_resolver(_INTEGER, re.compile(r"[-+]?(?:0|[1-9]\d*)$"), list("-+0123456789"))
    loader.add_multi_constructor("!", _intrinsic)
    return loader


def _bounded(data: object) -> object:
    """Return what YAML gave; refuse aliases that stand for more than can be read, or for themselves."""
    sizes: dict[int, int] = {}

    def size(value: Any) -> int:  # noqa: ANN401  YAML of any shape
        if not isinstance(value, dict | list):
            return 1
        if id(value) not in sizes:
            sizes[id(value)] = _MOST_VALUES  # of what it is in itself
            inside = value.values() if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(map(size, inside))
        return sizes[id(value)]

    if size(data) >= _MOST_VALUES:
        raise DefinitionError(f"its aliases stand for themselves, or for {_MOST_VALUES} values and more")
    return data


def _mapping(loader: Any, construct: Any, node: Any, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  PyYAML's
    """Return a mapping whose names are text, as in JSON: an account's number, `No`, `On`."""
    pairs = node.value if isinstance(node.value, list) else []
    for key, _ in pairs:
        if key.tag in _PLAIN:
            key.tag = "tag:yaml.org,2002:str"
    _refuse_twice([str(key.value) for key, value in pairs if _is_resource(value)])
    return construct(loader, node, deep=deep)


def _is_resource(node: Any) -> bool:  # noqa: ANN401  a node of PyYAML's
    inside = node.value if isinstance(node.value, list) else []
    return any(isinstance(pair, tuple) and pair[0].value == "Type" for pair in inside)


def _intrinsic(loader: Any, suffix: str, node: Any) -> dict[str, object]:  # noqa: ANN401  the types of PyYAML
    """Return a short form of CloudFormation (`!Sub`) as its long one (`Fn::Sub`)."""
    construct = {"scalar": loader.construct_scalar, "sequence": partial(loader.construct_sequence, deep=True)}
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    return {name: construct.get(node.id, partial(loader.construct_mapping, deep=True))(node)}
