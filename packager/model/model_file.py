"""Which file of an artifact is its ONNX model: the only one there is, or the one that the caller names."""

from __future__ import annotations

from posixpath import basename
from typing import TYPE_CHECKING

from packager.errors import ExtractionError, RequestError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

ENDING = ".onnx"
_SHOWN = 10


_NO_WEIGHTS = (ENDING, ".pt", ".json", ".yaml", ".yml", ".txt", ".md", ".csv", ".names", ".png", ".jpg")


def may_be_external_data(path: str, model: str) -> bool:
    """Whether a file lies where the model looks for its external data, in its folder or below, and is none of text.

    https://onnx.ai/onnx/repo-docs/ExternalData.html
    """
    folder = model[: len(model) - len(basename(model))]
    return path != model and path.startswith(folder) and not path.lower().endswith(_NO_WEIGHTS)


def is_wanted(path: str, model_file: str | None) -> bool:
    """Whether the caller's choice, a path or a file name, leaves this file in; everything does without one."""
    return not model_file or model_file.removeprefix("./") in (path, basename(path))


def only_model_file(paths: Sequence[str], model_file: str | None) -> str:
    """The one path of `.onnx` files that is the model.

    RequestError when there are several and no choice, or one that fits none or several; ExtractionError for none.
    """
    if not paths:
        raise ExtractionError(
            "The artifact holds no .onnx file.", next_step="Export the model as ONNX again, and pack the export."
        )
    wanted = [path for path in paths if path == model_file] or [path for path in paths if is_wanted(path, model_file)]
    if len(wanted) != 1:
        raise ambiguous(wanted or paths, model_file)
    return wanted[0]


def refuse_taken_place(path: str, taken: AbstractSet[str]) -> None:
    """RequestError when the model would be written to the top, where devices look for it, over what has its name."""
    name = basename(path)
    if name == path or name not in taken:
        return
    raise RequestError(
        f"The model {printable(path)!r} goes to the top, where the artifact has another {printable(name)!r}.",
        next_step="Choose that one, or give one of them another name in the artifact.",
        field="model_file",
        found=printable(path),
    )


def ambiguous(paths: Sequence[str], model_file: str | None = None) -> RequestError:
    """The error for several files that could be the model, or none of the name that was asked for."""
    shown = [printable(path) for path in paths[:_SHOWN]]
    more = f", and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    asked = f", and {printable(model_file)!r} does not tell which is the model" if model_file else ""
    return RequestError(
        f"The artifact holds {len(paths)} .onnx files ({', '.join(shown)}{more}){asked}.",
        next_step="Name the path of the one that devices load: --model-file PATH, or `model_file` of a call or event.",
        field="model_file",
        found=shown,
    )
