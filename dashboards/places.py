from pathlib import Path

STAGE = "prod"
"""The stage whose names stand in what is generated and in the alarm tests."""

GENERATED = Path(__file__).parent / "generated"
"""What `dashboards build` writes; committed, so that a change of the catalog shows as a change of what is deployed."""

MATRIX = Path(__file__).parent / "cases" / "matrix" / "faults.yaml"
"""Every class of faults with the alarms that call for it."""

CASES = Path(__file__).parent / "cases"
"""The alarm tests: every alarm firing, staying silent, and without data."""
