"""The main job on a realistic model: `python -m tests.demo`.

Makes a model, starts a local S3 server, packages S3 to S3 for three targets, checks and keeps what came out, and ends
with a page about the run. Needs no account and leaves nothing running. What it made lies in demo-output/ afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import models
from tests.s3_server import CREDENTIALS, s3_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_s3 import S3Client

    from tests.s3_server import S3Server

OUTPUT = Path("demo-output")
PACKAGER = str(Path(sys.executable).with_name("packager"))
DASHBOARDS = str(Path(sys.executable).with_name("dashboards"))
INPUTS = OUTPUT / "inputs"
MIB = 1 << 20
COMPILED = {"jetson-xavier": models.neo, "x86_64-cpu": models.neo, "onnx": models.onnx_export}
BUCKET = "models"


def main() -> None:
    options = _options()
    began = time.monotonic()
    _leave_the_account_alone()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    INPUTS.mkdir(parents=True)
    with s3_server() as server:
        client = server.client(retries={"total_max_attempts": 5})
        client.create_bucket(Bucket=BUCKET)
        artifacts = _made(INPUTS, options.mib * MIB)
        _say(f"Uploading them to a local S3 server at {server.endpoint_url}")
        for path in artifacts.values():
            client.upload_file(str(path), BUCKET, path.name)
        document = _packaged(server, artifacts)
        kept = _kept(client, document)
        _run([PACKAGER, "check", str(kept[0])])
    _say(f"Done in {time.monotonic() - began:.0f} s. Nothing is left running; {OUTPUT}/ holds what was made.")
    _say("To try next, with the same models:")
    for command in next_commands(kept):
        print(f"  {shlex.join(command)}")
    _run([DASHBOARDS, "day", "--out", str(OUTPUT / "overview.html")])
    _say(f"What just ran, as a page: {(OUTPUT / 'run.html').resolve().as_uri()}")


def next_commands(components: Sequence[Path]) -> list[list[str]]:
    """Commands that go on from what the demo leaves."""
    packager = os.path.relpath(PACKAGER)
    model = str(INPUTS / "mochi-onnx.tar.gz")
    named = ["--name", "com.example.Detector", "--version", "1.0.0"]
    return [
        [packager, "inspect", model],
        [packager, "package", "--layout", "files", "--model", model, *named, "--output", str(OUTPUT / "files")],
        [packager, "diff", *map(str, components[:2])],
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--mib", type=int, default=96, help="size of each of the four artifacts [default: %(default)s]")
    return parser.parse_args()


def _leave_the_account_alone() -> None:
    """Whatever is configured on this machine, only the local server is spoken to."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    local = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    os.environ.update(CREDENTIALS, **local)


def _made(folder: Path, size_bytes: int) -> dict[str, Path]:
    _say(f"Making a trained model and {len(COMPILED)} compiled ones, {size_bytes // MIB} MiB of weights each")
    artifacts = {"trained": models.trained(folder / "mochi-trained.tar.gz", size_bytes)}
    for target, make in COMPILED.items():
        artifacts[target] = make(folder / f"mochi-{target}.tar.gz", size_bytes, target)
    for path in artifacts.values():
        print(f"  {path.name}: {path.stat().st_size / MIB:.0f} MiB")
    return artifacts


def _packaged(server: S3Server, artifacts: dict[str, Path]) -> dict[str, Any]:
    command = [PACKAGER, "package", "--trained", f"s3://{BUCKET}/{artifacts['trained'].name}"]
    for target in COMPILED:
        command += ["--compiled", f"{target}=s3://{BUCKET}/{artifacts[target].name}"]
    command += ["--output", f"s3://{BUCKET}/components", "--endpoint-url", server.endpoint_url]
    command += ["--telemetry", str(OUTPUT / "telemetry"), "--report", str(OUTPUT / "run.html"), "--json"]
    document: dict[str, Any] = json.loads(_run(command, shows=False))
    (OUTPUT / "result.json").write_text(json.dumps(document, indent=2))
    for component in document["components"]:
        size = f"{component['size_bytes'] / MIB:.0f} MiB, {component['files']} files"
        print(f"  {component['target']}: {component['status']} in {component['duration_s']:.1f} s, {size}")
        print(f"    {component['uri']}")
    print(f"  scratch used at most: {document['peak_scratch_bytes']} bytes")
    return document


def _kept(client: S3Client, document: dict[str, Any]) -> list[Path]:
    """Download each component once, and hold it against the SHA-256 that was reported."""
    _say(f"Keeping the components in {OUTPUT}/")
    kept = []
    for uri, sha256 in {each["uri"]: each["sha256"] for each in document["components"]}.items():
        key = uri.removeprefix(f"s3://{BUCKET}/")
        path = OUTPUT / key.rsplit("/", 1)[-1]
        client.download_file(BUCKET, key, str(path))
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise SystemExit(f"{path} has the SHA-256 {found}, not the {sha256} that was reported.")
        print(f"  {path}")
        kept.append(path)
    return kept


def _run(command: list[str], *, shows: bool = True) -> str:
    shown = [Path(command[0]).name, *command[1:]]
    _say(f"$ {shlex.join(shown)}")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if shows or done.returncode:
        print(done.stdout, end="")
    if done.returncode:
        raise SystemExit(f"{shlex.join(shown[:2])} failed with exit status {done.returncode}.")
    return done.stdout


def _say(line: str) -> None:
    print(f"\n{line}", flush=True)


if __name__ == "__main__":
    main()
