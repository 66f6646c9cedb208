"""The CDK app: both stacks of one deployment, checked against the rules of AWS Solutions.

`python -m infra.app` writes the templates below build/cdk.out. Under the CDK's command line, that says where.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_lambda
from cdk_nag import AwsSolutionsChecks

from infra import bundle
from infra.monitoring_stack import MonitoringStack
from infra.packager_stack import PackagerStack
from infra.settings import CDK_JSON, Deployment
from infra.values import SettingError

ROOT = Path(__file__).parents[1]


def build(app: cdk.App, deployment: Deployment, code: aws_lambda.Code) -> tuple[PackagerStack, MonitoringStack]:
    """Put both stacks of a deployment into an app, to be checked when it is synthesized."""
    environment = cdk.Environment(account=deployment.account or None, region=deployment.region or None)
    tags = {"service": "edge-model-packager", "stage": deployment.stage}
    common = {"env": environment, "tags": tags, "termination_protection": deployment.protected}
    service = PackagerStack(app, deployment, code, **common)
    monitoring = MonitoringStack(app, deployment, **common)
    # The filters stand on the function's log group.
    monitoring.add_stack_dependency(service)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app, write_suppressions_to_cloud_formation=True))
    return service, monitoring


def main() -> int:
    """Synthesize what cdk.json describes; return the exit code, 2 for a wrong setting."""
    under_cdk = "CDK_OUTDIR" in os.environ
    context = None if under_cdk else json.loads(CDK_JSON.read_text("utf-8"))["context"]
    app = cdk.App(context=context, outdir=None if under_cdk else str(ROOT / "build" / "cdk.out"))
    try:
        deployment = Deployment.from_context(app.node.get_all_context())
    except SettingError as error:
        sys.stderr.write(f"Settings: {error}\n")
        return 2
    for severity in deployment.unheard:
        sys.stderr.write(f"Warning: nobody hears the {severity}s of the stage {deployment.stage}.\n")
    path = bundle.build(deployment.architecture, ROOT / "build")
    build(app, deployment, aws_lambda.Code.from_asset(str(path)))
    written = app.synth()
    if not under_cdk:
        sys.stdout.writelines(f"{each.template_full_path}\n" for each in written.stacks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
