from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from infra import bundle
from tests import models, runtime_api

ARCHITECTURES = {"arm64": 0xB7, "x86_64": 0x3E}
"""Processors, and the number each has in the header of its libraries."""
HERE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
AWS = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "python_dateutil", "six", "urllib3")
"""What boto3 consists of, which is bundled so that every version is ours and on the bill."""
PEOPLES = ("click", "rich", "aws_cdk", "moto", "aiohttp", "pytest", "altair", "dashboards", "infra", "tests")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, worker_id):
    """Both bundles, built once for the whole run."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder = shared / "bundles"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        paths = {each: folder / f"function-{each}.zip" for each in ARCHITECTURES}
        for architecture, path in paths.items():
            if not path.exists():
                bundle.build(architecture, folder)
    return paths


def entries(path):
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def distributions(files):
    """Name and version of everything installed, from its metadata."""
    found = {}
    for name, content in files.items():
        if re.fullmatch(r"[^/]+\.dist-info/METADATA", name):
            metadata = Parser().parsestr(content.decode())
            found[canonical(metadata["Name"])] = metadata["Version"]
    return found


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked():
    return {
        canonical(name): version
        for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", bundle.LOCK.read_text("utf-8"))
    }


def test_the_same_commit_gives_the_same_bytes_wherever_it_is_built(bundles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    before = os.umask(0o077)
    try:
        again = bundle.build("arm64", tmp_path / "elsewhere")
    finally:
        os.umask(before)
    assert again.read_bytes() == bundles["arm64"].read_bytes()
    bill = bundle.BILL
    assert (again.parent / f"function-arm64.{bill}").read_bytes() == (
        bundles["arm64"].parent / f"function-arm64.{bill}"
    ).read_bytes()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_at_most_15_mb_unpacked_beyond_boto3(bundles, architecture):
    sizes = {name: len(content) for name, content in entries(bundles[architecture]).items()}
    aws = tuple(f"{each}{mark}" for each in AWS for mark in ("/", "-", "."))
    assert sum(size for name, size in sizes.items() if not name.startswith(aws)) <= 15_000_000
    assert sum(sizes.values()) <= 250 << 20


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_library_is_for_the_processor_and_python_of_the_function(bundles, architecture):
    libraries = {name: content for name, content in entries(bundles[architecture]).items() if name.endswith(".so")}
    assert libraries.pop(bundle.COMPILED[architecture])[18:20] == ARCHITECTURES[architecture].to_bytes(2, "little")
    assert libraries
    for name, content in libraries.items():
        assert content[:4] == b"\x7fELF", name
        assert int.from_bytes(content[18:20], "little") == ARCHITECTURES[architecture], name
        assert ".cpython-313-" in name or ".abi3." in name, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_of_peoples_tools_tests_or_infrastructure_is_in_it(bundles, architecture):
    names = entries(bundles[architecture])
    assert "packager/handler.py" in names
    assert not [name for name in names if name.startswith(tuple(f"{each}{mark}" for each in PEOPLES for mark in "/-"))]
    assert not bundle.FOR_PEOPLE & set(names)
    assert not [
        name for name in names if name.endswith((".pyc", "RECORD", "direct_url.json")) or name.startswith("bin/")
    ]
    for name, content in names.items():
        assert str(bundle.ROOT).encode() not in content, name


def test_no_module_of_ours_in_it_imports_one_that_was_left_out(bundles):
    ours = {
        name: text.decode()
        for name, text in entries(bundles["arm64"]).items()
        if name.startswith(bundle.OUR_PACKAGES) and name.endswith(".py")
    }
    for left_out in bundle.FOR_PEOPLE:
        assert (bundle.ROOT / left_out).is_file()
        module = left_out.removesuffix(".py").replace("/", ".")
        for name, text in ours.items():
            assert not re.search(rf"^\s*(from|import) {re.escape(module)}\b", text, re.MULTILINE), (name, module)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_order_dates_and_modes_say_nothing_of_the_machine(bundles, architecture):
    with zipfile.ZipFile(bundles[architecture]) as archive:
        listed = archive.infolist()
    assert [each.filename for each in listed] == sorted(each.filename for each in listed)
    assert {(each.date_time, each.external_attr >> 16, each.compress_type) for each in listed} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644, 0)
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_bill_of_materials_names_exactly_what_is_installed(bundles, architecture):
    files = entries(bundles[architecture])
    bill = json.loads(files[bundle.BILL])
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "edge-model-packager")
    named = {canonical(each["name"]): each["version"] for each in bill["components"]}
    assert named == distributions(files) == locked()
    assert all(each["purl"].startswith("pkg:pypi/") for each in bill["components"])
    assert "aiohttp" not in named
    assert [each["name"] for each in bill["components"] if not each.get("licenses")] == []
    assert "Apache" in json.dumps([each["licenses"] for each in bill["components"] if each["name"] == "boto3"])
    assert files["LICENSE"] == (bundle.ROOT / "LICENSE").read_bytes()


def test_the_bill_of_materials_is_valid_cyclonedx(bundles):
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415  only this test asks
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415  same

    bill = entries(bundles["arm64"])[bundle.BILL].decode()
    version = SchemaVersion.from_version(json.loads(bill)["specVersion"])
    assert JsonStrictValidator(version).validate_str(bill) is None


def test_a_lock_that_does_not_match_its_hashes_builds_nothing(tmp_path, monkeypatch):
    lock = tmp_path / "function.lock"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{4}", "sha256:0000", bundle.LOCK.read_text("utf-8")))
    with pytest.raises(bundle.BundleError, match=r"(?i)hash"):
        bundle.install(lock, tmp_path / "target", bundle.PLATFORMS["arm64"], bundle.PYTHON_VERSION)


def python_of_lambda(wanted=bundle.PYTHON_VERSION):
    """An interpreter of Lambda's version and its number, or this one's base when there is none."""
    candidates = [Path(each) / f"python{wanted}" for each in os.environ.get("PATH", "").split(os.pathsep)]
    candidates += Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(
        f"versions/{wanted}.*/bin/python{wanted}"
    )
    for each in candidates:
        if each.is_file() and subprocess.run([each, "-c", ""], capture_output=True, check=False).returncode == 0:
            return each, wanted
    number = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(sys.base_prefix) / "bin" / f"python{number}", number


NEXT_VERSION = "3.14"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_dependency_has_a_wheel_for_the_next_version_of_python(architecture, tmp_path):
    bundle.install(bundle.LOCK, tmp_path, bundle.PLATFORMS[architecture], NEXT_VERSION)
    built = [path.name for path in tmp_path.rglob("*.so")]
    assert built
    assert all(".cpython-314-" in name or ".abi3." in name for name in built), built


INTERPRETERS = {version: python for python, version in map(python_of_lambda, (bundle.PYTHON_VERSION, NEXT_VERSION))}


@pytest.mark.parametrize(
    "interpreter", [(python, version) for version, python in INTERPRETERS.items()], ids=lambda each: f"python{each[1]}"
)
def test_unpacked_it_serves_a_request_without_the_repository_or_any_installed_package(
    interpreter, tmp_path, monkeypatch, s3_server, bundles
):
    python, version = interpreter
    built = bundles[HERE] if version == bundle.PYTHON_VERSION else bundle.build(HERE, tmp_path, version)
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path / "task")
    lock = (bundle.ROOT / "requirements" / "dev.lock").read_text("utf-8")
    client = [
        re.search(rf"(?ms)^{name}==.*?(?=^\w|\Z)", lock)[0]
        for name in ("awslambdaric", "simplejson", "snapshot-restore-py")
    ]
    (tmp_path / "client.lock").write_text("".join(client))
    bundle.install(tmp_path / "client.lock", tmp_path / "client", bundle.PLATFORMS[HERE], version)

    # Neither the folder it starts in (-P) nor what is installed (-S): what Lambda unpacks and Lambda's own client.
    command = [str(python), "-P", "-S", "-m", "awslambdaric", "packager.handler.handler"]
    monkeypatch.setattr(runtime_api, "_command", lambda *_: command)
    bucket = s3_server.bucket()
    s3 = s3_server.client()
    s3.upload_file(str(models.trained(tmp_path / "model.tar.gz", 1 << 16)), bucket, "trained/model.tar.gz")
    s3.upload_file(str(models.neo(tmp_path / "neo.tar.gz", 1 << 16)), bucket, "compiled/neo.tar.gz")
    environment = {
        "PYTHONPATH": f"{tmp_path / 'task'}:{tmp_path / 'client'}",
        "AWS_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    event = {
        "trained": f"s3://{bucket}/trained/model.tar.gz",
        "compiled": [{"target": "jetson-xavier", "uri": f"s3://{bucket}/compiled/neo.tar.gz"}],
        "output": f"s3://{bucket}",
    }
    with runtime_api.function(environment) as function:
        document = function.invoke(event)
        maps = Path(f"/proc/{function.process.pid}/maps").read_text("utf-8")
        assert function.operations("PackageTarget")
    assert [(each["target"], each["status"]) for each in document["components"]] == [("jetson-xavier", "packaged")]
    assert document["components"][0]["uri"].startswith(f"s3://{bucket}/model_artifacts/")
    assert str(bundle.ROOT / "packager") not in maps
    assert ".venv" not in maps
