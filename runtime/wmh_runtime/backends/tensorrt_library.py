"""TensorRT and TensorRT-RTX, the libraries: their interfaces are one."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from wmh_runtime.errors import BackendError, NotInstalledError
from wmh_runtime.types import EngineKind

_FIRST_STRONGLY_TYPED = 11
MODULES: dict[EngineKind, str] = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class TensorRtLibrary:
    """One of the two libraries."""

    kind: EngineKind
    library: Any

    @property
    def version(self) -> str:
        """Of the library; no other runs what it builds."""
        return str(self.library.__version__)


def load_tensorrt(kind: EngineKind) -> TensorRtLibrary:
    """Import a library.

    Raises:
        BackendError: it is not installed, cannot be loaded, or is too old.
    """
    toolkit = TensorRtLibrary(kind, _import(MODULES[kind], extra=kind))
    require_strong_types(toolkit)
    return toolkit


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        advice = f"Run in the project's folder: pip install '.[{extra}]'"
        raise NotInstalledError("is not installed", advice, about=module) from error
    except ImportError as error:
        advice = "Install it again, with the libraries it needs."
        raise BackendError(f"cannot be loaded ({error})", advice, about=module) from error


def require_strong_types(toolkit: TensorRtLibrary) -> None:
    """Refuse a TensorRT that would choose precisions itself, unless it is told not to.

    Raises:
        BackendError: it is older than version 11, whose networks keep the graph's types.
    """
    major = int(toolkit.version.split(".")[0])
    if toolkit.kind == "tensorrt" and major < _FIRST_STRONGLY_TYPED:
        raise BackendError(
            f"is version {toolkit.version}, {_FIRST_STRONGLY_TYPED} or later is needed",
            "Run in the project's folder: pip install '.[tensorrt]'",
            about="tensorrt",
        )


def make_logger(library: Any) -> Any:
    """Make a logger that keeps every line; its base class comes from the library."""

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lines: list[str] = []
            self.errors: list[str] = []

        @property
        def reason(self) -> str:
            """Why something failed, as far as it was told."""
            return self.errors[-1] if self.errors else "it gave no reason"

        def log(self, severity: Any, message: str) -> None:
            self.lines.extend(message.splitlines())
            if severity in (library.ILogger.ERROR, library.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()
