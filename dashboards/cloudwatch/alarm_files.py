"""Reads alarms from anybody's files: templates, Terraform, Serverless, parameters of the API, and describe-alarms.

Each alarm is evaluated or named with the reason; what cannot be evaluated keeps nobody from evaluating the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from dashboards.cloudwatch import terraform
from dashboards.cloudwatch.alarm import Alarm, CompositeAlarm, MetricAlarm, MuteRule
from dashboards.cloudwatch.body import dashboard_body
from dashboards.cloudwatch.documents import load, parsed
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.metric_math import needs_band
from dashboards.cloudwatch.parameters import composite_alarm, log_alarm, metric_alarm, mute_rule
from dashboards.cloudwatch.rules import in_order, parse_rule
from dashboards.cloudwatch.templates import Resource, Template, unknown

if TYPE_CHECKING:
    from pathlib import Path

Json = Mapping[str, Any]
_Make = Callable[[Json], Alarm] | Callable[[Json], MuteRule]
_KINDS: dict[str, _Make] = {
    "AWS::CloudWatch::Alarm": metric_alarm,
    "AWS::CloudWatch::CompositeAlarm": composite_alarm,
    "AWS::CloudWatch::LogAlarm": log_alarm,
    "AWS::CloudWatch::AlarmMuteRule": mute_rule,
    terraform.METRIC: metric_alarm,
    terraform.COMPOSITE: composite_alarm,
}
_DASHBOARD = "AWS::CloudWatch::Dashboard"
_NESTED = {"AWS::CloudFormation::Stack", "AWS::CloudFormation::StackSet", "AWS::Serverless::Application"}
_DESCRIBED: dict[str, _Make] = {
    "MetricAlarms": metric_alarm,
    "CompositeAlarms": composite_alarm,
    "LogAlarms": log_alarm,
}
_SILENCE = "DashboardsLint"
"""The key of a resource's Metadata that silences rules of the lint."""

_BROKEN = (DashboardError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What somebody's definition raises when a member of it is not of the kind that is documented."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an alarm stands: the file, its logical id or address there, and the rules of the lint silenced for it."""

    file: str
    logical_id: str = ""
    silenced: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.file}: {self.logical_id}" if self.logical_id else self.file


@dataclass(frozen=True, slots=True)
class Unevaluated:
    """An alarm, or what may hold alarms, that is not evaluated, or a dashboard that is not worked out, and why."""

    name: str
    source: Origin
    reason: str
    dashboard: bool = False

    def __str__(self) -> str:
        called = "" if self.name in {"", self.source.logical_id} else f" ({self.name})" * bool(self.source.logical_id)
        where = f"{self.source}{called}" if self.source.logical_id else f"{self.source}: {self.name}"
        return f"{where}: {self.reason}"


@dataclass
class Definitions:
    """What files define.

    Attributes:
        alarms: By name, those that are evaluated.
        sources: Where each of them stands.
        given: The parameters of each, as the API takes them.
        unevaluated: The others, and what may hold some: nested stacks, macros.
        mutes: The rules that mute actions.
        dashboards: Bodies by name.
        dashboard_sources: By the name of a dashboard, where it stands.
    """

    alarms: dict[str, Alarm] = field(default_factory=dict)
    sources: dict[str, Origin] = field(default_factory=dict)
    given: dict[str, Json] = field(default_factory=dict)
    unevaluated: list[Unevaluated] = field(default_factory=list)
    mutes: list[MuteRule] = field(default_factory=list)
    dashboards: dict[str, Json] = field(default_factory=dict)
    dashboard_sources: dict[str, Origin] = field(default_factory=dict)

    def leave_out(self, name: str, source: Origin, reason: str, *, dashboard: bool = False) -> None:
        self.unevaluated.append(Unevaluated(name, source, reason, dashboard))

    def reason(self, name: str) -> str:
        """Return why an alarm is not evaluated, empty when nothing is known of it."""
        return next((str(each) for each in self.unevaluated if name in {each.name, each.source.logical_id}), "")


