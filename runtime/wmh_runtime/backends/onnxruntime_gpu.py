"""ONNX Runtime on a GPU: its CUDA provider, and its TensorRT provider.

Slices go through pinned memory to fixed places on the GPU, which the session is bound to.
"""

from __future__ import annotations

import contextlib
import io
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wmh_runtime.backends.gpu.device import Device
from wmh_runtime.backends.onnx_graph import OnnxBackend
from wmh_runtime.errors import BackendError, NotInstalledError
from wmh_runtime.files.user_cache import user_cache_folder
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats, NetworkShape

_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
# What ONNX Runtime's log tells: warnings, as it does by itself; errors; nothing but the end.
_WARNINGS, _ERRORS, _NOTHING = 2, 3, 4


class OnnxRuntimeGpuBackend(OnnxBackend):
    """Executes an ONNX graph on a GPU.

    Args:
        graph: the .onnx file.
        shape: of the network in it.
        open_device: takes the GPU.
        number: of the GPU.
        precision: to compute in.
        batch_size: slices executed at a time.
    """

    library = "onnxruntime"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16")
    provider: ClassVar[str]
    _session: Any = None
    _binding: Any = None

    def __init__(
        self,
        graph: Path,
        shape: NetworkShape,
        open_device: Callable[[int], Device],
        *,
        number: int = 0,
        precision: Precision = "fp32",
        batch_size: int = 1,
    ) -> None:
        super().__init__(graph, shape, precision=precision, batch_size=batch_size)
        self._open_device = open_device
        self._number = number

    @classmethod
    def require_installed(cls) -> None:
        """Raise NotInstalledError where ONNX Runtime, or the provider in it, is missing."""
        super().require_installed()
        import onnxruntime

        if cls.provider not in onnxruntime.get_available_providers():
            problem = f"the installed ONNX Runtime has no {cls.provider}"
            remedy = f"Run: pip uninstall onnxruntime. {cls.install_advice()}"
            raise NotInstalledError(problem, remedy, about=cls.name)

    @property
    def versions(self) -> dict[str, str]:
        """The version of ONNX Runtime."""
        import onnxruntime

        return {self.name: onnxruntime.__version__}

    @abstractmethod
    def _providers(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the providers to use with their options, the wanted one first."""

    def _open(self) -> None:
        self._session = self._opened_session()
        self._gpu = self._open_device(self._number)
        self.device = self._gpu.gpu.name
        try:
            with self._gpu.current():
                self._bind()
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        self._binding = self._session = None
        self._gpu.close()
        self._log(_WARNINGS)

    @staticmethod
    def _log(severity: int) -> None:
        """Let the log of the process tell this and what is worse."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(severity)

    def _opened_session(self) -> Any:
        """Open the graph, and refuse what ONNX Runtime falls back to without a word."""
        self.require_installed()
        import onnxruntime

        self._log(_ERRORS)  # which name the library that is missing
        missing = io.StringIO()
        try:
            with contextlib.redirect_stdout(missing):  # it prints what it does not find
                onnxruntime.preload_dlls()
        except RuntimeError as error:
            raise self._not_loaded(str(error)) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        try:
            session = onnxruntime.InferenceSession(
                str(self._graph), options, providers=self._providers(), enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's own errors share no public base
            problem = f"{self.name} refuses the graph: {error}"
            raise BackendError(problem, about=self._graph) from error
        if session.get_providers()[0] != self.provider:
            raise self._not_loaded("; ".join(missing.getvalue().splitlines()[:1]))
        self._log(_NOTHING)  # what fails from here on is raised, or was only an attempt of cuDNN's
        return session

    def _not_loaded(self, why: str) -> BackendError:
        problem = f"{self.provider} could not be loaded{f' ({why})' if why else ''}"
        advice = f"Check the driver with nvidia-smi. {self.install_advice()}"
        return BackendError(problem, advice, about=self.name)

    def _bind(self) -> None:
        gpu, batch = self._gpu, self.batch_size
        self._given = gpu.pinned((batch, *self.shape.slice_in))
        self._found = gpu.pinned((batch, *self.shape.slice_out))
        self._addresses = gpu.memory(self._given.nbytes), gpu.memory(self._found.nbytes)
        self._done = gpu.event()
        (given,) = (tensor.name for tensor in self._session.get_inputs())
        (found,) = (tensor.name for tensor in self._session.get_outputs())
        self._binding = self._session.io_binding()
        place = ("cuda", self._number, np.float32)
        to, out_of = self._addresses
        self._binding.bind_input(given, *place, self._given.shape, to)
        self._binding.bind_output(found, *place, self._found.shape, out_of)

    def _execute(self, batch: Floats) -> Floats:
        gpu, (given, found) = self._gpu, self._addresses
        self._given[...] = batch
        with gpu.current():
            gpu.enqueue_copy_in(given, self._given)
            self._wait()  # ONNX Runtime computes on a stream of its own
            try:
                self._session.run_with_iobinding(self._binding)
            except Exception as error:  # ONNX Runtime's own errors share no public base
                self._wait()  # a device that is lost says so here
                problem = f"failed on a batch of {len(batch)}: {error}"
                raise BackendError(problem, about=self.name) from error
            gpu.enqueue_copy_out(self._found, found)
            self._wait()
        return self._found.copy()

    def _wait(self) -> None:
        self._done.record()
        self._done.wait()


class CudaProviderBackend(OnnxRuntimeGpuBackend):
    """ONNX Runtime's CUDA provider."""

    name = "onnxruntime-cuda"
    provider = _CUDA
    extras = "cuda"

    def _providers(self) -> list[tuple[str, dict[str, Any]]]:
        # Float32 is float32: TF32 rounds to ten bits and is another precision.
        return [(_CUDA, {"device_id": self._number, "use_tf32": 0})]


class TensorRtProviderBackend(OnnxRuntimeGpuBackend):
    """ONNX Runtime's TensorRT provider, which builds an engine when it first meets a graph.

    In float32 TensorRT would round to TF32, which is another precision.
    """

    name = "onnxruntime-tensorrt"
    precisions = ("fp16",)
    provider = _TENSORRT
    extras = "cuda"

    def _providers(self) -> list[tuple[str, dict[str, Any]]]:
        options = {
            "device_id": self._number,
            "trt_fp16_enable": True,
            "trt_layer_norm_fp32_fallback": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(user_cache_folder() / "onnxruntime-tensorrt"),
        }
        return [(_TENSORRT, options), (_CUDA, {"device_id": self._number, "use_tf32": 0})]
