"""The CDK's command line, run by the Node that comes with Python; says beforehand what is missing.

`python -m infra.cdk diff -c stage=prod`
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from infra import JSII_NODE
from infra.settings import CDK_JSON, from_cdk_json
from infra.values import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLI = "aws-cdk@2"
"""The command line reads what any version 2 of the library wrote; the library is the locked one."""

_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_FILES = (Path("~/.aws/credentials"), Path("~/.aws/config"))


def missing(arguments: Sequence[str]) -> str:
    """Return what a command needs and does not have, in words; nothing when it can begin."""
    if not Path(JSII_NODE).is_file():
        return f"There is no Node at {JSII_NODE}. Install the extra `infra`: pip install '.[infra]'."
    given = [each.partition("=") for flag, each in pairwise(arguments) if flag in {"-c", "--context"}]
    try:
        deployment = from_cdk_json({name: value for name, _, value in given})
    except SettingError as error:
        return f"Settings: {error}"
    if not (any(name in os.environ for name in _CREDENTIALS) or any(path.expanduser().is_file() for path in _FILES)):
        where = deployment.account or "the account"
        return f"There are no AWS credentials for {where}. Set AWS_PROFILE, or log in with: aws sso login."
    return ""


def main(arguments: Sequence[str]) -> int:
    """Run the command line in the folder of cdk.json; return its exit code, 2 when something is missing."""
    problem = missing(arguments)
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    folder = Path(JSII_NODE).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    app = f'"{sys.executable}" -m infra.app'
    command = [
        JSII_NODE,
        str(folder.parent / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"),
        "--yes",
        CLI,
        *arguments,
        "--app",
        app,
    ]
    return subprocess.run(command, cwd=CDK_JSON.parent, env=environment, check=False).returncode  # noqa: S603  the user's own arguments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