def read_definitions(paths: Iterable[Path], parameters: Mapping[str, str] | None = None) -> Definitions:
    """Return what files define, those of a folder too; `parameters` holds values for the parameters of templates.

    Raises:
        DefinitionError: A file cannot be read, or holds alarms of which none is evaluated, or none at all; or a
            parameter is given that no template has.
    """
    found = Definitions()
    named = list(paths)
    loaded = [(path, load(path)) for path in _files(named)]
    _check_parameters(parameters or {}, [data for _, data in loaded])
    for path, data in loaded:
        before = len(found.alarms) + len(found.mutes) + len(found.dashboards)
        left_out = len(found.unevaluated)
        collect(found, data, str(path), parameters or {})
        if len(found.alarms) + len(found.mutes) + len(found.dashboards) == before:
            reasons = [str(each) for each in found.unevaluated[left_out:]]
            what = "dashboards" if all(each.dashboard for each in found.unevaluated[left_out:]) else "alarms"
            if path not in named and not reasons:
                continue  # of a folder some files may hold none
            none = f"none of its {what} can be evaluated:" if reasons else "it holds no CloudWatch alarm"
            raise DefinitionError("\n  ".join([f"{path}: {none}", *reasons]))
    _leave_out_orphans(found)
    return found


def _check_parameters(given: Mapping[str, str], loaded: Iterable[object]) -> None:
    documents = list(loaded)
    wanted: set[str] = set().union(*map(_parameters_of, documents))
    deployed: set[str] = set().union(*map(_resources_of, documents))
    missing = sorted({name for name in given if name.split(".")[0] not in deployed and "::" not in name} - wanted)
    if missing:
        near = get_close_matches(missing[0], wanted, 3) or sorted(wanted)[:3]
        raise DefinitionError(f"no file has the parameter {missing[0]!r}; there are {', '.join(near) or 'none'}")


def parse_alarms(data: object, where: str) -> dict[str, Alarm]:
    """Return the alarms of loaded JSON or YAML by name; every one of them must be evaluated.

    Raises:
        DefinitionError: It holds something else, or an alarm that CloudWatch would refuse or that is not evaluated.
    """
    found = Definitions()
    collect(found, data, where, {})
    _leave_out_orphans(found)
    if found.unevaluated:
        raise DefinitionError("; ".join(map(str, found.unevaluated)))
    return found.alarms


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files, and of a folder (such as the output of the CDK) its templates."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(path.glob("*.template.json")) or sorted(
            each for each in path.iterdir() if each.suffix in {".json", ".yaml", ".yml", ".template"}
        )
        if not inside:
            raise DefinitionError(f"{path} holds no template")
        yield from (each for each in inside if _holds_alarms(each))


def _holds_alarms(path: Path) -> bool:
    text = path.read_text("utf-8", "replace")
    return any(mark in text for mark in ("AWS::CloudWatch::", "aws_cloudwatch_", "AlarmName", *_DESCRIBED))


def _parameters_of(data: object) -> set[str]:
    if not isinstance(data, Mapping):
        return set()
    held = [data.get(key) for key in ("Parameters", "variable", "variables")]
    return {str(name) for each in held if isinstance(each, Mapping) for name in each}


def _resources_of(data: object) -> set[str]:
    """Return the logical ids of a template: what a deployment calls them may be given, as a parameter is."""
    match data:
        case {"Resources": {**resources}} | {"resources": {"Resources": {**resources}}}:
            return {str(name) for name in resources}
        case {"planned_values": {}} | {"values": {}}:
            return {str(each.get("type")) for each in terraform.every_resource(cast("Json", data))} | {
                "module",
                "data",
                "local",
            }
    return set()


def collect(found: Definitions, data: Any, where: str, parameters: Mapping[str, str]) -> None:  # noqa: ANN401  JSON
    """Add what loaded JSON or YAML defines; raise DefinitionError when it is nothing that defines alarms."""
    match data:
        case {"TemplateBody": body}:
            inner = parsed(body, f"{where}: its TemplateBody") if isinstance(body, str) else body
            collect(found, inner, where, parameters)
        case {"Resources": {}}:
            _from_template(found, data, where, parameters)
        case {"resources": {"Resources": {}} as inner}:
            _from_template(found, inner, where, parameters)
        case {"resource": {}} | {"planned_values": {}} | {"values": {"root_module": {}}}:
            _from_terraform(found, data, where, parameters)
        case list():
            for each in data:
                collect(found, each, where, parameters)
        case {"widgets": _} | {"DashboardBody": _}:
            name = str(data.get("DashboardName") or data.get("title") or PurePath(where).stem)
            add_dashboard(found, name, data.get("DashboardBody", data), Origin(where))
        case _:
            for make, each in _of_api(data, where):
                _add(found, make, each, Origin(where))


