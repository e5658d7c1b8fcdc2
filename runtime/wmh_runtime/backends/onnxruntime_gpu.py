"""ONNX Runtime on a GPU: its CUDA provider and its TensorRT provider.

Slices are copied through pinned memory to fixed addresses on the GPU. The session is bound to
these addresses.
"""

from __future__ import annotations

import contextlib
import io
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from wmh_runtime.backends.gpu.device import Device
from wmh_runtime.backends.onnx_graph import OnnxBackend
from wmh_runtime.errors import BackendError, NotInstalledError
from wmh_runtime.files.user_cache import user_cache_folder
from wmh_runtime.precision import Precision
from wmh_runtime.text import uncapitalize
from wmh_runtime.types import Floats, GraphProvider, NetworkShape

_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
# Log levels of ONNX Runtime: warnings (its default), errors, fatal errors only.
_WARNINGS, _ERRORS, _FATAL = 2, 3, 4


class OnnxRuntimeGpuBackend(OnnxBackend):
    """Executes an ONNX graph on a GPU.

    Args:
        graph: the .onnx file.
        shape: channels, outputs and slice size of the network.
        open_device: opens a GPU by its index.
        gpu_index: GPU index, as the driver counts, from 0.
        precision: the precision to compute in.
        batch_size: slices per batch.
    """

    library = "onnxruntime"
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16")
    provider: ClassVar[str]
    graph_provider: ClassVar[GraphProvider] = ""  # which graphs of a bundle it executes
    is_automatic: ClassVar[bool] = True  # may be chosen for the user
    _session: Any = None
    _binding: Any = None

    def __init__(
        self,
        graph: Path,
        shape: NetworkShape,
        open_device: Callable[[int], Device],
        *,
        gpu_index: int = 0,
        precision: Precision = "fp32",
        batch_size: int = 1,
    ) -> None:
        super().__init__(graph, shape, precision=precision, batch_size=batch_size)
        self._open_device = open_device
        self._gpu_index = gpu_index

    @classmethod
    def require_installed(cls) -> None:
        """Raise NotInstalledError if ONNX Runtime or its provider is missing."""
        super().require_installed()
        import onnxruntime

        if cls.provider not in onnxruntime.get_available_providers():
            problem = f"the installed ONNX Runtime has no {cls.provider}"
            raise NotInstalledError(problem, cls.install_advice(), about=cls.name)

    @classmethod
    def install_advice(cls) -> str:
        """Return the sentence that says how to install ONNX Runtime for GPUs.

        It replaces ONNX Runtime for CPUs, which is a package of the same files.
        """
        then = uncapitalize(super().install_advice())
        return f"Run: pip uninstall onnxruntime onnxruntime-gpu; then {then}"

    @property
    def versions(self) -> dict[str, str]:
        """The version of ONNX Runtime."""
        import onnxruntime

        return {self.name: onnxruntime.__version__}

    @abstractmethod
    def _providers(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the execution providers with their options, the preferred one first."""

    def _open(self) -> None:
        with contextlib.ExitStack() as taken:  # frees what was taken if a step fails
            taken.callback(self._set_log_level, _WARNINGS)
            taken.callback(self._free_session)
            self._session = self._open_session()
            self._gpu = self._open_device(self._gpu_index)
            taken.callback(self._gpu.close)
            self.device = self._gpu.gpu.name
            with self._gpu.activate():
                self._bind()
            self._taken = taken.pop_all()

    def _close(self) -> None:
        self._taken.close()

    def _free_session(self) -> None:
        self._binding = self._session = None

    @staticmethod
    def _set_log_level(level: int) -> None:
        """Set the lowest severity that ONNX Runtime logs in this process."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(level)

    def _open_session(self) -> Any:
        """Open the graph. Raise an error if ONNX Runtime falls back to another provider."""
        self.require_installed()
        import onnxruntime

        self._set_log_level(_ERRORS)  # errors name the missing library
        missing = io.StringIO()
        try:
            with contextlib.redirect_stdout(missing):  # it prints the libraries that it misses
                onnxruntime.preload_dlls()
        except RuntimeError as error:
            raise self._loading_error(str(error)) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        try:
            session = onnxruntime.InferenceSession(
                str(self._graph), options, providers=self._providers(), enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's errors have no public base class
            problem = f"{self.name} rejects the graph: {error}"
            raise BackendError(problem, about=self._graph) from error
        if session.get_providers()[0] != self.provider:
            raise self._loading_error("; ".join(missing.getvalue().splitlines()[:1]))
        # From here on failures are raised. cuDNN logs errors when it only tries an algorithm.
        self._set_log_level(_FATAL)
        return session

    def _loading_error(self, reason: str) -> BackendError:
        problem = f"{self.provider} could not be loaded{f' ({reason})' if reason else ''}"
        advice = f"Check the driver with nvidia-smi. {self.install_advice()}"
        return BackendError(problem, advice, about=self.name)

    def _bind(self) -> None:
        gpu, batch = self._gpu, self.batch_size
        self._inputs = gpu.allocate_pinned((batch, *self.shape.input_shape))
        self._outputs = gpu.allocate_pinned((batch, *self.shape.output_shape))
        self._input_address = gpu.allocate(self._inputs.nbytes)
        self._output_address = gpu.allocate(self._outputs.nbytes)
        self._done = gpu.create_event()
        (input_name,) = (tensor.name for tensor in self._session.get_inputs())
        (output_name,) = (tensor.name for tensor in self._session.get_outputs())
        self._binding = self._session.io_binding()
        memory = ("cuda", self._gpu_index, np.float32)
        self._binding.bind_input(input_name, *memory, self._inputs.shape, self._input_address)
        self._binding.bind_output(output_name, *memory, self._outputs.shape, self._output_address)

    def _execute(self, batch: Floats) -> Floats:
        gpu = self._gpu
        self._inputs[...] = batch
        with gpu.activate():
            gpu.enqueue_copy_to_device(self._input_address, self._inputs)
            self._wait()  # ONNX Runtime computes on its own stream
            try:
                self._session.run_with_iobinding(self._binding)
            except Exception as error:  # ONNX Runtime's errors have no public base class
                self._wait()  # raises DeviceLostError if the GPU failed
                problem = f"failed on a batch of {len(batch)}: {error}"
                raise BackendError(problem, about=self.name) from error
            gpu.enqueue_copy_to_host(self._outputs, self._output_address)
            self._wait()
        return self._outputs.copy()

    def _wait(self) -> None:
        self._done.record()
        self._done.wait()


class CudaProviderBackend(OnnxRuntimeGpuBackend):
    """ONNX Runtime's CUDA provider."""

    name = "onnxruntime-cuda"
    provider = _CUDA
    extras = "cuda"

    def _providers(self) -> list[tuple[str, dict[str, Any]]]:
        # No TF32: it rounds the mantissa to ten bits, so it is not float32.
        return [(_CUDA, {"device_id": self._gpu_index, "use_tf32": 0})]


class CudaGraphBackend(CudaProviderBackend):
    """ONNX Runtime's CUDA provider with graphs that are made for it, each run as one CUDA graph.

    A CUDA graph starts all kernels at once, so that the GPU does not wait for the CPU. ONNX Runtime
    captures it in its first runs, for the thread that runs. Meanwhile no other thread may use the
    GPU. So it is captured on entry, before the first slices: every batch then is a replay.

    It has not run on a GPU yet, so it is used by its name only.
    """

    name = "onnxruntime-cuda-graph"
    precisions = ("fp16",)
    graph_provider = "cuda"
    is_automatic = False

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            for _ in ("capture", "replay"):
                self.execute([np.zeros(self.shape.input_shape, np.float32)])
        except BackendError as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _providers(self) -> list[tuple[str, dict[str, Any]]]:
        options = {
            "device_id": self._gpu_index,
            "use_tf32": 0,
            "enable_cuda_graph": 1,
            "prefer_nhwc": 1,  # convolutions in the layout of tensor cores
            "enable_skip_layer_norm_strict_mode": 1,  # sums in float32
        }
        return [(_CUDA, options)]


class TensorRtProviderBackend(OnnxRuntimeGpuBackend):
    """ONNX Runtime's TensorRT provider. It builds an engine at the first use of a graph.

    It has no float32: TensorRT would round to TF32.
    """

    name = "onnxruntime-tensorrt"
    precisions = ("fp16",)
    provider = _TENSORRT
    extras = "cuda"

    def _providers(self) -> list[tuple[str, dict[str, Any]]]:
        options = {
            "device_id": self._gpu_index,
            "trt_fp16_enable": True,
            "trt_layer_norm_fp32_fallback": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(user_cache_folder() / "onnxruntime-tensorrt"),
        }
        return [(_TENSORRT, options), (_CUDA, {"device_id": self._gpu_index, "use_tf32": 0})]
