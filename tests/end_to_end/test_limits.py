"""Large artifacts on small disks with little memory, as people run the packager; and disks that fill up half-way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from packager import run
from packager.errors import InsufficientStorageError, StagingNeededError
from packager.limits import retry
from packager.limits.storage import StorageManager
from packager.packaging import package
from packager.settings import Settings
from telemetry.engine.testing import recorded
from tests import archives
from tests.packages import BLOCK_BYTES, TARGETS, Model, content, ground
from tests.small_disk import left_in_tmp, needs_root, on_small_disk, over_tmp

PACKAGER = str(Path(sys.executable).with_name("packager"))
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MEMORY_BYTES = 512 * MIB


# -- a large artifact -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place():
    """A folder that is not below /tmp, where the small disk is mounted."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module", params=[200 * MIB, pytest.param(2 * GIB, marks=pytest.mark.slow)], ids=["200M", "2G"])
def large(request, place):
    """An artifact that unpacks to so much, and to which no scratch of 64 MB is enough, packed to half of it."""
    size_bytes = request.param
    block = content(2 * MIB) + bytes(2 * MIB)
    packed_block = archives.gz(block, levels=(1,))
    path = place / f"{size_bytes}.tar.gz"
    with path.open("wb") as file:
        for name, data in archives.compiled_files(b"small"):
            file.write(archives.gz(archives.member(name.encode(), data), levels=(1,)))
        file.write(archives.gz(archives.header(b"weights.bin", size_bytes), levels=(1,)))
        for _ in range(size_bytes // len(block)):
            file.write(packed_block)
        file.write(archives.gz(archives.END))
    (place / "trained.tar.gz").write_bytes(archives.trained_model())
    packed_bytes = path.stat().st_size
    return SimpleNamespace(
        path=path, size_bytes=size_bytes, packed_bytes=packed_bytes, trained=place / "trained.tar.gz"
    )


@contextmanager
def little_memory():
    """The tasks file of a control group in which there is little memory; None where none can be made."""
    group = MEMORY_GROUPS / f"packager-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        (group / "memory.limit_in_bytes").write_text(str(MEMORY_BYTES))
        yield group / "tasks"
    finally:
        group.rmdir()


def packaged(large, out, strategy, *, confined):
    """What the command says: confined to /tmp of 64 MB and little memory, or on a disk that holds everything."""
    command = [PACKAGER, "package", "--trained", large.trained, "--compiled", f"x86_64-cpu={large.path}"]
    command += ["--output", out, "--strategy", strategy, "--json"]
    environment = {name: value for name, value in os.environ.items() if name not in {"TMPDIR", "SCRATCH_DIR"}}
    if not confined:
        environment["SCRATCH_DIR"] = str(out.with_name("scratch"))
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, check=False)
        assert not list(out.with_name("scratch").glob("*"))
        return SimpleNamespace(status=done.returncode, **json.loads(done.stdout))
    mounted = " && ".join([*over_tmp("-t tmpfs -o size=64m none"), '"$@"; status=$?; ls -A /tmp >&2; exit $status'])
    with little_memory() as tasks:
        assert tasks, "memory could not be limited"
        joined = f"echo $$ > {tasks}; {mounted}"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", joined, "sh", *map(str, command)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert left_in_tmp(done.stderr.split("\n")[:-1]) == []
    return SimpleNamespace(status=done.returncode, **json.loads(done.stdout))


def sha256_of(path):
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def whole(large, place):
    """The component as it is made by streaming, without a limit."""
    done = packaged(large, place / f"whole-{large.size_bytes}", "streaming", confined=False)
    [component] = done.components
    assert (done.status, component["status"]) == (0, "packaged")
    with zipfile.ZipFile(component["uri"]) as file:
        assert file.getinfo("mochi/weights.bin").file_size == large.size_bytes
    yield component
    shutil.rmtree(place / f"whole-{large.size_bytes}")


needs_memory_groups = pytest.mark.skipif(
    not (MEMORY_GROUPS / "memory.limit_in_bytes").exists(), reason="NOT TESTED with little memory: no control groups"
)


