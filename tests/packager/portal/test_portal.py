"""What the portal's contract comes to without a network: choices, merges, names, settings."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from packager.device.recipe import Artifact, recipe
from packager.errors import PackagerError, RequestError, SettingsError
from packager.model.targets import TARGETS
from packager.portal import jobs, tables
from packager.portal.api import package_call, route
from packager.portal.aws import AwsRefusedError, map_aws_errors
from packager.portal.compilations import _recorded
from packager.portal.credentials import session_name
from packager.portal.events import CompilationEnded, MachineCall, PackageArguments, machine_call
from packager.portal.publish import component_name
from packager.portal.service import Portal
from packager.portal.settings import PortalSettings
from packager.portal.tables import ConflictError, retry_on_conflict
from packager.portal.users import User
from tests.portal import request

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(sorted(TARGETS))
packaged = st.builds(
    lambda target, uri: {"target": target, "component_package_s3": f"s3://b/{uri}", "status": "packaged"},
    names,
    st.integers(0, 99),
)
failed = st.builds(lambda target: jobs.failed_entry(target, "it broke", "service"), names)
entries = st.lists(packaged | failed, max_size=6, unique_by=lambda entry: entry["target"])


@pytest.fixture(autouse=True, scope="module")
def _no_pauses():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_LONGEST_PAUSE_S", 0.0)
        yield


class OneRecord:
    """A table of one record whose writes are conditional; between a read and its write others get their turn."""

    def __init__(self, record, others=(), turns=()):
        self.record = record
        self._others = list(others)
        self._turns = iter(turns)

    def get(self, _table, _key):
        seen = copy.deepcopy(self.record)
        while self._others and next(self._turns, False):
            self._others.pop()()
        return seen

    def update(self, _table, _key, expression, condition, **values):
        if ":before" in condition and self.record.get("packaged_components") != values["before"]:
            raise ConflictError
        if ":nothing" in condition and self.record.get("packaged_components") is not None:
            raise ConflictError
        assert "#packaged_components = :after" in expression
        self.record = {**self.record, "packaged_components": values["after"], "updated_at": values["now"]}
        return copy.deepcopy(self.record)

    def everybody(self):
        while self._others:
            self._others.pop()()


# Merging


@given(st.lists(entries, min_size=1, max_size=5), entries, st.lists(st.booleans(), max_size=30))
def test_whatever_the_interleaving_of_requests_nothing_is_lost(requests, before, turns):
    table = OneRecord({"training_id": "t", "packaged_components": before or None})
    portal = Portal(PortalSettings(), None)
    portal.records = table
    table._others = [lambda mine=mine: portal._merge("t", mine) for mine in requests]
    table._turns = iter(turns)
    table.everybody()
    after = {entry["target"]: entry for entry in table.record["packaged_components"]}
    every = [entry for mine in (before, *requests) for entry in mine]
    assert after.keys() == {entry["target"] for entry in every}
    for target, entry in after.items():
        known = [each for each in every if each["target"] == target]
        assert entry in known
        if any(each["status"] == "packaged" for each in known):
            assert entry["status"] == "packaged"


@given(anything | st.lists(anything | packaged, max_size=4), entries)
def test_what_is_not_ours_in_the_record_stays_as_it_is(before, mine):
    after = jobs.merged(before, mine)
    targets = {entry["target"] for entry in mine}
    if isinstance(before, list):
        theirs = [each for each in before if not (isinstance(each, dict) and each.get("target") in targets)]
        assert [each for each in after if not (isinstance(each, dict) and each.get("target") in targets)] == theirs
    assert targets <= {each.get("target") for each in after if isinstance(each, dict)}


def test_a_record_that_is_always_ahead_is_an_error_after_a_bounded_number_of_tries():
    tries = []

    def beaten():
        tries.append(1)
        raise ConflictError

    with pytest.raises(AwsRefusedError, match="changed by others 25 times"):
        retry_on_conflict("training_jobs", beaten)
    assert len(tries) == tables.ATTEMPTS


@given(st.permutations(["a", "b", "c"]), st.integers(0, 2))
def test_news_find_their_entry_wherever_it_moved(order, mine):
    entry = {"compilation_job_name": "abc"[mine]}
    record = {"training_id": "t", "compilation_jobs": [{"compilation_job_name": name} for name in order]}
    asked = []

    class Table(OneRecord):
        def update(self, _table, _key, expression, condition, **values):
            asked.append((expression, condition, values["name"]))
            return self.record

    portal = Portal(PortalSettings(), None)
    portal.records = Table(record)
    _recorded(portal, "t", CompilationEnded(entry["compilation_job_name"], "COMPLETED", "s3://b/k", None))
    [(expression, condition, name)] = asked
    place = order.index(name)
    assert condition == f"#compilation_jobs[{place}].#compilation_job_name = :name"
    assert expression.startswith(f"SET #compilation_jobs[{place}].#status = :status")


# Choosing


def job(*compilations, imported=False):
    return jobs.TrainingJob("t", "u", "m", "s3://b/trained", imported, compilations)


def compilation(target, status="COMPLETED", uri="s3://b/k", export_format=None):
    return jobs.Compilation(target, status, uri, export_format, f"job-{target}")


@given(
    st.lists(
        st.builds(
            jobs.Compilation,
            st.sampled_from([*TARGETS, "onnx", "toaster", ""]),
            st.sampled_from(["COMPLETED", "FAILED", "INPROGRESS", ""]),
            st.sampled_from(["s3://b/k", "file:///etc/passwd", None]),
            st.sampled_from([None, "onnx", "neo"]),
            st.none(),
        ),
        max_size=5,
    ),
    st.lists(st.sampled_from([*TARGETS, "onnx", "toaster"]), max_size=3, unique=True),
    st.sampled_from([True, False, None]),
)
def test_a_choice_is_a_refusal_or_accounts_for_every_wanted_target(compilations, wanted, imported):
    try:
        choice = jobs.choose(job(*compilations, imported=imported), wanted)
    except RequestError:
        return
    assert choice.targets or choice.failed
    assert all(uri == "s3://b/k" for uri in choice.compiled.values())
    spoken_of = {*choice.targets, *(entry["target"] for entry in choice.failed), *choice.missing}
    for name in wanted:
        assert name in spoken_of or name in {each.target for each in compilations}
    if wanted and not choice.is_imported:
        served = {each.target for each in compilations} | {*wanted}
        assert served & {*choice.compiled, *(entry["target"] for entry in choice.failed), *wanted}


def test_the_latest_completed_compilation_of_a_target_is_taken():
    choice = jobs.choose(
        job(compilation("x86_64-cpu", uri="s3://b/old"), compilation("x86_64-cpu", uri="s3://b/new")), ()
    )
    assert choice.compiled == {"x86_64-cpu": "s3://b/new"}


@given(
    st.dictionaries(
        st.sampled_from(["usecase_id", "compilation_jobs", "source", "metadata", "validation_result"]), anything
    )
)
def test_any_record_is_a_job_or_a_refusal(record):
    try:
        found = jobs.training_job({"training_id": "t", **record})
        jobs.choose(found, ())
    except RequestError:
        pass


# Names


@given(st.text(min_size=1, max_size=300), st.integers(0, 2**40))
def test_a_session_name_is_what_aws_takes(user, epoch_s):
    name = session_name(User(user), epoch_s)
    assert 2 <= len(name) <= 64
    assert all(character.isascii() and (character.isalnum() or character in "_+=,.@-") for character in name)
    assert name.startswith("pkg-")


@given(st.text(min_size=1, max_size=100))
def test_a_component_name_is_what_greengrass_takes(model):
    name = component_name(model)
    recipe(Artifact("s3://b/x_greengrass_model_component.zip", "0" * 64, 1), name, "1.0.0", TARGETS["x86_64-cpu"])
    assert name == name.lower()


# Reading events


@given(st.lists(names, max_size=12), st.none() | st.booleans())
def test_a_request_is_read_as_it_was_meant(targets, auto_triggered):
    body = {"targets": targets, **({} if auto_triggered is None else {"auto_triggered": auto_triggered})}
    event = request("t", body, user="someone")
    call = package_call(event, route(event))
    assert call.targets == tuple(dict.fromkeys(targets))
    assert call.auto_triggered is (auto_triggered or False)
    assert call.user == User("someone")


@given(st.dictionaries(names, st.sampled_from(["s3://b/k", "file:///k", "/k"]), max_size=5))
def test_a_machines_call_is_read_as_it_was_meant(compiled):
    listed = [{"target": target, "uri": uri} for target, uri in compiled.items()]
    call = machine_call({"trained": "s3://b/t", "compiled": listed, "output": "s3://b", "options": {"force": True}})
    assert call == MachineCall(PackageArguments("s3://b/t", compiled, "s3://b", force=True), None, None)


# Settings


def test_a_table_that_is_needed_and_not_set_is_named():
    with pytest.raises(SettingsError, match="AUDIT_LOG_TABLE is not set"):
        PortalSettings().table("audit_log")
    assert replace(PortalSettings(), audit_log_table="audits").table("audit_log") == "audits"


# Errors of AWS


def test_a_query_with_a_signature_is_not_repeated_in_an_error():
    with pytest.raises(AwsRefusedError) as caught, map_aws_errors("STS AssumeRole"):
        raise ConnectionError("no route to https://sts.amazonaws.com/?X-Amz-Signature=abc&X-Amz-Credential=def")
    assert "X-Amz" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert isinstance(caught.value, PackagerError)


def test_an_answer_that_is_no_document_of_the_service_is_its_failure():
    with pytest.raises(AwsRefusedError) as caught, map_aws_errors("STS AssumeRole"):
        raise ResponseParserError("Unable to parse response, invalid XML received")
    assert caught.value.figures == {"operation": "STS AssumeRole", "code": "ResponseParserError"}


def test_an_error_of_our_own_passes_unchanged():
    with pytest.raises(ZeroDivisionError), map_aws_errors("STS AssumeRole"):
        raise ZeroDivisionError


# Documentation


def test_the_examples_of_the_documentation_are_requests():
    page = (Path(__file__).parents[3] / "docs" / "function.md").read_text(encoding="utf-8")
    body, event = (json.loads(block.partition("```")[0]) for block in page.split("```json\n")[1:])
    asked = request("t", body)
    assert package_call(asked, route(asked)).targets == ("jetson-xavier", "x86_64-cpu")
    assert machine_call(event).arguments.strict is False
    for option in ("strategy", "force", "strict", "imported_targets", "previous"):
        assert f"`{option}`" in page
