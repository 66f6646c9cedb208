"""Exports of small models as their frameworks write them, made by hand from the published layout of each format.

    onnx_model      https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; ONNX Runtime runs it
    tflite_model    tensorflow/lite/schema/schema.fbs of TensorFlow; LiteRT runs it
    torchscript     the ZIP and records of https://pytorch.org/docs/stable/notes/serialization.html; nothing has run it
    sklearn_model   a pickle, as joblib.dump writes one of plain objects

The frameworks themselves take gigabytes. Where they are installed, tests/end_to_end/test_exports.py tries what they
ship and make.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from struct import pack
from typing import TYPE_CHECKING

from tests import models
from tests.packages import content, tar

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = 16
"""Numbers that each model adds to its input."""

LABELS = b"cat\ndog\n"
METADATA = (
    b"description: Ultralytics YOLOv8n model\ntask: detect\nstride: 32\nimgsz: [64, 64]\nnames: {0: cat, 1: dog}\n"
)


def write_all(folder: Path) -> None:
    """The exports that the pages about kinds of models begin with, under the names that those give them."""
    (folder / "yolov8n.onnx").write_bytes(onnx_model({"task": "detect", "names": "{0: 'cat', 1: 'dog'}"}))
    (folder / "yolov8n.torchscript").write_bytes(torchscript({"config.txt": METADATA}))
    (folder / "mobilenet.tflite").write_bytes(tflite_model())
    (folder / "resnet.pt").write_bytes(torchscript())
    (folder / "classifier").mkdir()
    (folder / "classifier" / "model.onnx").write_bytes(onnx_model())
    (folder / "classifier" / "labels.txt").write_bytes(LABELS)
    (folder / "classifier" / "main.py").write_bytes(b"print('no model is run in a test')\n")
    (folder / "sklearn").mkdir()
    (folder / "sklearn" / "model.joblib").write_bytes(sklearn_model())
    (folder / "sklearn" / "requirements.txt").write_bytes(b"scikit-learn==1.7.0\n")
    models.neo(folder / "neo.tar.gz")
    tokenizer = {"config.json": b"{}", "model.safetensors": content(600_000), "tokenizer/vocab.json": b'{"a": 0}'}
    (folder / "llm.tar").write_bytes(tar(tokenizer))


def onnx_model(metadata: dict[str, str] | None = None) -> bytes:
    """A ModelProto of one Add: WEIGHTS floats of input, as many of output."""
    dims = _field(2, _field(1, _number(1, WEIGHTS)))  # TensorShapeProto in a Tensor type
    kind = _field(2, _field(1, _number(1, 1) + dims))
    weights = _number(1, WEIGHTS) + _number(2, 1) + _field(8, b"w") + _field(9, pack(f"<{WEIGHTS}f", *range(WEIGHTS)))
    node = b"".join((_field(1, b"x"), _field(1, b"w"), _field(2, b"y"), _field(3, b"add"), _field(4, b"Add")))
    graph = b"".join(
        (
            _field(1, node),
            _field(2, b"graph"),
            _field(5, weights),
            _field(11, _field(1, b"x") + kind),
            _field(12, _field(1, b"y") + kind),
        )
    )
    named = b"".join(
        _field(14, _field(1, key.encode()) + _field(2, value.encode())) for key, value in (metadata or {}).items()
    )
    return _number(1, 8) + _field(2, b"by hand") + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13)) + named


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    most = value >> 7
    return bytes([value & 127 | (128 if most else 0)]) + (_varint(most) if most else b"")


Table = dict[int, "int | bytes | str | list[int] | list[Table]"]
"""A flatbuffers table: values by slot; all numbers are 32 bits wide."""


def tflite_model() -> bytes:
    """A Model of one Add: WEIGHTS floats of input, as many of output."""
    tensors: list[Table] = [{0: [WEIGHTS], 2: number, 3: name} for number, name in enumerate("xwy")]
    graph: Table = {0: tensors, 1: [0], 2: [2], 3: [{0: 0, 1: [0, 1], 2: [2]}], 4: "main"}
    weights = pack(f"<{WEIGHTS}f", *range(WEIGHTS))
    model: Table = {0: 3, 1: [{2: 1}], 2: [graph], 3: "by hand", 4: [{}, {0: weights}, {}]}
    return _FlatBuffer().of(model)


class _FlatBuffer:
    """Tables first, what they point to behind them: offsets of flatbuffers lead forward."""

    def __init__(self) -> None:
        self._data = bytearray(pack("<I4s", 0, b"TFL3"))

    def of(self, root: Table) -> bytes:
        self._point(0, self._table(root))
        return bytes(self._data)

    def _point(self, at: int, to: int) -> None:
        self._data[at : at + 4] = pack("<I", to - at)

    def _align(self, size: int) -> None:
        self._data += bytes(-len(self._data) % size)

    def _table(self, fields: Table) -> int:
        slots = [
            4 + 4 * sorted(fields).index(slot) if slot in fields else 0 for slot in range(max(fields, default=-1) + 1)
        ]
        self._align(4)
        vtable = len(self._data)
        self._data += pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), 4 + 4 * len(fields), *slots)
        self._align(4)
        table = len(self._data)
        self._data += pack("<i", table - vtable) + bytes(4 * len(fields))
        for slot, value in fields.items():
            at = table + slots[slot]
            if isinstance(value, int):
                self._data[at : at + 4] = pack("<i", value)
            else:
                self._point(at, self._value(value))
        return table

    def _value(self, value: object) -> int:
        self._align(16)
        self._data += bytes(12)  # so that what follows the length lies on 16 bytes, as weights have to
        at = len(self._data)
        if isinstance(value, bytes | str):
            data = value.encode() if isinstance(value, str) else value
            self._data += pack("<I", len(data)) + data + b"\0"
            return at
        assert isinstance(value, list)
        self._data += pack("<I", len(value))
        if value and isinstance(value[0], int):
            self._data += pack(f"<{len(value)}i", *value)
            return at
        self._data += bytes(4 * len(value))
        for number, each in enumerate(value):
            self._point(at + 4 + 4 * number, self._table(each))
        return at


def torchscript(extra: dict[str, bytes] | None = None) -> bytes:
    """The ZIP that torch.jit.save writes: records stored, below a folder of the model's name."""
    records = {
        "data.pkl": pickle.dumps({"training": False}, protocol=2),
        "code/__torch__.py": b"class Net(Module):\n  __parameters__ = []\n",
        "data/0": content(700_000),
        "constants.pkl": pickle.dumps((), protocol=2),
        **{f"extra/{name}": data for name, data in (extra or {}).items()},
        "version": b"3\n",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records.items():
            archive.writestr(zipfile.ZipInfo(f"model/{name}"), data)
    return made.getvalue()


def sklearn_model() -> bytes:
    return pickle.dumps({"coef_": [0.5] * WEIGHTS, "intercept_": 1.0, "classes_": ["cat", "dog"]}, protocol=4)
