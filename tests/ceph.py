"""A cluster of Ceph with its gateway for S3, of one process each, over memory; needs no pytest.

with ceph(folder, programs, gateway_port, credentials) as process:
    ...
"""

from __future__ import annotations

import os
import subprocess
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KMS_KEY = "models"
"""The name of a key that the gateway encrypts with."""

_PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
_CAPABILITIES = [word for of in ("mon", "osd", "mgr") for word in ("--cap", of, "allow *")]
_CONFIGURATION = """[global]
fsid = {fsid}
mon host = 127.0.0.1:{monitor_port}
mon data = {folder}/mon
osd data = {folder}/osd
keyring = {folder}/keyring
run dir = {folder}
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
osd class dir = {libraries}/rados-classes
erasure code dir = {libraries}/ceph/erasure-code
plugin dir = {libraries}/ceph
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {kms_key}=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
"""


def fetch(programs: Path) -> None:
    """Unpack Debian's packages and what they need and the machine lacks; nothing is installed."""
    wanted = ["apt-get", "install", "--simulate", "--no-install-recommends", *_PACKAGES]
    said = subprocess.run(wanted, capture_output=True, text=True, check=True).stdout
    names = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
    packages = programs.with_name("packages")
    packages.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-qq", *names], cwd=packages, check=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "--extract", str(package), str(programs)], check=True)


@contextmanager
def ceph(
    folder: Path, programs: Path, ports: tuple[int, int], credentials: tuple[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of the gateway. `ports` are those of the gateway and of the monitor."""
    [libraries] = (programs / "usr" / "lib").glob("*-linux-gnu")
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{libraries}:{libraries}/ceph:{programs}/lib/{libraries.name}",
        "CEPH_CONF": str(folder / "ceph.conf"),
    }
    run = _Programs(folder, programs / "usr" / "bin", environment)
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    fsid, monitor = str(uuid.uuid4()), f"127.0.0.1:{ports[1]}"
    (folder / "ceph.conf").write_text(
        _CONFIGURATION.format(fsid=fsid, monitor_port=ports[1], folder=folder, libraries=libraries, kms_key=KMS_KEY)
    )
    keyring, map_of_monitors, map_of_disks = (folder / name for name in ("keyring", "monmap", "osdmap"))
    run("ceph-authtool", "--create-keyring", str(keyring), "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    for name in ("osd.0", "client.gateway"):
        run("ceph-authtool", str(keyring), "--gen-key", "-n", name, *_CAPABILITIES)
    run("monmaptool", "--create", "--add", "a", monitor, "--fsid", fsid, str(map_of_monitors))
    run("osdmaptool", "--createsimple", "1", str(map_of_disks), "--clobber")
    run(
        "ceph-mon",
        "--mkfs",
        "-i",
        "a",
        "--monmap",
        str(map_of_monitors),
        "--osdmap",
        str(map_of_disks),
        "--keyring",
        str(keyring),
    )
    with ExitStack() as running:
        running.enter_context(run.started("ceph-mon", "-f", "-i", "a", "--public-addr", monitor))
        run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", str(uuid.uuid4()))
        running.enter_context(run.started("ceph-osd", "-f", "-i", "0"))
        as_gateway = ["-n", "client.gateway", "--keyring", str(keyring)]
        key, secret = credentials
        user = ["user", "create", f"--uid={key}", f"--display-name={key}", f"--access-key={key}", f"--secret={secret}"]
        run("radosgw-admin", *as_gateway, *user)
        endpoint = f"beast endpoint=127.0.0.1:{ports[0]}"
        yield running.enter_context(run.started("radosgw", "-f", *as_gateway, "--rgw-frontends", endpoint))


class _Programs:
    """Programs of Ceph, each with the cluster's configuration."""

    def __init__(self, folder: Path, programs: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._programs, self._environment = folder, programs, environment

    def __call__(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=90)
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")

    @contextmanager
    def started(self, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        said = self._folder / f"{program}.txt"
        with said.open("wb") as out:
            process = subprocess.Popen(
                [str(self._programs / program), *arguments], env=self._environment, stdout=out, stderr=out
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