def _of_api(data: object, where: str) -> Iterator[tuple[_Make, Json]]:
    """Yield what parameters of the API, or a description of alarms, stand for."""
    if not isinstance(data, Mapping) or not data.keys() & {"AlarmName", "Rule", *_DESCRIBED}:
        if isinstance(data, Mapping) and data.keys() >= {"lineage", "resources"}:
            raise DefinitionError(f"{where} is a state as Terraform keeps it; give the output of terraform show -json")
        raise DefinitionError(f"{where} holds neither alarms nor a template")
    if "AlarmName" in data:
        kind = log_alarm if "ScheduledQueryConfiguration" in data else metric_alarm
        yield composite_alarm if "AlarmRule" in data else kind, data
    elif isinstance(data.get("Rule"), Mapping):
        yield mute_rule, data
    for key, make in _DESCRIBED.items():
        listed = data.get(key) or ()
        if not isinstance(listed, list | tuple):
            raise DefinitionError(f"{where}: {key} is to be a list of alarms, not {listed!r}")
        yield from ((make, each) for each in listed)


def _from_template(found: Definitions, data: Json, where: str, parameters: Mapping[str, str]) -> None:
    template = Template(data, parameters)
    try:
        resources = template.resources(_may_alarm)
    except _BROKEN as error:
        if isinstance(error, DashboardError):
            raise type(error)(f"{where}: {error}") from error
        raise DefinitionError(f"{where} holds something that is no template: {error!r}") from error
    for resource in resources:
        _from_resource(found, template, resource, where)
    _name_what_may_alarm(found, template, where)
    for name in _macros(data.get("Transform")):
        found.leave_out(
            "", Origin(where, "Transform"), f"the macro {name} may add alarms, which only a deployment knows"
        )


def _may_alarm(kind: str) -> bool:
    """Whether resources of a type are alarms or dashboards, or may hold some."""
    foreign = kind.endswith("::MODULE") or (kind.startswith("Custom::") and "alarm" in kind.lower())
    return kind.startswith("AWS::CloudWatch::") or kind in _NESTED or foreign


def _name_what_may_alarm(found: Definitions, template: Template, where: str) -> None:
    """Name the loops that cannot be written out where alarms are in them, and what is included from elsewhere."""
    written = template.body["Resources"]
    for name, reason in template.left_out.items():
        if "AWS::CloudWatch::" in json.dumps(written[name], default=str):
            found.leave_out("", Origin(where, name), reason)
    if "Fn::Transform" in written:
        told = "what it includes may hold alarms, which only a deployment knows"
        found.leave_out("", Origin(where, "Fn::Transform"), told)


def _macros(transform: object) -> list[str]:
    known = {"AWS::LanguageExtensions", "AWS::Serverless-2016-10-31", "AWS::SecretsManager-2024-09-16"}
    listed = transform if isinstance(transform, list) else [transform] if transform else []
    names = (str(each.get("Name") if isinstance(each, Mapping) else each) for each in listed)
    return [name for name in names if name not in known]


def _from_resource(found: Definitions, template: Template, resource: Resource, where: str) -> None:
    silenced = resource.metadata.get(_SILENCE) or ()
    source = Origin(
        where, resource.logical_id, frozenset([silenced] if isinstance(silenced, str) else map(str, silenced))
    )
    name = template.names.get(resource.logical_id, resource.logical_id)
    if resource.type in _NESTED:
        found.leave_out("", source, "a nested stack, whose alarms are in a template of its own: name that file as well")
    elif resource.type == _DASHBOARD:
        if resource.absent:
            found.leave_out(name, source, resource.absent, dashboard=True)
        else:
            add_dashboard(found, name, resource.properties.get("DashboardBody"), source, template)
    elif not resource.type.startswith("AWS::CloudWatch::"):
        told = f"{resource.type} may make alarms, which only a deployment knows"
        found.leave_out("" if name == resource.logical_id else name, source, told)
    elif resource.type not in _KINDS:
        if "Alarm" in resource.type:
            found.leave_out(name, source, f"{resource.type} is a kind of alarm that this version does not know")
    elif resource.absent:
        found.leave_out(name, source, resource.absent)
    else:
        key = "Name" if resource.type.endswith("MuteRule") else "AlarmName"
        _add(found, _KINDS[resource.type], {**resource.properties, key: name}, source, template)


def _from_terraform(found: Definitions, data: Json, where: str, parameters: Mapping[str, str]) -> None:
    try:
        resources: list[tuple[str, str, Any]] = list(terraform.resources(data, parameters))
    except _BROKEN as error:
        raise DefinitionError(f"{where} holds something that Terraform does not write: {error!r}") from error
    for address, kind, attributes in resources:
        source = Origin(where, address)
        if not isinstance(attributes, Mapping):
            found.leave_out(address, source, "has no attributes")
            continue
        if kind not in terraform.TYPES:
            name = str(attributes.get("alarm_name") or attributes.get("name") or address)
            found.leave_out(name, source, f"{kind} may make alarms, which this version does not read")
            continue
        if kind == terraform.DASHBOARD:
            name = str(attributes.get("dashboard_name") or address)
            add_dashboard(found, name, attributes.get("dashboard_body"), source)
            continue
        try:
            given = {"AlarmName": address, **terraform.parameters(attributes)}
        except _BROKEN as error:
            found.leave_out(str(attributes.get("alarm_name") or address), source, _told(error))
            continue
        _add(found, _KINDS[kind], given, source)


