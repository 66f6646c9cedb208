"""What an error of AWS says, without what may not be said."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from packager.aws_errors import cause_of, code_of, response_of

REFUSED = ClientError({"Error": {"Code": "AccessDenied", "Message": "No."}}, "GetObject")


def test_a_services_code_is_the_code():
    assert code_of(REFUSED) == "AccessDenied"
    assert response_of(REFUSED)["Error"] == {"Code": "AccessDenied", "Message": "No."}


@pytest.mark.parametrize("response", [{}, {"Error": {}}, {"Error": {"Code": ""}}])
def test_an_answer_without_a_code_is_called_by_its_type(response):
    assert code_of(ClientError(response, "GetObject")) == "ClientError"


@pytest.mark.parametrize("error", [EndpointConnectionError(endpoint_url="http://x"), ValueError("x")])
def test_an_error_that_no_service_had_a_part_in_is_called_by_its_type(error):
    assert response_of(error) == {}
    assert code_of(error) == type(error).__name__


def test_a_response_that_is_no_dictionary_is_none():
    error = ValueError("x")
    error.response = "a text"
    assert response_of(error) == {}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_queries_of_every_url_are_left_out_of_the_cause(scheme):
    text = f"GET {scheme}://bucket.host/key?X-Amz-Signature=secret failed, so did '{scheme}://b/k?token=secret' too."
    expected = f"GET {scheme}://bucket.host/key failed, so did '{scheme}://b/k' too"
    assert cause_of(ValueError(text)) == expected


def test_a_cause_is_printable_and_short_and_ends_without_a_stop():
    assert cause_of(ValueError("broken...")) == "broken"
    cause = cause_of(ValueError("\x1b[2J" + "x" * 10_000))
    assert cause.isprintable()
    assert len(cause) <= 520
    assert cause_of(ValueError("x" * 500)) == "x" * 500
    assert cause_of(ValueError("x" * 501)) != "x" * 501
