"""The published schemas of the command line's documents; `validate` holds a document against one."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


@cache
def _validator(name: str) -> Draft202012Validator:
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry = Registry().with_resources((file, Resource.from_contents(each)) for file, each in schemas.items())
    Draft202012Validator.check_schema(schemas[f"{name}.json"])
    return Draft202012Validator(schemas[f"{name}.json"], registry=registry)


def validate(name: str, document: object) -> None:
    """AssertionError that lists what in the document breaks the schema `name`."""
    assert [each.message for each in _validator(name).iter_errors(document)] == []