@needs_root
@needs_memory_groups
@pytest.mark.parametrize("strategy", ["streaming", "auto", "partial"])
def test_what_needs_no_scratch_completes_on_64_mb_of_disk_and_512_mb_of_memory_with_the_same_bytes(
    large, whole, place, strategy
):
    out = place / f"out-{strategy}"
    done = packaged(large, out, strategy, confined=True)
    [component] = done.components
    assert (done.status, component["error"]) == (0, None)
    assert component["sha256"] == whole["sha256"] == sha256_of(component["uri"])
    assert component["strategy"] == {"auto": "streaming"}.get(strategy, strategy)
    assert done.peak_scratch_bytes == 0
    shutil.rmtree(out)


@needs_root
@needs_memory_groups
@pytest.mark.parametrize("strategy", ["standard", "sequential"])
def test_what_needs_scratch_refuses_64_mb_of_disk_before_writing_with_figures_and_a_way_out(large, place, strategy):
    out = place / f"out-{strategy}"
    done = packaged(large, out, strategy, confined=True)
    assert done.status == 1
    error = done.error
    assert error["type"] == "InsufficientStorageError"
    assert large.packed_bytes < error["required_bytes"] < 1.01 * large.packed_bytes
    assert error["available_bytes"] <= 64 << 20
    assert error["missing_bytes"] == error["required_bytes"] - error["available_bytes"]
    assert error["path"] == "/tmp"  # noqa: S108  named, not used
    assert error["suggestions"][0].startswith("use the strategy streaming")
    assert not out.exists()


@pytest.mark.parametrize("strategy", ["standard", "sequential", "partial", "auto"])
def test_on_a_disk_that_holds_it_every_strategy_gives_the_same_bytes(large, whole, place, strategy):
    out = place / f"roomy-{strategy}"
    done = packaged(large, out, strategy, confined=False)
    [component] = done.components
    assert (done.status, component["error"]) == (0, None)
    assert component["sha256"] == whole["sha256"] == sha256_of(component["uri"])
    assert (done.peak_scratch_bytes >= 0.99 * large.packed_bytes) == (strategy in {"standard", "sequential"})
    shutil.rmtree(out)


# -- a disk that fills up ---------------------------------------------------------------------------------------------


@pytest.fixture
def _without_pauses():
    with mock.patch.multiple(retry, WAIT_INITIAL_S=0, WAIT_JITTER_S=0):
        yield


@needs_root
@pytest.mark.usefixtures("_without_pauses")
@pytest.mark.parametrize("tenth", range(11))
def test_a_disk_that_is_full_after_any_tenth_of_a_staged_package_is_an_error_with_figures_and_nothing_is_left(tenth):
    model = Model({f"{number:02d}": 8 * BLOCK_BYTES for number in range(20)})

    def work(disk):
        foreign = disk / "of somebody else"

        def fill_up(state):
            if state.phase == "staging" and state.scratch_bytes > sum(model.sizes_bytes.values()) * (tenth - 1) / 10:
                with suppress(OSError), foreign.open("ab", buffering=0) as file:
                    while file.write(bytes(BLOCK_BYTES)):
                        pass

        with ground() as here:
            compiled = here.each_compiled([model])
            limits = Settings(scratch_dir=disk)
            result = package(
                here.trained, compiled, here.out, strategy="standard", settings=limits, on_progress=fill_up
            )
            [component] = result.components
            if component.error is None:
                assert tenth == 10
                assert component.uri
            else:
                error = component.error
                assert isinstance(error, InsufficientStorageError), error
                assert error.required_bytes == model.staged_bytes
                assert 0 <= error.available_bytes < error.required_bytes
                assert error.path == str(disk)
                assert error.suggestions
                assert here.published() == set()
            assert list(disk.iterdir()) == [foreign]
            foreign.unlink()
            result = package(here.trained, compiled, here.out, strategy="standard", settings=limits, force=True)
            assert Path(result.components[0].uri).read_bytes() == model.component(result)
            assert list(disk.iterdir()) == []

    on_small_disk(work, 300 * BLOCK_BYTES)


# -- targets that do not fit side by side -----------------------------------------------------------------------------


