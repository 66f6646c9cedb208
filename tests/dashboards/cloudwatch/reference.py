"""What CloudWatch does, written a second time from AWS's published tables, slow and plain: a reference.

It shares nothing with the implementation. A series is a list of (second, value, times seen), an alarm a dictionary of
the API's parameters, an expression a tuple. Every evaluation looks at every sample anew.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import math
from datetime import UTC, datetime
from fractions import Fraction

OPERATORS = {
    "GreaterThanThreshold": lambda value, limit: value > limit,
    "GreaterThanOrEqualToThreshold": lambda value, limit: value >= limit,
    "LessThanThreshold": lambda value, limit: value < limit,
    "LessThanOrEqualToThreshold": lambda value, limit: value <= limit,
}


# -- statistics -------------------------------------------------------------------------------------------------------


def exact_sum(values):
    return float(sum((Fraction(value) for value in values), Fraction()))


def statistic(name, samples):
    """The statistic of samples (value, times seen); None when there is none."""
    if not samples:
        return None
    each = sorted(value for value, seen in samples for _ in range(seen))
    basic = {
        "SampleCount": float(len(each)),
        "Sum": exact_sum(each),
        "Average": exact_sum(each) / len(each),
        "Minimum": each[0],
        "Maximum": each[-1],
    }
    if name in basic:
        return basic[name]
    if name == "IQM":
        return trimmed(each, Fraction(1, 4), Fraction(3, 4))
    kind, low, high, percent = bounds(name)
    if kind == "p":
        return percentile(each, high)
    if kind == "wm":
        return winsorised(each, low, high, percent)
    if percent:
        low, high = low or Fraction(0), Fraction(1) if high is None else high
        kept = [(value, weight) for value, weight in weighted(each, low, high) if weight]
    else:
        kept = [(v, Fraction(1)) for v in each if (low is None or v > low) and (high is None or v <= high)]
    total = sum((Fraction(value) * weight for value, weight in kept), Fraction())
    weight = sum((weight for _, weight in kept), Fraction())
    means = {"tm": float(total / weight) if weight else None, "tc": float(weight), "ts": float(total)}
    return means[kind] if kind in means else float(100 * weight / len(each))


def bounds(name):
    """The kind of a statistic, its bounds, and whether these are shares: of `tm90` the upper is 90 %."""
    if "(" not in name:
        kind = name.rstrip("0123456789.")
        return kind, None, Fraction(name[len(kind) :]) / 100, True
    kind, _, inside = name[:-1].partition("(")
    ends = [Fraction(end.rstrip("%")) if end else None for end in inside.split(":")]
    if "%" in inside:
        ends = [None if end is None else end / 100 for end in ends]
    return kind.lower(), *ends, "%" in inside


def percentile(each, fraction):
    position = fraction * (len(each) - 1)
    low = math.floor(position)
    return each[low] + (each[min(low + 1, len(each) - 1)] - each[low]) * float(position - low)


def winsorised(each, low, high, percent):
    """The mean of values of which each beyond a bound is taken for the bound."""
    if percent:
        low, high = (None if end is None else percentile(each, end) for end in (low, high))
    held = [v if low is None else max(v, low) for v in each]
    return exact_sum([v if high is None else min(v, high) for v in held]) / len(each)


def trimmed(each, low, high):
    """The mean of what lies between two shares of ordered values."""
    parts = weighted(each, low, high)
    total = sum(weight for _, weight in parts)
    return float(sum(Fraction(value) * weight for value, weight in parts) / total) if total else None


def weighted(each, low, high):
    """Ordered values with how much of each lies between two shares: one at a bound counts with its part inside."""
    first, last = low * len(each), high * len(each)
    return [(v, max(Fraction(0), min(Fraction(n + 1), last) - max(Fraction(n), first))) for n, v in enumerate(each)]


# -- the decision -----------------------------------------------------------------------------------------------------


def decided(points, m, n, missing):
    """The state that points decide, oldest first: True breaching, False not, None missing. None: the state stays."""
    real = [point for point in points if point is not None]
    if len(real) >= n:
        return "ALARM" if sum(real[-n:]) >= m else "OK"
    if not real:
        return {"missing": "INSUFFICIENT_DATA", "ignore": None, "breaching": "ALARM", "notBreaching": "OK"}[missing]
    if sum(real) + (n - len(real) if missing == "breaching" else 0) >= m:
        return "ALARM"
    if missing in ("missing", "ignore") and False not in real:
        oldest = len(points) - points.index(True)
        if oldest >= m:
            return "ALARM" if missing == "missing" else None
    return "OK"


def interval(alarm):
    if alarm["Period"] in (10, 20, 30):
        return 10
    return 3600 if alarm["Period"] * alarm["EvaluationPeriods"] > 86_400 else 60


def timeline(alarm, series, end_s, start_s=0):
    """The changes of a metric alarm, [(second, state)]; `series` holds samples by query id."""
    period, n = alarm["Period"], alarm["EvaluationPeriods"]
    m = alarm.get("DatapointsToAlarm", n)
    state, changes = "INSUFFICIENT_DATA", []
    step = interval(alarm)
    for now in range(start_s + step, end_s + 1, step):
        begins = [now - back * period for back in range(n + 2, 0, -1)]
        windows = {
            name: [
                statistic(
                    alarm["stats"][name],
                    [(v, c) for at, v, c in samples if begin <= at < begin + period and at >= start_s],
                )
                for begin in begins
            ]
            for name, samples in series.items()
        }
        values = evaluated(alarm["expression"], windows, begins, (period, start_s))
        points = [
            None if value is None else OPERATORS[alarm["ComparisonOperator"]](value, alarm["Threshold"])
            for value in values
        ]
        found = decided(points, m, n, alarm.get("TreatMissingData", "missing"))
        if found is not None and found != state:
            state = found
            changes.append((now, state))
    return changes


# -- metric maths -----------------------------------------------------------------------------------------------------


def evaluated(node, windows, begins, period):
    """The values of an expression over one window; a tuple is an operation, a word a metric, a number itself.

    `period` is its length, and the moment before which nothing is known.
    """
    found = _value(node, windows, begins, period)
    return found if isinstance(found, list) else [found] * len(begins)


def _value(node, windows, begins, period):
    if isinstance(node, str):
        return windows[node]
    if not isinstance(node, tuple):
        return float(node)
    name, *terms = node
    if name == "FILL" and terms[1] == "REPEAT":
        return _repeated(_value(terms[0], windows, begins, period))
    given = [_value(term, windows, begins, period) for term in terms]
    if name in BINARY:
        return _both(BINARY[name], *given)
    if name in CLOCK:
        return [CLOCK[name](datetime.fromtimestamp(max(begin, period[1]), UTC)) for begin in begins]
    return _called(name, given, begins, period)


def _called(name, given, begins, period):
    if name in ("RATE", "DIFF", "DIFF_TIME"):
        return _steps(name, given[0], begins)
    if name in AGGREGATES:
        return [_aggregate(name, column) for column in zip(*given, strict=True)]
    if name in ONE:
        return [None if value is None else ONE[name](value) for value in given[0]]
    return {
        "IF": lambda: _if(*given, length=len(begins)),
        "PERIOD": lambda: float(period[0]),
        "FILL": lambda: [given[1] if value is None else value for value in given[0]],
    }[name]()


def _both(work, left, right):
    if not isinstance(left, list) and not isinstance(right, list):
        return work(left, right)
    length = len(left) if isinstance(left, list) else len(right)
    lefts = left if isinstance(left, list) else [left] * length
    rights = right if isinstance(right, list) else [right] * length
    scalar = not (isinstance(left, list) and isinstance(right, list))
    result = []
    for a, b in zip(lefts, rights, strict=True):
        if (a is None and b is None) or (scalar and (a is None or b is None)):
            result.append(None)
        else:
            result.append(work(0.0 if a is None else a, 0.0 if b is None else b))
    return result


BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: None if b == 0 else a / b,
    "<": lambda a, b: float(a < b),
    ">": lambda a, b: float(a > b),
    "<=": lambda a, b: float(a <= b),
    ">=": lambda a, b: float(a >= b),
    "==": lambda a, b: float(a == b),
    "!=": lambda a, b: float(a != b),
    "AND": lambda a, b: float(a != 0 and b != 0),
    "OR": lambda a, b: float(a != 0 or b != 0),
}
ONE = {
    "ABS": abs,
    "CEIL": lambda v: float(math.ceil(v)),
    "FLOOR": lambda v: float(math.floor(v)),
    "LOG": lambda v: math.log(v) if v > 0 else None,
    "LOG10": lambda v: math.log10(v) if v > 0 else None,
}
AGGREGATES = ("SUM", "AVG", "MIN", "MAX", "STDDEV", "DATAPOINT_COUNT")


def _aggregate(name, column):
    known = [value for value in column if value is not None]
    if not known:
        return None
    if name == "AVG":
        return exact_sum(known) / len(column)
    if name == "STDDEV":
        mean = sum(map(Fraction, known)) / len(known)
        return math.sqrt(sum((Fraction(value) - mean) ** 2 for value in known) / len(known))
    return {"SUM": exact_sum(known), "MIN": min(known), "MAX": max(known), "DATAPOINT_COUNT": float(len(known))}[name]


def _if(condition, then, otherwise=None, *, length):
    if not isinstance(condition, list):
        chosen = then if condition else otherwise
        return chosen if chosen is not None else [None] * length
    thens = then if isinstance(then, list) else [then] * length
    others = otherwise if isinstance(otherwise, list) else [otherwise] * length
    result = []
    for truth, yes, no in zip(condition, thens, others, strict=True):
        result.append(None if truth is None else (0.0 if yes is None else yes) if truth else no)
    return result


def _repeated(values):
    result, last = [], None
    for value in values:
        last = value if value is not None else last
        result.append(last)
    return result


def _steps(name, values, begins):
    result, before = [], None
    for value, begin in zip(values, begins, strict=True):
        if value is None or before is None:
            result.append(None)
        else:
            change, seconds = value - before[0], float(begin - before[1])
            result.append({"RATE": change / seconds, "DIFF": change, "DIFF_TIME": seconds}[name])
        before = (value, begin) if value is not None else before
    return result


CLOCK = {
    "MINUTE": lambda time: float(time.minute),
    "HOUR": lambda time: float(time.hour),
    "DAY": lambda time: float(time.isoweekday()),
    "DATE": lambda time: float(time.day),
    "MONTH": lambda time: float(time.month),
    "YEAR": lambda time: float(time.year),
    "EPOCH": lambda time: time.timestamp(),
}


def in_words(node):
    """The text of an expression."""
    if not isinstance(node, tuple):
        return str(node)
    name, *terms = node
    words = [term if term == "REPEAT" else in_words(term) for term in terms]
    if name in BINARY:
        return f"({words[0]} {name} {words[1]})"
    return f"{name}([{', '.join(words)}])" if name in AGGREGATES else f"{name}({', '.join(words)})"


# -- composites -------------------------------------------------------------------------------------------------------


def holds(rule, states):
    """Whether a rule holds: ("ALARM", name), ("NOT", rule), ("AT_LEAST", 2, "%", state, negative, names)."""
    match rule:
        case ("AND", *terms):
            return all(holds(term, states) for term in terms)
        case ("OR", *terms):
            return any(holds(term, states) for term in terms)
        case ("NOT", term):
            return not holds(term, states)
        case ("AT_LEAST", number, percent, state, negative, names):
            found = [name for name in names if (states[name] == state) != negative]
            return Fraction(100 * len(found), len(names)) >= number if percent else len(found) >= number
        case (state, name):
            return states[name] == state
    return rule


def rule_in_words(rule):
    match rule:
        case ("AND" | "OR", *terms):
            return "(" + f" {rule[0]} ".join(map(rule_in_words, terms)) + ")"
        case ("NOT", term):
            return f"NOT ({rule_in_words(term)})"
        case ("AT_LEAST", number, percent, state, negative, names):
            return f"AT_LEAST({number}{percent}, {'NOT ' * negative}{state}, ({', '.join(names)}))"
        case (state, name):
            return f'{state}("{name}")'
    return str(rule).upper()
