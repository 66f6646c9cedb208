"""Other people's scanners over both templates: cfn-lint, cdk-nag and checkov; what stays has a reason."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.infra.conftest import SMALL, synthesize, templates

ROOT = Path(__file__).parents[2]
CHECKOV = ROOT / "build" / "checkov" / "bin" / "checkov"
STAY = ROOT / "infra" / "checkov.yaml"


@pytest.mark.parametrize("name", ["everything", "small"])
def test_cfn_lint_finds_nothing(name, request):
    folder = request.getfixturevalue(name)
    # W3005: the CDK writes down that a function needs its role, which the reference says already.
    command = [sys.executable, "-c", "from cfnlint.runner import main; main()", "--ignore-checks", "W3005", "--"]
    paths = [str(path) for path in folder.glob("*.template.json")]
    done = subprocess.run([*command, *paths], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip(), len(paths)) == (0, "", "", 2)


def test_a_finding_of_cdk_nag_without_a_reason_stops_the_synthesis(tmp_path):
    def and_a_bare_bucket(app):
        from aws_cdk import Stack, aws_s3  # noqa: PLC0415  starts Node

        aws_s3.Bucket(Stack(app, "Other"), "Bare")

    with pytest.raises(RuntimeError, match=r"AwsSolutions-S10"):
        synthesize(SMALL, tmp_path / "out", and_a_bare_bucket)


def test_every_finding_that_stays_has_a_reason_in_words(everything):
    for template in templates(everything).values():
        for resource in template["Resources"].values():
            for rule in resource.get("Metadata", {}).get("cdk_nag", {}).get("rules_to_suppress", ()):
                assert len(rule["reason"].split()) >= 5, rule


def test_checkov_finds_what_stays_with_a_reason_and_nothing_else(everything):
    if not CHECKOV.exists() and not os.environ.get("CI"):
        pytest.skip("checkov is not installed; `make scan` does it")
    settings = yaml.safe_load(STAY.read_text("utf-8"))
    kinds = [each for kind in settings["framework"] for each in ("--framework", kind)]
    paths = [each for path in everything.glob("*.template.json") for each in ("--file", str(path))]
    command = [str(CHECKOV), "--skip-download", "--compact", "--quiet", "--output", "json", *kinds, *paths]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    found = json.loads(done.stdout)
    assert (found["summary"]["parsing_errors"], found["summary"]["resource_count"] > 100) == (0, True)
    failed = {each["check_id"]: each["resource"] for each in found["results"]["failed_checks"]}
    assert failed.keys() == set(settings["skip-check"]), failed


def test_every_finding_of_checkov_that_stays_has_a_reason_in_words():
    lines = re.findall(r"^  - (CKV\w+)(.*)$", STAY.read_text("utf-8"), re.MULTILINE)
    assert [check for check, _ in lines] == yaml.safe_load(STAY.read_text("utf-8"))["skip-check"]
    assert [check for check, reason in lines if not re.match(r" # [^:]+: (\S+ ){4}", reason)] == []
