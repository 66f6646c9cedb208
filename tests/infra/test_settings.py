from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dashboards.product.layout import dashboard_bodies
from dashboards.product.specs import alarm_parameters
from infra.environment import environment
from infra.monitoring_stack import catalog_of
from infra.passed_on import DERIVED, PASSED_ON
from infra.settings import CDK_JSON, Deployment, from_cdk_json, reference
from infra.values import BOUNDS_JSON, MIB, SettingError, bounds
from packager.portal.settings import PortalSettings
from packager.settings import Settings
from packager.stores.s3_options import S3Options
from telemetry import VOCABULARY
from telemetry.engine import settings as telemetry_settings
from telemetry.watch import Severity
from telemetry.watch.prices import prices
from tests.infra.conftest import ACCOUNT, EVERYTHING, REGION, SMALL, main_function, of_type, synthesize, templates

LIMITS = st.fixed_dictionaries(
    {
        "scratch_bytes": st.integers(512, 10_240).map(lambda mib: mib * MIB),
        "memory_bytes": st.integers(256, 10_240).map(lambda mib: mib * MIB),
        "time_s": st.integers(30, 1800),
    }
)


def thresholds(deployment):
    return {
        each["AlarmName"].removeprefix(f"{deployment.function_name}-"): each["Threshold"]
        for each in alarm_parameters(catalog_of(deployment))["MetricAlarms"]
    }


@given(limits=LIMITS)
def test_thresholds_and_the_functions_environment_follow_the_limits(limits):
    deployment = replace(SMALL, **limits)
    at = thresholds(deployment)
    assert at["storage-warning"] == deployment.scratch_bytes * 0.75
    assert at["storage-critical"] == deployment.scratch_bytes * 0.875
    assert at["memory-nearly-up"] == pytest.approx(deployment.memory_bytes * 0.9)
    assert at["time-nearly-up"] == pytest.approx(deployment.time_s * 100)
    read = Settings.from_environment(environment(deployment))
    assert (read.storage_warning_bytes, read.storage_critical_bytes) == (at["storage-warning"], at["storage-critical"])


@given(limits=LIMITS)
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate],  # each example is a synthesis: shrinking takes minutes
)
def test_one_setting_changes_function_alarms_and_dashboards_together(limits, tmp_path_factory):
    deployment = replace(SMALL, **limits)
    folder = tmp_path_factory.mktemp("synth") / "out"
    synthesize(deployment, folder)
    made = templates(folder)
    _, function = main_function(made["service"])
    assert function["EphemeralStorage"]["Size"] * MIB == deployment.scratch_bytes
    assert function["MemorySize"] * MIB == deployment.memory_bytes
    assert function["Timeout"] == deployment.time_s
    alarms = {each["AlarmName"]: each for each in of_type(made["monitoring"], "AWS::CloudWatch::Alarm").values()}
    critical = alarms[f"{deployment.function_name}-storage-critical"]["Threshold"]
    assert critical == deployment.scratch_bytes * 0.875
    filled = [
        each["DashboardBody"]["Fn::Sub"] for each in of_type(made["monitoring"], "AWS::CloudWatch::Dashboard").values()
    ]
    bodies = [each if isinstance(each, str) else each[0] for each in filled]
    drawn = {f'"value": {json.dumps(critical / unit)}' for unit in (MIB, 1024 * MIB)}
    assert any(each in body for each in drawn for body in bodies)
    scratch_mib, memory_mib = limits["scratch_bytes"] // MIB, limits["memory_bytes"] // MIB
    facts = f"{scratch_mib:,} MiB scratch, {memory_mib:,} MiB memory, {limits['time_s']} s"
    assert all(facts in body for body in bodies)


def test_the_packager_reads_back_every_setting_it_is_given():
    given_ = environment(EVERYTHING)
    read, portal = Settings.from_environment(given_), PortalSettings.from_environment(given_)
    assert read.max_concurrent_operations == EVERYTHING.concurrent_targets
    assert read.streaming_enabled is EVERYTHING.streaming
    assert read.strict_device_rules is EVERYTHING.strict_device_rules
    for name in ("training_jobs_table", "usecases_table", "user_roles_table", "audit_log_table", "publish_function"):
        assert getattr(portal, name) == getattr(EVERYTHING, name)
    assert given_["TELEMETRY_LOG_LEVEL"] == "info"
    stage = telemetry_settings.Settings.from_environ(given_).stage
    assert VOCABULARY.in_stage(stage).namespace == EVERYTHING.names.namespace
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" not in given_


TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:everybody"
WRONG = {
    "stage": ["", "Prod", "a" * 16, 7, "prod-many"],
    "account": ["12", "12345678901x"],
    "region": ["europe"],
    "scratch_bytes": [511 * MIB, 10_241 * MIB, 8192, 600 * MIB + 1, "8192 MB", True, None],
    "memory_bytes": [127 * MIB, 10_241 * MIB, "lots"],
    "time_s": [0, 1801, 1.5, "900 MiB"],
    "bounds": [["time"], ["time_x=5"], ["memory=5"], 7],
    "max_members": [0, "many"],
    "audit_days": [0],
    "storage_warning_share": [0, 1.1, "much", True, 0.9],
    "storage_critical_share": [0, 2],
    "streaming": ["yes", 1],
    "concurrent_targets": [0, 17],
    "architecture": ["riscv"],
    "reserved_concurrency": [0],
    "map_concurrency": [0, 51],
    "continuations": [-1],
    "retries": [21],
    "log_retention_days": [2, 0],
    "log_level": ["loud"],
    "deployment": ["Hope"],
    "traces_endpoint": ["http://collector"],
    "read_from": [["*"], ["models/*"], "UPPER", [1]],
    "write_to": [["arn:aws:s3:::bucket"]],
    "encryption_keys": [["arn:aws:kms:*:123456789012:key/*"]],
    "use_case_roles": [["arn:aws:iam::123456789012:role/*"], ["arn:aws:iam::123456789012:root"]],
    "training_jobs_table": ["jobs", "no such*"],
    "compilation_job_index": ["by-job"],
    "publish_function": ["arn:aws:lambda"],
    "user_pool": ["pool", EVERYTHING.user_pool],
    "page_emails": [["nobody"], ["twice@example.com", "twice@example.com"]],
    "runbook_url": ["http://wiki.example.com", f"https://wiki.example.com/{'x' * 100}", "https://x/${AWS::Region}"],
    "page_endpoints": [["http://insecure.example.com"], ["https://"], ["{{resolve:nothing:x}}"]],
    "page_topics": [
        ["everybody"],
        [f"{TOPIC}.fifo"],
        [f"{TOPIC}{n}" for n in range(5)],
    ],
    "ticket_topics": [["arn:aws:sns:*:*:*"]],
    "ticket_slack": [["#alerts"]],
    "slack_workspace": ["ours"],
    "cors_origin": ["everywhere"],
}


HEARD = {"page_emails": "on-call@example.com"}


@pytest.mark.parametrize("stage", ["prod", "production", "eu-prod", "prod2", "live", "safe"])
def test_a_stage_in_production_that_wakes_nobody_is_not_deployed(stage):
    context = {"stage": stage, "stages": {stage: {"protected": stage == "safe"}}}
    with pytest.raises(SettingError, match=r"^page_emails: nobody would be woken .* page_endpoints"):
        Deployment.from_context({**context, "ticket_emails": "team@example.com"})
    ways = (HEARD, {"page_endpoints": "https://x.example"}, {"page_topics": TOPIC})
    for way in (*ways, {"page_slack": "C0123PAGES", "slack_workspace": "T0123ABCD"}):
        assert Deployment.from_context({**context, **way}).unheard == (Severity.TICKET,)


def test_who_is_to_hear_has_to_be_reachable():
    for wrong, message in (
        ({"page_slack": ("C0123PAGES",)}, "slack_workspace: .*page_slack"),
        ({"region": "eu-west-1", "ticket_topics": (TOPIC,)}, "ticket_topics: .*only to topics of eu-west-1"),
    ):
        with pytest.raises(SettingError, match=message):
            Deployment(**wrong)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_is_an_error_that_names_it(name, value):
    context = (
        {"stage": "dev", "stages": {"dev": {name: value}}}
        if name != "stage"
        else {"stage": value, "stages": {value: {}}}
    )
    with pytest.raises(SettingError, match=rf"^{name}: .{{10,}}") as caught:
        Deployment.from_context(context)
    assert caught.value.name == name


