"""Whatever packed an artifact, its component has the same content, is one and the same, and opens everywhere."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from packager import package
from packager.core import gunzip
from packager.limits.strategy import STRATEGIES
from tests import archives, models
from tests.archives import Chopped, zipped
from tests.encoders import ENCODERS
from tests.hostile import java
from tests.packages import ground

KINDS = (models.weights, models.sparse_weights, models.quantized, models.text, models.json_records)
TARGET = "jetson-xavier"
USUAL_SEED = 1
SEEDS = [USUAL_SEED, *(pytest.param(seed, marks=pytest.mark.reliability) for seed in range(2, 5))]


@dataclass
class Zoo:
    """Random files, and the component of each encoder's archive of them, made by streaming."""

    files: dict[str, bytes]
    archives: dict[str, bytes]
    components: dict[str, Path]
    told: dict[str, str | None]
    """The SHA-256 that each result tells."""

    @property
    def contents(self):
        """Size and CRC-32 of each file of a component but its manifest, by name."""
        return {f"mochi/{name}": (len(data), zlib.crc32(data)) for name, data in self.files.items()}


def random_files(seed):
    """Small files and large ones of random sizes and kinds, so that members begin and end anywhere in a block."""
    draw = random.Random(seed)
    sizes = [draw.randint(0, 70_000) for _ in range(4)] + [draw.randint(1 << 19, 640_000) for _ in range(2)]
    draw.shuffle(sizes)
    files = dict(archives.compiled_files(b"".join(models.machine_code(3000, "zoo"))))
    for at, size in enumerate(sizes):
        content, start = a_lot_of(draw.choice(KINDS), seed), draw.randint(0, 50_000)
        files[f"layers/{at}"] = content[start : start + size]
    return files


@cache
def a_lot_of(kind, seed):
    return b"".join(kind(700_000, f"zoo {seed}"))


def components(here, made, name, strategies):
    """The results of packaging the archive of an encoder, by strategy."""
    path = here.root / f"{name}.tar.gz"
    path.write_bytes(made[name])
    for strategy in strategies:
        out = here.root / name / strategy
        [component] = package(here.trained, {TARGET: str(path)}, str(out), strategy=strategy, strict=True).components
        assert (component.error, component.strategy) == (None, strategy)
        yield component


@pytest.fixture(scope="module", params=SEEDS)
def zoo(request):
    files = random_files(request.param)
    tar = archives.tar(files.items())
    usual = request.param == USUAL_SEED
    chosen = {name: each for name, each in ENCODERS.items() if not each.missing and (each.usual or not usual)}
    packed = {name: each.pack(tar) for name, each in chosen.items()}
    with ground() as here:
        results = {name: next(components(here, packed, name, ["streaming"])) for name in packed}
        yield Zoo(
            files,
            packed,
            {name: Path(str(result.uri)) for name, result in results.items()},
            {name: result.sha256 for name, result in results.items()},
        )


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_is_installed(name):
    if missing := ENCODERS[name].missing:
        pytest.skip(f"{name} is not tried: {missing} is not installed")


def test_every_encoder_packs_what_other_readers_unpack(zoo):
    tar = archives.tar(zoo.files.items())
    for name, packed in zoo.archives.items():
        assert subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True).stdout == tar, name


def test_the_content_is_the_same_and_the_sha_256_of_the_result_is_that_of_the_component(zoo):
    for name, path in zoo.components.items():
        with zipfile.ZipFile(path) as component:
            found = {each: component.read(each) for each in component.namelist()[1:]}
        assert found == {f"mochi/{each}": data for each, data in zoo.files.items()}, name
        assert zoo.told[name] == hashlib.sha256(path.read_bytes()).hexdigest(), name


def test_the_component_is_no_larger_than_its_artifact_by_more_than_fifty_kilobytes(zoo):
    """32 KiB at the front of each large file are packed anew; of zopfli more, whose blocks are the longest of all."""
    for name in zoo.components.keys() - {"zopfli"}:
        path = zoo.components[name]
        assert path.stat().st_size < len(zoo.archives[name]) + 50_000, name


def test_any_cut_of_reads_and_any_buffers_give_the_same_bytes(zoo):
    draw = random.Random(repr(sorted(zoo.contents)))
    for name, packed in zoo.archives.items():
        usual = b"".join(zipped(Chopped(packed)))
        sizes = [draw.randint(700, 1 << 18) for _ in range(5)]
        room, read = draw.randint(1 << 16, 1 << 19), draw.randint(2000, 1 << 19)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gunzip, "_ROOM_BYTES", room)
            patch.setattr(gunzip, "_READ_BYTES", read)
            assert b"".join(zipped(Chopped(packed, sizes))) == usual, (name, sizes, room, read)


def test_every_strategy_gives_the_same_bytes(zoo):
    others = [each for each in STRATEGIES if each != "streaming"]
    with ground() as here:
        for name in list(zoo.archives)[::3]:
            for result in components(here, zoo.archives, name, others):
                assert Path(str(result.uri)).read_bytes() == zoo.components[name].read_bytes(), (name, result.strategy)
                assert result.sha256 == zoo.told[name]


@pytest.mark.parametrize(
    "command",
    [
        ["unzip", "-tqq", "{}"],
        ["bsdtar", "-xOf", "{}"],
        ["bsdtar", "-xOf", "-"],
        ["7z", "x", "-so", "{}"],
        ["busybox", "unzip", "-t", "{}"],
    ],
    ids=" ".join,
)
def test_other_programs_read_what_was_made_from_every_encoder(zoo, command):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    for name, path in zoo.components.items():
        arguments = [str(path) if each == "{}" else each for each in command]
        done = subprocess.run(arguments, input=path.read_bytes(), capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, (name, done.stderr[-500:])
        if "-t" not in command and "-tqq" not in command:
            with zipfile.ZipFile(path) as component:
                assert done.stdout == b"".join(map(component.read, component.namelist())), name


def test_java_reads_it_by_its_directory_and_front_to_back(zoo, tmp_path):
    for how in ("file", "stream"):
        told = java.read_all(tmp_path, how, zoo.components.values())
        assert [dict(each[1:]) for each in told] == [zoo.contents] * len(zoo.components)
        assert {each[0][0] for each in told} == {"manifest.json"}
