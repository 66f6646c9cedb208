"""The targets: kinds of devices that components are made for, and which of them one artifact serves."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from packager.errors import RequestError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPILED_ONNX = "onnx"
"""What a compilation job calls its target when it exports ONNX instead of compiling for one device."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of device.

    Attributes:
        name: as in requests and tables.
        architecture: Greengrass platform architecture; empty for any.
        dependency: Greengrass component that runs the model there; empty when the component sees to that itself.
    """

    name: str
    architecture: str
    dependency: str

    @property
    def runs_compiled_onnx(self) -> bool:
        """Whether components for it hold an exported ONNX model, never a Neo one."""
        return self.name.startswith(f"{COMPILED_ONNX}-")


NO_TARGET = Target("", architecture="", dependency="")
"""For components of the layout `files`, which no server component runs."""


def _server(name: str, architecture: str, variant: str) -> Target:
    return Target(name, architecture, f"aws.edgeml.dda.LocalServer.{variant}")


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        each.name: each
        for each in (
            _server("jetson-xavier", "aarch64", "arm64JP4"),
            _server("arm64-cpu", "aarch64", "arm64JP4"),
            _server("jetson-xavier-jp5", "aarch64", "arm64JP5"),
            _server("jetson-xavier-jp6", "aarch64", "arm64JP6"),
            _server("jetson-xavier-jp7", "aarch64", "arm64JP7"),
            _server("onnx-jetson-xavier-jp5", "aarch64", "arm64JP5"),
            _server("onnx-jetson-xavier-jp6", "aarch64", "arm64JP6"),
            _server("onnx-jetson-xavier-jp7", "aarch64", "arm64JP7"),
            _server("x86_64-cpu", "amd64", "amd64"),
            _server("x86_64-cuda", "amd64", "amd64"),
        )
    }
)

SERVED_BY_COMPILED_ONNX = tuple(each for each in TARGETS.values() if each.runs_compiled_onnx)
SERVED_BY_IMPORTED_ONNX = tuple(
    TARGETS[name] for name in ("jetson-xavier-jp5", "jetson-xavier-jp6", "jetson-xavier-jp7", "x86_64-cpu")
)


def target(name: object) -> Target:
    """The target of that name; RequestError lists the known ones. There is no default: a wrong one breaks devices."""
    found = TARGETS.get(name) if isinstance(name, str) else None
    if found is None:
        raise _unknown(name, sorted(TARGETS))
    return found


def served_by(compile_target: object, export_format: object = None) -> tuple[Target, ...]:
    """The targets that the compiled artifact of one compilation job serves.

    An ONNX export (compile target `onnx`, or export format `onnx`) serves three from one upload, anything else its own
    target alone. RequestError lists the known names.
    """
    if COMPILED_ONNX in (compile_target, export_format):
        return SERVED_BY_COMPILED_ONNX
    if not isinstance(compile_target, str) or compile_target not in TARGETS:
        raise _unknown(compile_target, sorted((*TARGETS, COMPILED_ONNX)))
    return (TARGETS[compile_target],)


def _unknown(name: object, known: list[str]) -> RequestError:
    shown = printable(name) if isinstance(name, str) else type(name).__name__
    return RequestError(
        f"There is no target {shown!r}.",
        next_step=f"Name one of {', '.join(known)}.",
        field="target",
        found=shown,
        known=known,
    )
