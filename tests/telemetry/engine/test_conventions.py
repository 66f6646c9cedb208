"""Names of attributes are those of one version of OpenTelemetry's conventions, none of them deprecated."""

import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import opentelemetry.semconv._incubating.attributes as package
import pytest
from opentelemetry.semconv.schemas import Schemas

from telemetry import catalog
from telemetry.engine import conventions

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
OURS = {
    value
    for name, value in vars(conventions).items()
    if name.isupper() and isinstance(value, str) and name not in {"SCHEMA_URL", "EXCEPTION"}
}


def known():
    """Every attribute of the conventions package, and whether it says to use another one."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        source = inspect.getsource(importlib.import_module(f"{package.__name__}.{module.name}"))
        found |= dict(re.findall(r'^[A-Z0-9_]+: Final = "(.*?)"\n"""\n(.*?)"""', source, re.MULTILINE | re.DOTALL))
    return found


KNOWN = known()


def test_the_version_of_the_conventions_is_one_that_the_package_has():
    assert conventions.SCHEMA_URL in {schema.value for schema in Schemas}


@pytest.mark.parametrize("name", sorted(OURS | set(catalog.VOCABULARY.attributes.values())))
def test_every_name_is_in_the_conventions_and_not_deprecated_or_begins_with_our_prefix(name):
    if name.startswith(catalog.VOCABULARY.prefix):
        assert name not in KNOWN
    else:
        assert "Deprecated: Replaced" not in KNOWN[name]


def test_the_version_of_the_vocabulary_is_that_of_the_project():
    assert PROJECT["version"] == catalog.VOCABULARY.version
