from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.cloudwatch.alarm import Metric
from dashboards.cloudwatch.errors import DashboardError, DefinitionError
from dashboards.cloudwatch.search import search

METRICS = {
    "a": Metric("Shop", "Latency", (("Host", "web a"),)),
    "b": Metric("Shop", "Latency", (("Host", "b"),)),
    "e": Metric("Shop", "Errors", (("Host", "b"),)),
    "n": Metric("Shop", "Latency"),
    "l": Metric("AWS/Lambda", "Errors", (("Function", "f"),)),
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{Shop,Host} MetricName="Latency"', "ab"),
        ('{Shop,Host} MetricName="Latency" Host="web a"', "a"),
        ("{Shop,Host} latency", "ab"),
        ('{Shop} MetricName="Latency"', "n"),
        ('{Shop,Host} MetricName="Laten"', ""),
        ("{Shop,Host} MetricName=Laten", "ab"),
        ('Namespace="Shop" MetricName="Latency"', "abn"),
        ("{Shop,Host} Latency OR Errors", "abe"),
        ("{Shop,Host} (Latency OR Errors) AND b", "abe"),
        ('{Shop,Host} (Latency OR Errors) Host="b"', "be"),
        ('{Shop,Host} MetricName="Latency" Host=("web a" OR "b")', "ab"),
        ('{Shop,"Host"} "Host"=("web a" OR "c") "MetricName"="Latency"', "a"),
        ("{Shop,Host} MetricName=(Laten OR Err) Host=(NOT web)", "be"),
        ("{Shop,Host} NOT Errors", "ab"),
        ('{Shop,Host} Latency NOT "web a"', "b"),
        ('{"AWS/Lambda", "Function"} Errors', "l"),
        ("{Shop,Host}", "abe"),
        ("Errors", "el"),
        ("{Other,Host} Latency", ""),
    ],
)
def test_a_search_finds_what_its_schema_and_its_terms_say(text, found):
    names = {metric: name for name, metric in METRICS.items()}
    assert sorted(names[metric] for metric in search(text, METRICS.values())) == sorted(found)


@pytest.mark.parametrize("text", ["{Shop,Host} Host=", "{Shop,Host} Host=)", "{Shop,Host} Host=(b OR )", "Host=(b=c)"])
def test_a_property_without_a_value_is_an_error(text):
    with pytest.raises(DefinitionError, match=r"unexpected|missing"):
        search(text, METRICS.values())


@given(st.text("{}ab=,\"'() ORNT", max_size=30))
def test_any_text_is_a_search_or_an_error_of_ours(text):
    with suppress(DashboardError):
        search(text, METRICS.values())
