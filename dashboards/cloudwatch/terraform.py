"""Alarms and dashboards in Terraform's words: what `terraform show -json` prints of a plan or a state, and `.tf.json`.

https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dashboards.cloudwatch.errors import DefinitionError, UnsupportedError

Json = Mapping[str, Any]
METRIC, COMPOSITE, DASHBOARD = (
    "aws_cloudwatch_metric_alarm",
    "aws_cloudwatch_composite_alarm",
    "aws_cloudwatch_dashboard",
)
NESTED = "aws_cloudformation_stack"
TYPES = (METRIC, COMPOSITE, DASHBOARD)
_NAMES = {
    "alarm_name": "AlarmName", "alarm_description": "AlarmDescription", "actions_enabled": "ActionsEnabled",
    "alarm_actions": "AlarmActions", "ok_actions": "OKActions", "insufficient_data_actions": "InsufficientDataActions",
    "namespace": "Namespace", "metric_name": "MetricName", "statistic": "Statistic",
    "extended_statistic": "ExtendedStatistic", "period": "Period", "unit": "Unit",
    "evaluation_periods": "EvaluationPeriods", "datapoints_to_alarm": "DatapointsToAlarm", "threshold": "Threshold",
    "comparison_operator": "ComparisonOperator", "treat_missing_data": "TreatMissingData",
    "threshold_metric_id": "ThresholdMetricId", "alarm_rule": "AlarmRule",
    "evaluate_low_sample_count_percentiles": "EvaluateLowSampleCountPercentile",
}  # fmt: skip
_STANDS_FOR_NOTHING = {"tags", "tags_all", "id", "arn", "region", "provider", "lifecycle", "depends_on", "timeouts"}
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")


def resources(document: Json, given: Mapping[str, str]) -> Iterator[tuple[str, str, Json]]:
    """Yield address, type and attributes of every alarm and dashboard; `given` holds variables by name."""
    if "resource" in document:
        yield from _configured(document, given)
        return
    values = document.get("planned_values") or document.get("values") or {}
    unknown = {
        str(change.get("address")): (change.get("change") or {}).get("after_unknown") or {}
        for change in document.get("resource_changes") or ()
    }
    expressions = dict(_expressions((document.get("configuration") or {}).get("root_module") or {}, ""))
    for resource in _planned(values.get("root_module") or {}):
        if _wanted(str(resource.get("type"))) and resource.get("mode", "managed") == "managed":
            address = str(resource.get("address"))
            plain = re.sub(r"\[[^\]]*\]", "", address)
            filled = _filled(
                resource.get("values") or {}, unknown.get(address, {}), expressions.get(plain, {}), address
            )
            yield address, str(resource["type"]), _with_variables(filled, given)


def every_resource(document: Json) -> Iterator[Json]:
    """Yield what is planned, or is in a state, of any type."""
    for values in (document.get("planned_values"), document.get("values")):
        if isinstance(values, Mapping):
            yield from _planned(values.get("root_module") or {})


def _wanted(kind: str) -> bool:
    """Whether a type is one that is read, or one that looks as if it made alarms: it has to be named."""
    return kind in TYPES or ("cloudwatch" in kind and "alarm" in kind) or kind == NESTED


def _planned(module: Json) -> Iterator[Json]:
    yield from module.get("resources") or ()
    for child in module.get("child_modules") or ():
        yield from _planned(child)


def _expressions(module: Json, prefix: str) -> Iterator[tuple[str, Json]]:
    """Yield what each resource is written with: the references behind values that are not known yet."""
    for resource in module.get("resources") or ():
        yield f"{prefix}{resource.get('address')}", resource.get("expressions") or {}
    for name, call in (module.get("module_calls") or {}).items():
        yield from _expressions(call.get("module") or {}, f"{prefix}module.{name}.")


def _filled(value: Any, unknown: Any, expression: Any, where: str) -> Any:  # noqa: ANN401  JSON of any shape
    """Return a value with a placeholder for everything that is known after the apply only."""
    if unknown is True:
        references = expression.get("references") or [] if isinstance(expression, Mapping) else []
        return f"${{{references[0] if references else where}}}"
    if isinstance(unknown, Mapping):
        known = value if isinstance(value, Mapping) else {}
        inner = expression if isinstance(expression, Mapping) else {}
        names = [*known, *(name for name in unknown if name not in known)]
        return {
            name: _filled(known.get(name), unknown.get(name), inner.get(name, _shared(inner)), f"{where}.{name}")
            for name in names
            if name in known or _is_unknown(unknown[name])
        }
    if isinstance(unknown, list) and isinstance(value, list):
        inner_list = expression if isinstance(expression, list) else []
        pairs = [*unknown, *[False] * (len(value) - len(unknown))]
        return [
            _filled(item, pairs[n], inner_list[n] if n < len(inner_list) else {}, f"{where}[{n}]")
            for n, item in enumerate(value)
        ]
    return value


def _shared(expression: Json) -> Json:
    """Return the references of a whole map for its members: `dimensions = {LoadBalancer = aws_lb.main.arn_suffix}`."""
    return expression if set(expression) == {"references"} else {}


def _is_unknown(value: Any) -> bool:  # noqa: ANN401  JSON of any shape
    if isinstance(value, Mapping):
        return any(map(_is_unknown, value.values()))
    return any(map(_is_unknown, value)) if isinstance(value, list) else bool(value)


def _configured(document: Json, given: Mapping[str, str]) -> Iterator[tuple[str, str, Json]]:
    defaults = {
        name: each["default"]
        for name, each in (document.get("variable") or {}).items()
        if isinstance(each, Mapping) and "default" in each
    }
    for kind, named in (document["resource"] or {}).items():
        for name, bodies in ((named or {}) if _wanted(kind) else {}).items():
            for body in bodies if isinstance(bodies, list) else [bodies]:
                yield f"{kind}.{name}", kind, _with_variables(body, {**defaults, **given})


def _with_variables(value: Any, variables: Mapping[str, Any]) -> Any:  # noqa: ANN401  JSON of any shape
    if isinstance(value, str):
        whole = re.fullmatch(r"\$\{var\.(\w+)\}", value)
        if whole and whole[1] in variables:
            return variables[whole[1]]
        return _REFERENCE.sub(lambda match: str(variables.get(match[1].removeprefix("var."), match[0])), value)
    if isinstance(value, Mapping):
        return {key: _with_variables(item, variables) for key, item in value.items()}
    return [_with_variables(item, variables) for item in value] if isinstance(value, list) else value


def parameters(attributes: Json) -> dict[str, Any]:
    """Return the attributes of an alarm as the parameters of the API.

    Raises:
        UnsupportedError: It is made several times by `count` or `for_each`, which a configuration alone does not tell,
            or has an attribute that is not known.
    """
    for key in ("count", "for_each"):
        if key in attributes:
            raise UnsupportedError(f"{key} is for Terraform to work out; give the output of terraform show -json")
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if value is None or value in ("", [], {}) or name in _STANDS_FOR_NOTHING:
            continue
        if name == "dimensions":
            found["Dimensions"] = [{"Name": key, "Value": item} for key, item in value.items()]
        elif name == "metric_query":
            found["Metrics"] = [_metric_query(entry) for entry in _blocks(value)]
        elif name == "actions_suppressor":
            found |= _suppressor(_blocks(value)[0])
        elif name in _NAMES:
            found[_NAMES[name]] = value
        else:
            raise UnsupportedError(f"attribute {name!r} of Terraform is not known to this version")
    if not found.get("DatapointsToAlarm"):
        found.pop("DatapointsToAlarm", None)
    return found


def _blocks(value: Any) -> list[Json]:  # noqa: ANN401  a block or several
    return value if isinstance(value, list) else [value]


def _suppressor(block: Json) -> dict[str, Any]:
    return {
        "ActionsSuppressor": block["alarm"],
        "ActionsSuppressorWaitPeriod": block.get("wait_period") or 0,
        "ActionsSuppressorExtensionPeriod": block.get("extension_period") or 0,
    }


def _metric_query(entry: Json) -> dict[str, Any]:
    query: dict[str, Any] = {"Id": entry["id"], "ReturnData": bool(entry.get("return_data"))}
    metrics = _blocks(entry.get("metric") or [])
    if metrics:
        stat = metrics[0]
        metric = {"Namespace": stat.get("namespace"), "MetricName": stat["metric_name"]}
        if stat.get("dimensions"):
            metric["Dimensions"] = [{"Name": key, "Value": item} for key, item in stat["dimensions"].items()]
        query["MetricStat"] = {"Metric": metric, "Period": stat["period"], "Stat": stat["stat"]}
        if stat.get("unit"):
            query["MetricStat"]["Unit"] = stat["unit"]
    elif not entry.get("expression"):
        raise DefinitionError(f"metric_query {entry['id']!r} has neither a metric nor an expression")
    else:
        query["Expression"] = entry["expression"]
        if entry.get("period"):
            query["Period"] = entry["period"]
    return query
