"""OpenStack Swift with its gateway for S3: one server of each kind, over a folder; needs no pytest.

with swift(folder, python, ports, credentials) as process:
    ...
"""

from __future__ import annotations

import getpass
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_RELEASE = "swift==2.30.1"
_RUN = """
import sys
from swift.common import utils
from swift.common.wsgi import run_wsgi

utils.SWIFT_CONF_FILE = sys.argv[3]
wanted = {}
if sys.argv[2] == "object-server":
    from swift.obj.server import global_conf_callback

    wanted["global_conf_callback"] = global_conf_callback
sys.exit(run_wsgi(sys.argv[1], sys.argv[2], **wanted))
"""
"""As Swift's own programs, but for the place of its configuration, which is fixed in them."""

_COMMON = """[swift-hash]
swift_hash_path_prefix = models
swift_hash_path_suffix = models
[storage-policy:0]
name = only
default = yes
"""
_STORAGE = """[DEFAULT]
devices = {folder}
mount_check = false
disable_fallocate = true
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
user = {owner}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
user = {owner}
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
[filter:slo]
use = egg:swift#slo
"""


def fetch(environment: Path) -> None:
    """Install Swift into an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, _RELEASE], check=True)


@contextmanager
def swift(
    folder: Path, environment: Path, ports: Mapping[str, int], credentials: tuple[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of the proxy. `ports` are those of account, container, object and proxy."""
    programs = environment / "bin"
    (folder / "swift.conf").write_text(_COMMON)
    (folder / "disk").mkdir()
    (account, _, user), secret = credentials[0].partition(":"), credentials[1]
    with ExitStack() as running:
        for kind in ("account", "container", "object"):
            ring = [str(programs / "python"), "-W", "ignore", str(programs / "swift-ring-builder"), f"{kind}.builder"]
            for asked in ("create 4 1 1", f"add r1z1-127.0.0.1:{ports[kind]}/disk 1", "rebalance"):
                subprocess.run([*ring, *asked.split()], cwd=folder, check=True, capture_output=True)
            configuration = _STORAGE.format(folder=folder, port=ports[kind], kind=kind, owner=getpass.getuser())
            running.enter_context(_started(folder, programs, kind, configuration))
        configuration = _PROXY.format(
            folder=folder, port=ports["proxy"], account=account, user=user, secret=secret, owner=getpass.getuser()
        )
        yield running.enter_context(_started(folder, programs, "proxy", configuration))


@contextmanager
def _started(folder: Path, programs: Path, kind: str, configuration: str) -> Iterator[subprocess.Popen[bytes]]:
    file = folder / f"{kind}.conf"
    file.write_text(configuration)
    command = [str(programs / "python"), "-W", "ignore", "-c", _RUN, str(file), f"{kind}-server"]
    with (folder / f"{kind}.txt").open("wb") as out:
        process = subprocess.Popen([*command, str(folder / "swift.conf")], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
