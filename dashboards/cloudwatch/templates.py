"""CloudFormation templates before a deployment: their resources, with all worked out that can be known by then.

What only a deployment knows becomes a placeholder that stays legible and equal to itself: `${Topic}`,
`${Select(1, Split("/", Listener))}`.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dashboards.cloudwatch.errors import DefinitionError

Json = Mapping[str, Any]
_NOTHING = object()
"""What `AWS::NoValue` stands for: the property is not there."""

_PSEUDO = {"AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}
_LOOP = "Fn::ForEach::"
_MOST_LOOPED = 10_000
_MOST_LETTERS = 1_000_000
"""Of a value, as of a whole template: functions within each other could double it without end."""
_CONDITIONS = {"Condition", "Fn::Equals", "Fn::Not", "Fn::And", "Fn::Or"}


_BROKEN = (DefinitionError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a resource raises when a function in it is given what it does not take."""


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DefinitionError) else f"it cannot be worked out: {error!r}"


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource with its properties worked out. `absent` says why it is not deployed, or that this is not known."""

    logical_id: str
    type: str
    properties: Json
    metadata: Json
    absent: str = ""


@dataclass
class Template:
    """A template with the values of its parameters.

    Attributes:
        given: Values for parameters, and for what AWS knows (`AWS::Region`), by name.
        names: What a reference to a resource gives, by logical id, where that is known.
        used: The parameters that were looked up and are not known.
        held: By their names the conditions that were worked out.
        left_out: By their names the loops that cannot be written out, and why.
    """

    body: Json
    given: Mapping[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    held: dict[str, bool | None] = field(default_factory=dict)

    def resources(self, wanted: Callable[[str], bool]) -> list[Resource]:
        """Return the resources of the wanted types. A name property that is known becomes what references give."""
        found = [(name, each) for name, each in self._written_out() if wanted(str(each.get("Type", "")))]
        absent = {name: self._named(name, each) for name, each in found}
        return [self._resource(name, each, absent[name]) for name, each in found]

    def _named(self, name: str, source: Json) -> str:
        """Note what references to a resource give; return why it is not there, empty when it is."""
        try:
            absent = self._absence(source)
            properties = source.get("Properties") or {}
            key = next((key for key in ("AlarmName", "DashboardName", "Name") if key in properties), None)
            if not absent:
                self.names[name] = str(self.value(properties[key])) if key else name
        except _BROKEN as error:
            return _reason(error)
        return absent

    def _resource(self, name: str, source: Json, absent: str) -> Resource:
        """Return a resource; one that cannot be worked out says so, and leaves the others whole."""
        kind, metadata = str(source["Type"]), source.get("Metadata")
        known = metadata if isinstance(metadata, Mapping) else {}
        try:
            properties = self.value(source.get("Properties") or {})
            if not isinstance(properties, Mapping):
                raise DefinitionError(f"its Properties are {properties!r}")
            return Resource(name, kind, properties, self.value(known), absent)
        except _BROKEN as error:
            return Resource(name, kind, {}, known, absent or _reason(error))

    def _written_out(self) -> Iterator[tuple[str, Json]]:
        """Yield every resource, those of loops (`Fn::ForEach`) written out; note the loops that cannot be."""
        for key, member in (self.body.get("Resources") or {}).items():
            try:
                found = self.looped({key: member})
            except _BROKEN as error:
                self.left_out[key] = _reason(error)
                continue
            yield from ((name, each) for name, each in found.items() if isinstance(each, Mapping))

    def looped(self, members: Json) -> dict[str, Any]:
        """Return members with every `Fn::ForEach::NAME: [variable, collection, body]` among them written out."""
        found: dict[str, Any] = {}
        for key, member in members.items():
            if not key.startswith(_LOOP):
                found[key] = member
                continue
            variable, collection, body = member
            values = self.value(collection)
            if not isinstance(values, list):
                text = f"{key}: its collection is {values}, which only a deployment knows"
                raise DefinitionError(text + self.hint(text))
            for value in values:
                found |= self.looped(_replaced(body, str(variable), str(value)))
                if len(found) > _MOST_LOOPED:
                    raise DefinitionError(f"{key}: more than {_MOST_LOOPED} resources")
        return found

    def _absence(self, resource: Json) -> str:
        if "Condition" not in resource:
            return ""
        self.used.clear()
        name = str(resource["Condition"])
        held = self.holds({"Condition": name})
        if held:
            return ""
        how = "does not hold" if held is False else "is for a deployment to decide"
        return f"its condition {name} {how}{self._with_values(name)}"

    def _with_values(self, condition: str) -> str:
        text = json.dumps(self.body.get("Conditions", {}).get(condition), default=str)
        names = sorted(self._behind(text, set()))
        known = [f"{name}={self._parameter(name)!r}" for name in names if self._parameter(name) is not None]
        said = f" with {', '.join(known)}" if known else ""
        return said + (f"; --parameter {names[0]}=VALUE" if names else "")

    def _behind(self, text: str, seen: set[str]) -> set[str]:
        """Return the parameters that a condition depends on, through others too."""
        names = set(re.findall(r'"Ref": "([^"]+)"', text))
        for other in set(re.findall(r'"(?:Condition)": "([^"]+)"', text)):
            if other not in seen:
                seen.add(other)
                inner = json.dumps(self.body.get("Conditions", {}).get(other), default=str)
                names |= self._behind(inner, seen)
        return names

    def hint(self, text: str) -> str:
        """Return how to say the first parameter that is not known, of those that a text names."""
        named = [name for name in sorted(self.used) if re.search(rf"\b{re.escape(name)}\b", text)]
        return f"; --parameter {named[0]}=VALUE" if named and "only a deployment knows" in text else ""

    def value(self, given: Any) -> Any:  # noqa: ANN401  JSON of any shape
        """Return a value with its intrinsic functions worked out, as far as they can be."""
        if isinstance(given, list):
            return [item for item in map(self.value, given) if item is not _NOTHING]
        if not isinstance(given, Mapping):
            return given
        if len(given) == 1:
            ((name, argument),) = given.items()
            if name in _FUNCTIONS:
                return _no_larger(_FUNCTIONS[name](self, argument), name)
            if name.startswith("Fn::") and not name.startswith(_LOOP):
                return placeholder(name[4:], argument if isinstance(argument, list) else [argument])
        pairs = ((key, self.value(item)) for key, item in self.looped(given).items())
        return {key: item for key, item in pairs if item is not _NOTHING}

    def _parameter(self, name: str) -> Any:  # noqa: ANN401  as `value`
        """Return the value of a parameter, None when only a deployment knows it."""
        definition = (self.body.get("Parameters") or {}).get(name) or {}
        kind = str(definition.get("Type", "String"))
        known: Any = self.given.get(name, _PSEUDO.get(name))
        if known is None and not kind.startswith("AWS::SSM::Parameter"):
            known = definition.get("Default")  # of an SSM parameter the default is only the name of the value
        if known is not None and (kind.startswith("List<") or kind == "CommaDelimitedList"):
            return [part.strip() for part in str(known).split(",")]
        return known

    def ref(self, name: str) -> Any:  # noqa: ANN401  as `value`
        if name == "AWS::NoValue":
            return _NOTHING
        if name in (self.body.get("Resources") or {}) and name in self.given:
            return self.given[name]
        if name in self.names:
            return self.names[name]
        known = self._parameter(name)
        if known is None:
            if name in (self.body.get("Parameters") or {}) or name.startswith("AWS::"):
                self.used.add(name)
            return f"${{{name}}}"
        return known

    def attribute(self, target: Any) -> str:  # noqa: ANN401  as `value`
        parts = str(target).split(".") if isinstance(target, str) else [str(self.value(part)) for part in target]
        path = ".".join(parts)
        return self.given.get(path) or self.names.get(parts[0], f"${{{path}}}")

    def substituted(self, target: Any) -> str:  # noqa: ANN401  as `value`
        text, own = (target, {}) if isinstance(target, str) else target

        @cache
        def known(name: str) -> str:
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            found = self.value(own[name]) if name in own else self.attribute(name) if "." in name else self.ref(name)
            return ",".join(map(str, found)) if isinstance(found, list) else str(found)

        return re.sub(r"\$\{([^{}]*)\}", lambda match: known(match[1].strip()), str(text))

    def looked_up(self, path: list[Any]) -> Any:  # noqa: ANN401  as `value`
        keys, fallback = [self.value(key) for key in path[:3]], path[3:]
        found: Any = self.body.get("Mappings", {})
        for key in keys:
            found = found.get(str(key)) if isinstance(found, Mapping) else None
        if found is not None and not any(unknown(key) for key in keys):
            return found
        if fallback and isinstance(fallback[0], Mapping) and "DefaultValue" in fallback[0]:
            return self.value(fallback[0]["DefaultValue"])
        return placeholder("FindInMap", keys)

    def holds(self, condition: Any) -> bool | None:  # noqa: ANN401  as `value`
        """Tell whether a condition is met; None when only a deployment knows."""
        if isinstance(condition, bool):
            return condition
        ((name, argument),) = condition.items()
        if name == "Condition":
            conditions = self.body.get("Conditions") or {}
            if argument not in conditions:
                raise DefinitionError(f"there is no condition {argument!r}")
            if argument not in self.held:  # asked once: conditions of conditions would take twice as long each
                self.held[argument] = self.holds(conditions[argument])
            return self.held[argument]
        if name == "Fn::Equals":
            left, right = (self.value(side) for side in argument)
            if str(left) == str(right):
                return True
            return None if unknown(left) or unknown(right) else False
        if name == "Fn::Not":
            met = self.holds(argument[0])
            return None if met is None else not met
        decided = name == "Fn::Or"
        found = [self.holds(each) for each in argument]
        return decided if decided in found else None if None in found else not decided

    def chosen(self, argument: list[Any]) -> Any:  # noqa: ANN401  as `value`
        condition, yes, no = argument
        met = self.holds({"Condition": condition} if isinstance(condition, str) else condition)
        if met is not None:
            return self.value(yes if met else no)
        first, second = self.value(yes), self.value(no)
        return first if first == second else placeholder("If", [condition, first, second])

    def joined(self, argument: list[Any]) -> str:
        items = self.value(argument[1])
        if isinstance(items, list):
            return str(argument[0]).join(str(item) for item in items)
        return placeholder("Join", [argument[0], items])

    def split(self, argument: list[Any]) -> Any:  # noqa: ANN401  as `value`
        text = self.value(argument[1])
        return placeholder("Split", [argument[0], text]) if unknown(text) else str(text).split(str(argument[0]))

    def selected(self, argument: list[Any]) -> Any:  # noqa: ANN401  as `value`
        index, items = (self.value(each) for each in argument)
        if not isinstance(items, list) or unknown(index):
            return placeholder("Select", [index, items])
        if not 0 <= int(index) < len(items):
            raise DefinitionError(f"Fn::Select takes number {index} of {len(items)} values")
        return items[int(index)]

    def length(self, argument: Any) -> Any:  # noqa: ANN401  as `value`
        items = self.value(argument)
        return len(items) if isinstance(items, list) else placeholder("Length", [items])


def _no_larger(value: Any, function: str) -> Any:  # noqa: ANN401  as `Template.value`
    if isinstance(value, str) and len(value) > _MOST_LETTERS:
        raise DefinitionError(f"{function} gives {len(value)} letters; at most {_MOST_LETTERS} are worked out")
    return value


def unknown(value: object) -> bool:
    """Whether a value holds something that only a deployment knows."""
    return "${" in str(value) or "{{resolve:" in str(value)


def placeholder(function: str, arguments: list[Any]) -> str:
    """Return what stands for the value of a function that only a deployment knows."""
    return f"${{{function}({', '.join(map(_argument, arguments))})}}"


def _argument(value: Any) -> str:  # noqa: ANN401  JSON of any shape
    if isinstance(value, str) and value.startswith("${") and value.endswith("}") and value.count("${") == 1:
        return value[2:-1]
    if value is _NOTHING:
        return "AWS::NoValue"
    return json.dumps(value, default=str)


def _replaced(value: Any, variable: str, given: str) -> Any:  # noqa: ANN401  JSON of any shape
    """Return the body of a loop with its variable put in: `${N}`, `&{N}` without marks, and `Ref: N`."""
    if isinstance(value, str):
        plain = re.sub(r"[^A-Za-z0-9]", "", given)
        return value.replace(f"${{{variable}}}", given).replace(f"&{{{variable}}}", plain)
    if isinstance(value, list):
        return [_replaced(item, variable, given) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value == {"Ref": variable}:
        return given
    return {_replaced(key, variable, given): _replaced(item, variable, given) for key, item in value.items()}


_FUNCTIONS: dict[str, Callable[[Template, Any], Any]] = {
    "Ref": Template.ref,
    "Fn::GetAtt": Template.attribute,
    "Fn::Sub": Template.substituted,
    "Fn::FindInMap": Template.looked_up,
    "Fn::If": Template.chosen,
    "Fn::Join": Template.joined,
    "Fn::Split": Template.split,
    "Fn::Select": Template.selected,
    "Fn::Length": Template.length,
    "Fn::ToJsonString": lambda template, argument: json.dumps(template.value(argument), default=str),
    **dict.fromkeys(_CONDITIONS - {"Condition"}, Template.holds),
}
