"""What is built is accepted by an API that speaks CloudWatch's protocol, through boto3 and a socket."""

import json
import os
from unittest import mock

import pytest
from botocore.validate import ParamValidator

from dashboards.cloudwatch.alarm_files import parse_alarms
from dashboards.places import GENERATED

REGION, ACCOUNT = "eu-west-1", "123456789012"
FAKE = {"AWS_ACCESS_KEY_ID": "fake", "AWS_SECRET_ACCESS_KEY": "fake", "AWS_DEFAULT_REGION": REGION}


@pytest.fixture(scope="module")
def cloudwatch():
    import boto3  # noqa: PLC0415  only this test speaks to anything
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  same

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with mock.patch.dict(os.environ, FAKE):
            yield boto3.client("cloudwatch", endpoint_url=f"http://{host}:{port}", region_name=REGION)
    finally:
        server.stop()


def test_every_metric_alarm_is_accepted_and_reads_back_as_the_same_alarm(cloudwatch):
    built = json.loads((GENERATED / "alarms.json").read_text())["MetricAlarms"]
    for alarm in built:
        cloudwatch.put_metric_alarm(**alarm)
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"])
    stored = [alarm for page in pages for alarm in page["MetricAlarms"]]
    # A description lists the actions of every state, also where there are none.
    named = [{key: value for key, value in each.items() if not key.endswith("Actions")} for each in stored]
    # moto does not know the warm-up of alarms.
    built = [{key: value for key, value in each.items() if key != "WarmUpConfiguration"} for each in built]
    assert parse_alarms({"MetricAlarms": named}, "moto") == parse_alarms({"MetricAlarms": built}, "built")


def test_every_composite_alarm_is_one_that_boto3_would_send(cloudwatch):
    # moto knows no composites, so it stops at what boto3 checks before it sends; the rule is parsed in other tests.
    shape = cloudwatch.meta.service_model.operation_model("PutCompositeAlarm").input_shape
    for alarm in json.loads((GENERATED / "alarms.json").read_text())["CompositeAlarms"]:
        assert not ParamValidator().validate(alarm, shape).has_errors()
        assert len(alarm["AlarmRule"]) <= 10_240


@pytest.mark.parametrize("path", sorted((GENERATED / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_every_dashboard_is_accepted_and_reads_back_as_the_same_body(cloudwatch, path):
    body = (
        path.read_text()
        .replace("${AWS::Partition}", "aws")
        .replace("${AWS::Region}", REGION)
        .replace("${AWS::AccountId}", ACCOUNT)
    )
    assert "${" not in body
    cloudwatch.put_dashboard(DashboardName=path.stem, DashboardBody=body)
    assert json.loads(cloudwatch.get_dashboard(DashboardName=path.stem)["DashboardBody"]) == json.loads(body)