@given(name=st.sampled_from([each.name for each in fields(Deployment)]), value=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
))  # fmt: skip
def test_any_json_for_any_setting_is_taken_or_refused_by_a_setting_error(name, value):
    with suppress(SettingError):
        assert Deployment.from_context({"stage": "dev", "stages": {"dev": {name: value}}})


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"stages": {"dev": {"scratch_byte": 8}}}, r"scratch_byte: .* \(stage dev\); did you mean scratch_bytes\?"),
        ({"stages": {"dev": {}}, "memory_byte": "8 MiB"}, r"memory_byte: .* did you mean memory_bytes\?"),
        ({"stages": {"dev": {"max_member": 7}}}, r"max_member: .* did you mean max_members\?"),
        ({"stages": {"dev": {"xyzzy": 8}}}, r"xyzzy: .* there are stage, .*scratch_bytes"),
        ({"stage": "prd", "stages": {"dev": {}, "prod": {}}}, r"'prd' is not in `stages` .*; did you mean prod\?"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_an_error_that_names_the_nearest(context, message):
    with pytest.raises(SettingError, match=message):
        Deployment.from_context(context)


def test_what_the_cdk_keeps_in_its_context_is_no_setting_of_ours():
    kept = {"@aws-cdk/core:checkSecretUsage": True, "availability-zones:account=1:region=x": ["a"], "aws:cdk:x": []}
    assert Deployment.from_context({"stages": {"dev": {}}, **kept}) == Deployment()


def test_a_bound_of_aws_can_be_overruled_and_says_where_it_comes_from():
    wanted = {"stages": {"dev": {"time_s": 5400}}}
    with pytest.raises(SettingError, match=r"time_s: 5,400 is outside .*botocore.*`bounds` overrules"):
        Deployment.from_context(wanted)
    assert Deployment.from_context({**wanted, "bounds": "time_s=5400"}).time_s == 5400
    for each in json.loads(BOUNDS_JSON.read_text("utf-8")).values():
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", each["as_of"])
        assert each["source"]
    assert bounds()["time_s"].most == 1800


def test_every_setting_of_the_packager_can_be_set_and_reaches_the_function():
    for kind, derived in DERIVED.items():
        assert derived < {each.name for each in fields(kind)}
    given_ = {"max_members": 7, "audit_days": "30", "max_ratio": 9}
    variables = environment(Deployment.from_context({"stages": {"dev": given_}}))
    assert Settings.from_environment(variables).max_members == 7
    assert PortalSettings.from_environment(variables).audit_days == 30
    settable = {*PASSED_ON, *(name for derived in DERIVED.values() for name in derived)}
    assert settable == {
        f"s3_{each.name}" if kind is S3Options else each.name for kind in DERIVED for each in fields(kind)
    }


def test_what_is_asked_of_s3_reaches_the_function_and_is_checked_as_a_whole():
    asked = {"s3_encryption": "aws:kms", "s3_kms_key_id": "alias/models", "s3_bucket_key": "true", "s3_tags": "a=b"}
    variables = environment(Deployment.from_context({"stages": {"dev": asked}}))
    assert S3Options.from_environment(variables) == S3Options(
        encryption="aws:kms", kms_key_id="alias/models", bucket_key=True, tags="a=b"
    )
    with pytest.raises(SettingError, match=r"s3_kms_key_id: .*S3_ENCRYPTION"):
        Deployment.from_context({"stages": {"dev": {"s3_kms_key_id": "alias/models"}}})


def test_the_command_line_goes_before_the_file_and_gives_texts():
    given_ = {"stage": "prod", "scratch_bytes": "10240MiB", "read_from": "models,more/prefix", **HEARD}
    made = from_cdk_json({**given_, "streaming": "false", "time_s": "60"})
    assert made.function_name == "edge-model-packager-prod"
    assert made.scratch_bytes == 10_240 * MIB
    assert made.read_from == ("models", "more/prefix")
    assert (made.streaming, made.time_s) == (False, 60)


def test_every_stage_of_the_file_can_be_deployed_with_the_limits_the_models_need():
    for stage in json.loads(CDK_JSON.read_text("utf-8"))["context"]["stages"]:
        made = from_cdk_json({"stage": stage, **HEARD})
        assert (made.scratch_bytes, made.memory_bytes, made.time_s) == (8192 * MIB, 3008 * MIB, 900)
        assert dashboard_bodies(catalog_of(made))


def test_the_settings_in_the_documentation_are_those_of_the_code():
    page = (CDK_JSON.parents[1] / "docs" / "deploy.md").read_text("utf-8")
    table = re.search(r"<!-- settings -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert table
    assert table[1].strip() == reference().strip()


def test_the_page_of_costs_is_that_of_the_settings_the_catalog_and_the_prices():
    from infra import costs  # noqa: PLC0415  starts Node, by way of the stacks

    assert costs.PAGE.read_text("utf-8") == costs.built()


def test_twice_the_bytes_cost_more_and_other_limits_other_money():
    from infra import costs  # noqa: PLC0415  same

    def dollars(deployment, **work):
        return sum(each for _, each, _ in costs.per_thousand(deployment, costs.Work(**work)))

    plain = dollars(Deployment())
    assert dollars(Deployment(), compiled_bytes=2 * costs.GIB) > plain
    assert dollars(Deployment(memory_bytes=1024 * MIB)) < plain < dollars(Deployment(architecture="x86_64"))
    assert re.fullmatch(r"20\d\d-\d\d", prices()["as_of"])


def test_deploying_says_what_else_it_needs(monkeypatch, tmp_path):
    from infra import cdk  # noqa: PLC0415  beside its use

    for name in cdk._CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "nobody would be woken" in cdk.missing(["deploy", "-c", "stage=prod"])
    assert "AWS_PROFILE" in cdk.missing(["deploy", "-c", "stage=prod", "-c", "page_emails=on-call@example.com"])
    assert "nowhere" in cdk.missing(["deploy", "-c", "stage=nowhere"])
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").touch()
    assert cdk.missing(["deploy", "-c", "stage=dev", "-c", "memory_bytes=4096MiB"]) == ""
    monkeypatch.setattr(cdk, "JSII_NODE", str(tmp_path / "node"))
    assert "extra `infra`" in cdk.missing(["diff"])