def add_dashboard(
    found: Definitions, name: str, written: object, source: Origin, template: Template | None = None
) -> None:
    """Add one dashboard with its body read, or name it with the reason why not."""
    try:
        body = dashboard_body(written)
    except DefinitionError as error:
        # What only a deployment knows may stand for the whole body, or for a number in it.
        text = f"{error}; it holds what only a deployment knows" if unknown(written) else str(error)
        found.leave_out(name, source, text + (template.hint(f"{text}: {written}") if template else ""), dashboard=True)
        return
    if name in found.dashboards:
        told = f"the name stands in {found.dashboard_sources[name]} too; in CloudWatch the later one wins"
        found.leave_out(name, source, told, dashboard=True)
    found.dashboards[name], found.dashboard_sources[name] = body, source


def _add(
    found: Definitions,
    make: _Make,
    parameters: Json,
    source: Origin,
    template: Template | None = None,
) -> None:
    """Add one alarm or mute rule, or name it with the reason why not."""
    name = (
        str(parameters.get("AlarmName") or parameters.get("Name") or source.logical_id)
        if isinstance(parameters, Mapping)
        else "?"
    )
    try:
        made = make(parameters)
    except _BROKEN as error:
        hint = template.hint(str(error)) if template else ""
        found.leave_out(name, source, _told(error) + hint)
        return
    if isinstance(made, MuteRule):
        found.mutes.append(made)
        return
    if name in found.alarms:
        found.leave_out(name, source, f"the name stands in {found.sources[name]} too; in CloudWatch the later one wins")
    found.alarms[name], found.sources[name], found.given[name] = made, source, parameters
    if parameters.get("EvaluationState") == "EVALUATION_ERROR":
        told = parameters.get("StateReason", "no reason is given")
        found.leave_out(name, source, f"CloudWatch itself could not evaluate it (EVALUATION_ERROR): {told}")
    if isinstance(made, MetricAlarm) and needs_band(made):
        found.leave_out(name, source, "looks at an anomaly band, which CloudWatch learns: a test gives its `bands`")


def _told(error: Exception) -> str:
    if isinstance(error, DashboardError):
        return str(error)
    return f"{error} is missing" if isinstance(error, KeyError) else f"cannot be read: {error}"


def without_bands(alarms: Mapping[str, Alarm]) -> dict[str, Alarm]:
    """Return alarms without those on anomaly bands, which nothing but a test can give, and those that watch them."""
    kept = Definitions(
        {n: alarm for n, alarm in alarms.items() if not (isinstance(alarm, MetricAlarm) and needs_band(alarm))}
    )
    kept.sources = dict.fromkeys(kept.alarms, Origin(""))
    _leave_out_orphans(kept)
    return kept.alarms


def _leave_out_orphans(found: Definitions) -> None:
    """Leave out composites that watch something that is not there or each other, and those that watch them."""
    while True:
        rules = {
            name: parse_rule(alarm.rule) for name, alarm in found.alarms.items() if isinstance(alarm, CompositeAlarm)
        }
        orphan = next(_orphans(found, rules), None)
        if orphan is None:
            return
        name, reason = orphan
        found.leave_out(name, found.sources[name], reason)
        del found.alarms[name]


def _orphans(found: Definitions, rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, rule in rules.items():
        alarm = found.alarms[name]
        suppressor = {alarm.suppressor} - {None} if isinstance(alarm, CompositeAlarm) else set()
        absent = sorted(map(str, (rule.children | suppressor) - found.alarms.keys()))
        if absent:
            why = found.reason(absent[0])
            yield name, f"watches {', '.join(absent)}, which is not among the alarms" + f" ({why})" * bool(why)
    for name in rules:
        try:
            in_order({other: rules[other] for other in _below(name, rules)})
        except DefinitionError as error:
            yield name, str(error)


def _below(name: str, rules: Mapping[str, Any]) -> set[str]:
    found, waiting = set(), [name]
    while waiting:
        each = waiting.pop()
        if each in rules and each not in found:
            found.add(each)
            waiting += rules[each].children
    return found
