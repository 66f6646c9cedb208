"""Exports of every kind, from the file to a component that Java reads, a recipe, and an answer from the device."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from packager.cli.commands import packager as command_line
from packager.packaging import package
from packager.stores.formats import container
from tests import exports
from tests.hostile.java import read_all
from tests.packages import ground

NAMED = {"layout": "files", "name": "com.example.n", "version": "1.0.0"}
KINDS = {
    "yolov8n.onnx": "onnxruntime",
    "yolov8n.torchscript": "model",
    "mobilenet.tflite": "tflite",
    "resnet.pt": "model",
    "classifier": "onnxruntime",
    "sklearn": "model",
    "neo.tar.gz": "model",
    "llm.tar": "model",
}


@pytest.fixture(scope="module")
def here():
    with ground() as made:
        exports.write_all(made.root)
        yield made


def run(*arguments):
    return CliRunner().invoke(command_line, [str(each) for each in arguments])


def made_by(here, kind, strategy):
    (made,) = package(
        str(here.root / kind), {}, f"{here.out}/{strategy}", **NAMED, strategy=strategy, prefix="model"
    ).components
    assert made.error is None, made.error
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_the_same_component_by_every_strategy_and_its_files_are_the_export(here, kind):
    made = {strategy: made_by(here, kind, strategy) for strategy in ("streaming", "standard", "sequential", "partial")}
    assert len({each.sha256 for each in made.values()}) == 1
    component = made["streaming"].uri
    with zipfile.ZipFile(component) as files:
        contents = {name.removeprefix("model/"): files.read(name) for name in files.namelist()}
    source = here.root / kind
    if source.is_dir():
        assert contents == {
            path.relative_to(source).as_posix(): path.read_bytes() for path in source.rglob("*") if path.is_file()
        }
    elif not container(source.read_bytes()[:4096]) or kind.endswith((".pt", ".torchscript")):
        assert contents == {kind: source.read_bytes()}
    for how in ("file", "stream"):
        (read,) = read_all(here.root, how, [Path(component)])
        assert {name.removeprefix("model/"): each for name, each in read} == {
            name: (len(data), zlib.crc32(data)) for name, data in contents.items()
        }


@pytest.mark.parametrize(("kind", "template"), KINDS.items())
def test_an_export_goes_to_the_device_and_what_is_there_is_what_was_shipped(here, kind, template):
    folder = here.root / "device" / kind
    asked = ("--layout", "files", "--name", "com.example.n", "--version", "1.0.0", "--recipe", template, "--json")
    done = run("package", "--model", here.root / kind, "--output", folder / "out", *asked)
    document = json.loads(done.stdout)
    component, recipe = document["components"][0]["uri"], document["recipe"]
    assert run("check", component, "--layout", "files", "--strict").exit_code == 0
    assert run("check", recipe, "--strict").exit_code == 0
    assert run("bundle-local", recipe, "--artifact", component, "--output", folder / "bundle").exit_code == 0
    (held,) = (folder / "bundle" / "artifacts").rglob("*.zip")
    assert run("diff", component, held).exit_code == 0
    with zipfile.ZipFile(held) as files:
        files.extractall(folder / "unpacked")
        first = files.namelist()[0]
    assert run("verify", folder / "unpacked", component).exit_code == 0
    (folder / "unpacked" / first).write_bytes(b"changed")
    assert run("verify", folder / "unpacked", component).exit_code == 1


def test_the_onnx_model_is_one_that_onnx_runtime_runs():
    runtime = pytest.importorskip("onnxruntime", reason="NO ONNX RUNTIME: pip install onnxruntime to try the export")
    numpy = pytest.importorskip("numpy")
    session = runtime.InferenceSession(exports.onnx_model({"task": "detect"}))
    (answer,) = session.run(None, {"x": numpy.ones(exports.WEIGHTS, numpy.float32)})
    assert list(answer) == [1 + weight for weight in range(exports.WEIGHTS)]


def test_the_tflite_model_is_one_that_litert_runs():
    litert = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="NO LITERT: pip install ai-edge-litert to try the export"
    )
    numpy = pytest.importorskip("numpy")
    interpreter = litert.Interpreter(model_content=exports.tflite_model())
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, numpy.ones(exports.WEIGHTS, numpy.float32))
    interpreter.invoke()
    assert list(interpreter.get_tensor(2)) == [1 + weight for weight in range(exports.WEIGHTS)]
