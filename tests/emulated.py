"""The digests of tests.same_bytes on processors that are not there, emulated by QEMU: `python -m tests.emulated`.

QEMU, and a Python for the other architecture, come from Debian's packages into build/emulated: nothing is installed.
Each processor that cannot be had is named. Exit status: 1 when bytes differ
or packaging fails, 2 when no processor could be had.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tests import same_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HERE = Path(__file__).parent.parent
KEPT = HERE / "build" / "emulated"
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
LONGEST_S = 1800


@dataclass(frozen=True)
class Processor:
    """One kind, as QEMU calls it, and why it is tried."""

    machine: str
    model: str
    what: str


PROCESSORS = (
    Processor("x86_64", "Nehalem", "SSE4.2, no AVX"),
    Processor("x86_64", "Haswell", "AVX2"),
    Processor("x86_64", "EPYC", "AMD, SHA extensions"),
    Processor("aarch64", "cortex-a57", "Armv8.0"),
    Processor("aarch64", "neoverse-n1", "Armv8.2, as Graviton2"),
)


class NotToBeHadError(Exception):
    """What an emulation needs is not there, and why."""


class FailedError(Exception):
    """It is there, and packaging failed on it."""


def digests(processor: Processor) -> dict[str, str]:
    """What tests.same_bytes finds on this processor."""
    python, packages = _python(processor.machine)
    command = [_qemu(processor.machine), "-cpu", processor.model, *python]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE, *packages)))}
    _run(*command, "-c", "import isal, yaml", environment=environment)
    try:
        found: dict[str, str] = json.loads(_run(*command, "-m", "tests.same_bytes", environment=environment))
    except NotToBeHadError as error:
        raise FailedError(str(error)) from error
    return found


@cache
def _qemu(machine: str) -> str:
    program = f"qemu-{machine}-static"
    if found := shutil.which(program):
        return found
    root = _unpacked(DEBIAN.get(platform.machine(), ""), "qemu-user-static")
    return str(root / "usr" / "bin" / program)


@cache
def _python(machine: str) -> tuple[list[str], list[Path]]:
    """The command that is Python for a machine, and where its packages lie: this one, or Debian's with wheels."""
    if machine == platform.machine():
        return [sys.executable], []
    root = _unpacked(DEBIAN[machine], "python3-minimal", "libpython3-stdlib")
    interpreter = (root / "usr" / "bin" / "python3").readlink()
    wheels = KEPT / f"wheels-{machine}"
    if not wheels.exists():
        wanted = [f"{name}=={metadata.version(name)}" for name in ("isal", "PyYAML")]
        _run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--target", str(wheels), "--python-version", interpreter.name.removeprefix("python")),
            *("--platform", f"manylinux2014_{machine}", "--platform", f"manylinux_2_28_{machine}", *wanted),
        )
    return ["-L", str(root), str(root / "usr" / "bin" / interpreter)], [wheels]


def _unpacked(architecture: str, *packages: str) -> Path:
    """Debian packages and all they depend on, unpacked into a folder of their own."""
    place = KEPT / f"{packages[0]}-{architecture}"
    root = place / "root"
    if root.exists():
        return root
    if not (architecture and shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NotToBeHadError("Debian's packages cannot be had without apt-get and dpkg-deb")
    for folder in ("lists/partial", "cache/archives/partial"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()  # nothing is installed, so that what is needed is fetched whole
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Dir::State": place,
        "Dir::State::Lists": place / "lists",
        "Dir::State::Status": place / "status",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", "-y", "--no-install-recommends", *(f"-o{name}={value}" for name, value in options.items())]
    _run(*apt, "update")
    _run(*apt, "--download-only", "install", *packages)
    part = place / "root.part"
    for package in (place / "cache" / "archives").glob("*.deb"):
        _run("dpkg-deb", "-x", str(package), str(part))
    return part.rename(root)


def _run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=HERE, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST_S
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-300:]
        raise NotToBeHadError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
    return done.stdout


def main() -> int:
    """Compare on this machine and on every processor that can be had; the exit status."""
    verdicts = [_verdict("this machine", platform.machine(), same_bytes.digests)]
    verdicts += [_verdict(f"{each.machine} {each.model}", each.what, partial(digests, each)) for each in PROCESSORS]
    print(f"{verdicts.count(True)} of {len(verdicts)} processors compared with {len(same_bytes.DIGESTS)} digests")
    if False in verdicts:
        return 1
    return 0 if True in verdicts[1:] else 2


def _verdict(name: str, what: str, find: Callable[[], dict[str, str]]) -> bool | None:
    """Whether the digests are those of the repository; None when they cannot be found out. Says which."""
    began = time.monotonic()
    try:
        found = find()
    except (NotToBeHadError, OSError, subprocess.TimeoutExpired) as error:
        print(f"{name} ({what}): NOT COMPARED, {error}", flush=True)
        return None
    except FailedError as error:
        print(f"{name} ({what}): FAILED, {error}", flush=True)
        return False
    differ = [each for each, digest in same_bytes.DIGESTS.items() if found.get(each) != digest]
    verdict = f"DIFFERENT: {', '.join(differ)}" if differ else "the same bytes"
    print(f"{name} ({what}): {verdict}, {time.monotonic() - began:.0f} s", flush=True)
    return not differ


if __name__ == "__main__":
    sys.exit(main())
