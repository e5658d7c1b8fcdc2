"""Execute engines of TensorRT and TensorRT-RTX on a GPU. Both libraries have the same interface.

Two batches are in flight at a time. Each has its own pinned host memory: while the GPU executes one
batch, the next one is copied in. Both use the same GPU memory, because the GPU executes the
enqueued work in order.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmh_runtime.backends.base import Backend, WaitForBatch
from wmh_runtime.backends.gpu.device import Device, Event
from wmh_runtime.backends.tensorrt_library import TensorRtLibrary, make_logger
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.files.user_cache import read_cache, user_cache_folder, write_cache
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats, NetworkShape

_BUILD_AGAIN = "Build it again with wmh-export engines."


@dataclass(frozen=True)
class _BatchBuffers:
    """Host memory and event of one batch in flight."""

    inputs: Floats  # pinned, [batch_size, C, S, S]
    outputs: Floats  # pinned, [batch_size, K, S, S]
    done: Event


class EngineBackend(Backend):
    """Executes an engine.

    Args:
        engine_path: the engine file, verified.
        library: TensorRT or TensorRT-RTX, in the version that built the engine.
        open_device: opens a GPU by its index.
        shape: channels, outputs and slice size of the network.
        gpu_index: GPU index, as the driver counts, from 0.
        precision: the precision of the engine.
        batch_size: slices per batch, within the engine's optimization profile.
    """

    def __init__(
        self,
        engine_path: Path,
        library: TensorRtLibrary,
        open_device: Callable[[int], Device],
        shape: NetworkShape,
        *,
        gpu_index: int = 0,
        precision: Precision = "fp16",
        batch_size: int = 1,
    ) -> None:
        super().__init__(shape, batch_size)
        self.name = library.kind
        self.precision = precision
        self._engine_path = engine_path
        self._library = library
        self._open_device = open_device
        self._gpu_index = gpu_index

    @property
    def versions(self) -> dict[str, str]:
        """Name and version of the library."""
        return {self.name: self._library.version}

    def _open(self) -> None:
        self._gpu = self._open_device(self._gpu_index)
        self.device = self._gpu.gpu.name
        self._engine = _LoadedEngine(self._gpu, self._library)
        try:
            with self._gpu.activate():
                self._engine.load(
                    self._engine_path,
                    (self.batch_size, *self.shape.input_shape),
                    (self.batch_size, *self.shape.output_shape),
                )
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        with suppress(DeviceLostError), self._gpu.activate():
            self._engine.release()
        self._gpu.close()

    def _submit(self, batch: Floats) -> WaitForBatch:
        return self._engine.submit(batch)


class _LoadedEngine:
    """An engine on a GPU, with its memory.

    Call `load` and `release` while the GPU is active in the calling thread.

    Args:
        gpu: the GPU that executes the engine.
        library: the library that built the engine.
    """

    def __init__(self, gpu: Device, library: TensorRtLibrary) -> None:
        self._gpu = gpu
        self._library = library
        self._free_buffers: deque[_BatchBuffers] = deque()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._replay: Callable[[], None] | None = None  # launches the captured CUDA graph

    def load(
        self, engine_path: Path, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> None:
        """Load an engine and execute a first batch. TensorRT-RTX compiles its kernels then.

        Args:
            engine_path: the engine file.
            input_shape: (batch_size, C, S, S).
            output_shape: (batch_size, K, S, S).
        """
        self._deserialize(engine_path)
        kernel_cache = _KernelCache(
            self._library, self._kernel_cache_path(engine_path, input_shape[0])
        )
        self._context = kernel_cache.create_context(self._engine)
        if self._context is None:
            problem = "has too little free memory for this engine"
            raise BackendError(problem, "Close other programs.", about=self._gpu.gpu.name)
        input_name, output_name = self._tensor_names()
        if not self._context.set_input_shape(input_name, input_shape):
            problem = f"does not take {input_shape[0]} slices at a time"
            raise BackendError(problem, "Choose another batch size.", about=engine_path)
        for _ in range(EngineBackend.max_in_flight):
            inputs = self._gpu.allocate_pinned(input_shape)
            outputs = self._gpu.allocate_pinned(output_shape)
            self._free_buffers.append(_BatchBuffers(inputs, outputs, self._gpu.create_event()))
        buffers = self._free_buffers[0]
        self._input_address = self._gpu.allocate(buffers.inputs.nbytes)
        self._output_address = self._gpu.allocate(buffers.outputs.nbytes)
        addresses = {input_name: self._input_address, output_name: self._output_address}
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                problem = f"rejects the memory for {name}"
                raise BackendError(problem, _BUILD_AGAIN, about=engine_path)
        if not kernel_cache.is_rtx:
            self._replay = self._gpu.capture(self._enqueue)
        self.submit(buffers.inputs)()
        kernel_cache.write()

    def release(self) -> None:
        """Free the engine. Objects that use other objects go first."""
        self._replay = None
        self._context = None
        self._engine = None
        self._runtime = None

    def submit(self, batch: Floats) -> WaitForBatch:
        """Start to execute a batch."""
        buffers = self._free_buffers[0]
        buffers.inputs[...] = batch
        with self._gpu.activate():
            self._gpu.enqueue_copy_to_device(self._input_address, buffers.inputs)
            (self._replay or self._enqueue)()
            self._gpu.enqueue_copy_to_host(buffers.outputs, self._output_address)
            buffers.done.record()
        self._free_buffers.popleft()

        def wait() -> Floats:
            with self._gpu.activate():
                buffers.done.wait()
            probability = buffers.outputs.copy()  # a later batch overwrites the buffer
            self._free_buffers.append(buffers)
            return probability

        return wait

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._gpu.stream):
            raise BackendError("failed to enqueue a batch", about=self._gpu.gpu.name)

    def _deserialize(self, engine_path: Path) -> None:
        logger = make_logger(self._library.module)
        self._runtime = self._library.module.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine_path.read_bytes())
        if self._engine is None:
            problem = f"{self._library.kind} {self._library.version} rejects the engine"
            raise BackendError(f"{problem} ({logger.reason})", _BUILD_AGAIN, about=engine_path)

    def _tensor_names(self) -> tuple[str, str]:
        """Return the names of the input tensor and of the output tensor."""
        engine, mode = self._engine, self._library.module.TensorIOMode
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        (input_name,) = (name for name in names if engine.get_tensor_mode(name) == mode.INPUT)
        (output_name,) = (name for name in names if engine.get_tensor_mode(name) == mode.OUTPUT)
        return input_name, output_name

    def _kernel_cache_path(self, engine_path: Path, batch_size: int) -> Path:
        """Return the cache file for this engine, library version, GPU model and batch size."""
        kind, version = self._library.kind, self._library.version
        key = (engine_path.name, version, self._gpu.gpu.name, str(batch_size))
        identity = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
        return user_cache_folder() / "compiled" / f"{identity}.{kind}"


class _KernelCache:
    """The kernels that TensorRT-RTX compiles for this GPU, kept in a file from run to run.

    TensorRT compiles its kernels when it builds an engine. It does not use this cache.
    """

    def __init__(self, library: TensorRtLibrary, path: Path) -> None:
        self._module = library.module
        self._path = path
        self._content = b""
        self._cache: Any = None
        self.is_rtx = library.kind == "rtx"  # RTX also captures and replays CUDA graphs itself

    def create_context(self, engine: Any) -> Any:
        """Create the execution context of an engine. Return None if there is too little memory."""
        if not self.is_rtx:
            return engine.create_execution_context()
        module, config = self._module, engine.create_runtime_config()
        config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # There is one batch size. Compile its kernels now, without generic kernels until then.
        eager = module.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        self._cache = config.create_runtime_cache()
        self._content = read_cache(self._path)
        if self._content and not self._cache.deserialize(self._content):
            self._content = b""  # compiled for another driver
        if not config.set_runtime_cache(self._cache):
            self._cache = None
        return engine.create_execution_context(config)

    def write(self) -> None:
        """Write the compiled kernels to the file if they changed."""
        if self._cache is None:
            return
        content = bytes(self._cache.serialize())
        if content != self._content:
            write_cache(self._path, content, "the kernels compiled for this GPU cannot be stored")
