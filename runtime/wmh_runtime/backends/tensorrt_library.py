"""Load TensorRT or TensorRT-RTX. Both libraries have the same interface."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from wmh_runtime.errors import BackendError, NotInstalledError
from wmh_runtime.text import install_advice
from wmh_runtime.types import EngineKind

_FIRST_STRONGLY_TYPED = 11
MODULES: dict[EngineKind, str] = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class TensorRtLibrary:
    """An imported library."""

    kind: EngineKind
    module: Any

    @property
    def version(self) -> str:
        """Version of the library. Only the same version runs the engines that it builds."""
        return str(self.module.__version__)


def load_tensorrt(kind: EngineKind) -> TensorRtLibrary:
    """Import a library.

    Raises:
        BackendError: it is not installed, cannot be loaded, or is too old.
    """
    library = TensorRtLibrary(kind, _import(kind))
    require_strong_types(library)
    return library


def _import(kind: EngineKind) -> Any:
    module = MODULES[kind]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        problem = f"the library {module} is not installed"
        raise NotInstalledError(problem, install_advice(kind), about=kind) from error
    except ImportError as error:
        problem = f"the library {module} cannot be loaded ({error})"
        advice = "Install it again, with the libraries that it needs."
        raise BackendError(problem, advice, about=kind) from error


def require_strong_types(library: TensorRtLibrary) -> None:
    """Check that the library keeps the number types of a graph (strongly typed networks).

    Raises:
        BackendError: TensorRT is older than version 11. It may compute in other precisions.
    """
    major = int(library.version.split(".")[0])
    if library.kind == "tensorrt" and major < _FIRST_STRONGLY_TYPED:
        raise BackendError(
            f"is version {library.version}, {_FIRST_STRONGLY_TYPED} or later is needed",
            install_advice("tensorrt"),
            about="tensorrt",
        )


def make_logger(module: Any) -> Any:
    """Create a logger that keeps every line. Its base class comes from the library's module."""

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.lines: list[str] = []
            self.errors: list[str] = []

        @property
        def reason(self) -> str:
            """The last error message of the library."""
            return self.errors[-1] if self.errors else "no error message"

        def log(self, severity: Any, message: str) -> None:
            self.lines.extend(message.splitlines())
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()
