"""What runs in Lambda, as one ZIP: our code, its locked dependencies for either processor, its bill of materials.

No container is needed: every dependency has wheels. The same commit gives the same bytes, on any machine: fixed order,
dates and modes, nothing compressed (Lambda unpacks it anyway, and compressors differ), nothing that names the machine.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.metadata import PackageMetadata

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "function.lock"
LICENCE = ROOT / "LICENSE"
EXCLUDES = Path(__file__).parent / "function-excludes.txt"
PYTHON_VERSION = "3.13"
PLATFORMS = {"arm64": "aarch64-manylinux2014", "x86_64": "x86_64-manylinux2014"}
COMPILED = {each: f"packager/core/native-linux-{name.split('-')[0]}.so" for each, name in PLATFORMS.items()}
"""The compiled half of the core, of which a bundle has the one that its processor runs."""
BILL = "sbom.cdx.json"
OUR_PACKAGES = ("packager", "telemetry")
FOR_PEOPLE = frozenset(
    {
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "packager" / "cli").glob("*.py")),
        "telemetry/__main__.py",
        "telemetry/check.py",
        "telemetry/engine/conformance.py",
        "telemetry/engine/coverage.py",
        "telemetry/engine/registry.py",
        "telemetry/engine/registry_diff.py",
        "telemetry/engine/registry_rules.py",
        "telemetry/engine/span_conformance.py",
        "telemetry/engine/synthetic.py",
        "telemetry/engine/testing.py",
    }
)
"""Modules that only people's tools and tests import."""

# How a wheel came here: differs from machine to machine, and nobody asks for it at run time.
_INSTALLERS_NOTES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644


class BundleError(RuntimeError):
    """A tool that makes the bundle failed; the message is what it said, and what to look at."""


def build(architecture: str, folder: Path, python_version: str = PYTHON_VERSION) -> Path:
    """Write the bundle for `arm64` or `x86_64` into a folder, its bill of materials beside it, and return its path.

    Raises BundleError when a dependency cannot be had or its hash is not that of the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"function-{architecture}.zip"
    with tempfile.TemporaryDirectory() as scratch:
        dependencies = Path(scratch) / "dependencies"
        install(LOCK, dependencies, PLATFORMS[architecture], python_version)
        bill = bill_of_materials(dependencies)
        unfinished = Path(scratch) / path.name
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
            licence = (LICENCE.name, LICENCE.read_bytes())
            for name, content in sorted([*_dependencies(dependencies), *_ours(architecture), licence, (BILL, bill)]):
                entry = zipfile.ZipInfo(name, _DATE)
                entry.create_system = 3  # the system whose modes these are
                entry.external_attr = _MODE << 16
                archive.writestr(entry, content)
        shutil.move(unfinished, path)
    (folder / f"function-{architecture}.{BILL}").write_bytes(bill)
    return path


def install(lock: Path, target: Path, platform: str, python_version: str) -> None:
    """Install what a lock names into a folder, for any platform; only wheels, only with the hashes of the lock."""
    _run(
        _uv(), "pip", "install", "--quiet", "--no-config", "--target", str(target), "--python-platform", platform,
        "--python-version", python_version, "--only-binary", ":all:", "--no-deps", "--require-hashes",
        "--link-mode", "copy", "--requirements", str(lock),
    )  # fmt: skip


def lock() -> None:
    """Write the lock again, with the newest allowed versions: the core dependencies and the exporter of traces."""
    _run(
        _uv(), "pip", "compile", "--quiet", "--universal", "--python-version", PYTHON_VERSION, "--generate-hashes",
        "--no-emit-index-url", "--no-annotate", "--no-header", "--upgrade", "--extra", "otlp",
        "--excludes", str(EXCLUDES), "--output-file", str(LOCK), str(ROOT / "pyproject.toml"),
    )  # fmt: skip


def bill_of_materials(dependencies: Path) -> bytes:
    """Return the CycloneDX bill of materials (JSON) of the bundle, with the licences of the installed dependencies."""
    made = _run(
        sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", str(ROOT / "pyproject.toml"),
        "--output-reproducible", "--of", "JSON", "--output-file", "-", str(LOCK),
    )  # fmt: skip
    bill = json.loads(made)
    licences = {_plain(each.name): _licence(each.metadata) for each in distributions(path=[str(dependencies)])}
    for component in bill["components"]:
        if licence := licences.get(_plain(component["name"])):
            component["licenses"] = [licence]
    return json.dumps(bill, indent=2).encode()


def _plain(name: str) -> str:
    """Return the name of a project as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(metadata: PackageMetadata) -> dict[str, Any] | None:
    """Return a project's licence as CycloneDX has it: the expression, else the classifier, else the text of a line."""
    expression, field = (next(iter(metadata.get_all(name) or ()), "") for name in ("License-Expression", "License"))
    if expression:
        return {"expression": expression}
    classifiers = (each for each in metadata.get_all("Classifier") or () if each.startswith("License :: "))
    name = next(classifiers, "").rpartition(" :: ")[2] or field.strip()
    return {"license": {"name": name}} if name and "\n" not in name else None


def _dependencies(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        wanted = inside.parts[0] not in {"bin", ".lock"} and path.name not in _INSTALLERS_NOTES
        if wanted and path.is_file() and "__pycache__" not in inside.parts:
            yield inside.as_posix(), path.read_bytes()


def _ours(architecture: str) -> Iterator[tuple[str, bytes]]:
    yield COMPILED[architecture], (ROOT / COMPILED[architecture]).read_bytes()
    for package in OUR_PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name not in FOR_PEOPLE and not name.startswith("telemetry/watch/"):
                yield name, path.read_bytes()


def _uv() -> str:
    from uv import find_uv_bin  # noqa: PLC0415  the tool is there where bundles are built, not where they run

    return find_uv_bin()


def _run(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  our own arguments
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-2000:]
        raise BundleError(f"{Path(command[0]).name} {' '.join(command[1:3])} ended with {done.returncode}: {said}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Build bundles, or write the lock again; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.bundle", description=main.__doc__)
    parser.add_argument(
        "architecture", nargs="*", choices=[*PLATFORMS, []], help="processors to build for; default: all"
    )
    parser.add_argument("--lock", action="store_true", help="choose the newest allowed versions again, first")
    parser.add_argument("--python-version", default=PYTHON_VERSION, help="of the runtime; default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder to write into")
    given = parser.parse_args(arguments)
    if given.lock:
        lock()
    for architecture in given.architecture or PLATFORMS:
        path = build(architecture, given.out, given.python_version)
        sys.stdout.write(f"{path}  {path.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
