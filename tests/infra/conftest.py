"""Both stacks, synthesized once for the whole run, whichever worker asks first."""

from __future__ import annotations

import fcntl
import json
from typing import TYPE_CHECKING, Any

import pytest

from infra.settings import Deployment
from infra.values import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ACCOUNT, REGION = "123456789012", "us-east-1"
EVERYTHING = Deployment(
    stage="test",
    account=ACCOUNT,
    region=REGION,
    read_from=("models/trained", "compiled-models"),
    write_to=("components/edge",),
    encryption_keys=(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234",),
    use_case_roles=("arn:aws:iam::210987654321:role/use-case",),
    training_jobs_table="training-jobs",
    usecases_table="usecases",
    user_roles_table="user-roles",
    audit_log_table="audit-log",
    publish_function="publish-components",
    retries=2,
    user_pool=f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/{REGION}_pool",
    page_emails=("on-call@example.com",),
    page_endpoints=(
        "https://events.example.com/integration/{{resolve:secretsmanager:paging:SecretString:key}}/enqueue",
    ),
    page_topics=(f"arn:aws:sns:{REGION}:{ACCOUNT}:everybody",),
    page_slack=("C0123PAGES", "C0123TEAMS"),
    ticket_emails=("team@example.com",),
    ticket_slack=("C0123TEAMS",),
    slack_workspace="T0123ABCD",
)
"""A deployment that uses every part of the stacks."""
SMALL = Deployment(stage="small", scratch_bytes=1024 * MIB, memory_bytes=512 * MIB, time_s=120, architecture="x86_64")
"""A deployment without the portal, with other limits."""

Template = dict[str, Any]


def synthesize(deployment: Deployment, folder: Path, also: Callable[[Any], None] | None = None) -> None:
    """Write the templates of a deployment, with an empty file for a bundle; a finding of cdk-nag is an error."""
    import aws_cdk as cdk  # noqa: PLC0415  starts Node, which only these tests need
    from aws_cdk import aws_lambda  # noqa: PLC0415  same

    from infra.app import build  # noqa: PLC0415  same

    code = folder.parent / "code"
    code.mkdir(exist_ok=True)
    (code / "empty.py").write_text("")
    app = cdk.App(outdir=str(folder))
    build(app, deployment, aws_lambda.Code.from_asset(str(code)))
    if also:
        also(app)
    app.synth()


def templates(folder: Path) -> dict[str, Template]:
    return {
        path.name.split(".")[0].rsplit("-", 1)[1]: json.loads(path.read_text("utf-8"))
        for path in sorted(folder.glob("*.template.json"))
    }


def _synthesized(deployment: Deployment, factory: pytest.TempPathFactory, worker_id: str) -> Path:
    shared = factory.getbasetemp() if worker_id == "master" else factory.getbasetemp().parent
    folder = shared / f"infra-{deployment.stage}" / "out"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.parent / "done"
        if not done.exists():
            synthesize(deployment, folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def everything(tmp_path_factory, worker_id) -> Path:
    return _synthesized(EVERYTHING, tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def small(tmp_path_factory, worker_id) -> Path:
    return _synthesized(SMALL, tmp_path_factory, worker_id)


@pytest.fixture(scope="session")
def service(everything) -> Template:
    return templates(everything)["service"]


@pytest.fixture(scope="session")
def monitoring(everything) -> Template:
    return templates(everything)["monitoring"]


def of_type(template: Template, kind: str) -> dict[str, Any]:
    """The properties of every resource of a type, by its name in the template."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def main_function(template: Template) -> tuple[str, dict[str, Any]]:
    """The name and the properties of the function that packages: the other is the hook of deployments."""
    (found,) = (
        (name, each)
        for name, each in of_type(template, "AWS::Lambda::Function").items()
        if each["Handler"] == "packager.handler.handler"
    )
    return found