@needs_root
@pytest.mark.usefixtures("_without_pauses")
@pytest.mark.parametrize("streams", [True, False], ids=["hard links", "no streaming"])
def test_eight_targets_at_once_all_succeed_where_only_two_fit_and_never_more_is_reserved_than_there_is(streams):
    models = [
        Model({"model.onnx": 44 * BLOCK_BYTES, **{f"{at}": BLOCK_BYTES for at in range(8)}}, {"linked": "0"}, seed)
        for seed in range(8)
    ]
    names = (*TARGETS, "onnx-jetson-xavier-jp5")
    reserved = []

    class Watched(StorageManager):
        def reserve(self, *args):
            reservation = super().reserve(*args)
            reserved.append(sum(self.reservations().values()))
            return reservation

    def work(disk):
        limits = Settings(scratch_dir=disk, max_concurrent_operations=8, streaming_enabled=streams)
        there_bytes = StorageManager(limits).get_unreserved_space()
        assert 2 * models[0].staged_bytes <= there_bytes < 3 * models[0].staged_bytes
        with ground() as here, mock.patch.object(run, "StorageManager", Watched):
            compiled = {name: here.compiled(model) for name, model in zip(names, models, strict=True)}
            result = package(here.trained, compiled, here.out, settings=limits)
            assert [each.status for each in result.components] == ["packaged"] * 8, result
            for model, component in zip(models, result.components, strict=True):
                with zipfile.ZipFile(component.uri) as file:
                    assert file.read("mochi/model.onnx") == model.files["model.onnx"]
                    assert file.read("mochi/linked") == model.files["0"]
                    assert len(file.namelist()) == 11
            assert len(reserved) == 8
            assert max(reserved) <= there_bytes
            assert result.peak_scratch_bytes <= there_bytes
        assert list(disk.iterdir()) == []

    on_small_disk(work, 160 * BLOCK_BYTES)


# -- hard links -------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path):
    """The same files as tar packs them: with hard links, and with each link as a file of its own."""
    files = tmp_path / "files"
    files.mkdir()
    for name, data in archives.compiled_files(content(100 * KIB)):
        (files / name).write_bytes(data)
    (files / "zz-linked").hardlink_to(files / "compiled.so")
    packed = {}
    for kind, options in {"linked": [], "dereferenced": ["--hard-dereference"]}.items():
        packed[kind] = tmp_path / f"{kind}.tar.gz"
        subprocess.run(
            ["tar", *options, "--sort=name", "-C", files, "-czf", packed[kind], "."], check=True, capture_output=True
        )
    (tmp_path / "trained.tar.gz").write_bytes(archives.trained_model())
    return SimpleNamespace(trained=str(tmp_path / "trained.tar.gz"), scratch=tmp_path / "scratch", **packed)


def test_auto_falls_back_to_staging_once_and_a_linked_archive_gives_the_bytes_of_a_dereferenced_one(linked, tmp_path):
    results = []
    for kind in ("dereferenced", "linked"):
        with recorded() as records:
            results.append(
                package(
                    linked.trained,
                    {"arm64-cpu": str(getattr(linked, kind))},
                    str(tmp_path / kind),
                    settings=Settings(scratch_dir=linked.scratch),
                )
            )
    plain, staged = (result.components[0] for result in results)
    assert Path(plain.uri).read_bytes() == Path(staged.uri).read_bytes()
    assert (plain.strategy, staged.strategy) == ("streaming", "standard")
    chosen = [each.fields["strategy"] for each in records if each.row == "ChooseStrategy"]
    assert chosen == ["streaming", "standard"]
    written = [(each.outcome, each.error) for each in records if each.row == "WriteComponent"]
    assert written == [("failure", "StagingNeededError"), ("success", "")]
    assert not list(linked.scratch.iterdir())


def test_streaming_that_was_asked_for_refuses_a_hard_link_with_a_way_out_and_publishes_nothing(linked, tmp_path):
    result = package(
        linked.trained,
        {"arm64-cpu": str(linked.linked)},
        str(tmp_path / "out"),
        strategy="streaming",
        settings=Settings(scratch_dir=linked.scratch),
    )
    [component] = result.components
    assert (component.status, type(component.error)) == ("failed", StagingNeededError)
    assert "standard" in component.error.next_step
    assert "--hard-dereference" in component.error.next_step
    assert not (tmp_path / "out").exists()
