"""Hold recorded lines against every limit of CloudWatch and against the catalog of this product."""

from __future__ import annotations

from telemetry.catalog import VOCABULARY
from telemetry.engine.conformance import Conformance

_conformance = Conformance(VOCABULARY)
check_line, check_lines = _conformance.check_line, _conformance.check_lines
