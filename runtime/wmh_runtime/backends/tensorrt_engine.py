"""Engines of TensorRT and TensorRT-RTX on a GPU: one code, as their interfaces are one.

Two batches are under way at a time, each in pinned memory of its own: while the GPU executes one,
the next is copied in. They share the memory on the GPU, since what is enqueued is done in order.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmh_runtime.backends.base import Backend, Collect
from wmh_runtime.backends.gpu.device import Device, Event
from wmh_runtime.backends.tensorrt_library import TensorRtLibrary, make_logger
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.files.user_cache import read_cache, user_cache_folder, write_cache
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats, NetworkShape

_BUILD_AGAIN = "Build it again with wmh-export engines."


@dataclass(frozen=True)
class _Slot:
    """What one of the batches under way needs of its own."""

    given: Floats  # pinned, [batch_size, C, S, S]
    found: Floats  # pinned, [batch_size, K, S, S]
    done: Event


class EngineBackend(Backend):
    """Executes an engine.

    Args:
        plan: the engine's file, verified.
        toolkit: of the version that built it.
        open_device: takes a GPU.
        shape: of the network.
        number: of the GPU.
        precision: of the engine.
        batch_size: slices executed at a time, within the engine's profile.
    """

    def __init__(
        self,
        plan: Path,
        toolkit: TensorRtLibrary,
        open_device: Callable[[int], Device],
        shape: NetworkShape,
        *,
        number: int = 0,
        precision: Precision = "fp16",
        batch_size: int = 1,
    ) -> None:
        super().__init__(shape, batch_size)
        self.name = toolkit.kind
        self.precision = precision
        self._plan = plan
        self._toolkit = toolkit
        self._open_device = open_device
        self._number = number

    @property
    def versions(self) -> dict[str, str]:
        """The version of the library."""
        return {self.name: self._toolkit.version}

    def _open(self) -> None:
        self._gpu = self._open_device(self._number)
        self.device = self._gpu.gpu.name
        self._running = _Running(self._gpu, self._toolkit)
        try:
            with self._gpu.current():
                self._running.load(
                    self._plan,
                    (self.batch_size, *self.shape.slice_in),
                    (self.batch_size, *self.shape.slice_out),
                )
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        with suppress(DeviceLostError), self._gpu.current():
            self._running.release()
        self._gpu.close()

    def _submit(self, batch: Floats) -> Collect:
        return self._running.submit(batch)


class _Running:
    """An engine with its memory. All of it is called with the GPU current, but for `submit`.

    Args:
        gpu: to execute on.
        toolkit: of the version that built the engine.
    """

    def __init__(self, gpu: Device, toolkit: TensorRtLibrary) -> None:
        self._gpu = gpu
        self._toolkit = toolkit
        self._free: deque[_Slot] = deque()
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._replay: Callable[[], None] | None = None

    def load(self, plan: Path, batch_in: tuple[int, ...], batch_out: tuple[int, ...]) -> None:
        """Load an engine and execute a first batch, at which RTX compiles it for this GPU.

        Args:
            plan: the engine's file.
            batch_in: [batch_size, C, S, S].
            batch_out: [batch_size, K, S, S].
        """
        self._deserialize(plan)
        compiled = _Compiled(self._toolkit, self._compiled_path(plan, batch_in[0]))
        self._context = compiled.context_of(self._engine)
        if self._context is None:
            problem = "has too little free memory for this engine"
            raise BackendError(problem, "Close what else uses it.", about=self._gpu.gpu.name)
        given, found = self._tensor_names()
        if not self._context.set_input_shape(given, batch_in):
            problem = f"does not take {batch_in[0]} slices at a time"
            raise BackendError(problem, "Choose another --batch.", about=plan)
        for _ in range(EngineBackend.max_in_flight):
            self._free.append(
                _Slot(self._gpu.pinned(batch_in), self._gpu.pinned(batch_out), self._gpu.event())
            )
        slot = self._free[0]
        self._given = self._gpu.memory(slot.given.nbytes)
        self._found = self._gpu.memory(slot.found.nbytes)
        for name, address in ((given, self._given), (found, self._found)):
            if not self._context.set_tensor_address(name, address):
                problem = f"refuses memory for {name}"
                raise BackendError(problem, _BUILD_AGAIN, about=plan)
        if not compiled.replays:
            self._replay = self._gpu.replayable(self._enqueue)
        self.submit(slot.given)()
        compiled.write_cache()

    def release(self) -> None:
        """Give the engine back, what uses it first."""
        self._replay = None
        self._context = None
        self._engine = None
        self._runtime = None

    def submit(self, batch: Floats) -> Collect:
        """Begin to execute a batch."""
        slot = self._free[0]
        slot.given[...] = batch
        with self._gpu.current():
            self._gpu.enqueue_copy_in(self._given, slot.given)
            (self._replay or self._enqueue)()
            self._gpu.enqueue_copy_out(slot.found, self._found)
            slot.done.record()
        self._free.popleft()

        def collect() -> Floats:
            with self._gpu.current():
                slot.done.wait()
            probability = slot.found.copy()  # the memory is for the next batch but one
            self._free.append(slot)
            return probability

        return collect

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._gpu.stream):
            raise BackendError("refuses to execute a batch", about=self._gpu.gpu.name)

    def _deserialize(self, plan: Path) -> None:
        log = make_logger(self._toolkit.library)
        self._runtime = self._toolkit.library.Runtime(log)
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            refuses = f"{self._toolkit.kind} {self._toolkit.version} refuses the engine"
            raise BackendError(f"{refuses} ({log.reason})", _BUILD_AGAIN, about=plan)

    def _tensor_names(self) -> tuple[str, str]:
        """Return the names of what goes in and of what comes out."""
        engine, mode = self._engine, self._toolkit.library.TensorIOMode
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        (given,) = (name for name in names if engine.get_tensor_mode(name) == mode.INPUT)
        (found,) = (name for name in names if engine.get_tensor_mode(name) == mode.OUTPUT)
        return given, found

    def _compiled_path(self, plan: Path, batch_size: int) -> Path:
        """Return the file that keeps what is compiled of an engine for this GPU and batch."""
        kind, version = self._toolkit.kind, self._toolkit.version
        what = (plan.name, version, self._gpu.gpu.name, str(batch_size))
        identity = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
        return user_cache_folder() / "compiled" / f"{identity}.{kind}"


class _Compiled:
    """What RTX compiles of an engine for the GPU at hand, kept from run to run.

    TensorRT compiles when it builds an engine, and has nothing of this.
    """

    def __init__(self, toolkit: TensorRtLibrary, path: Path) -> None:
        self._library = toolkit.library
        self._path = path
        self._known = b""
        self._cache: Any = None
        self.replays = toolkit.kind == "rtx"  # makes and replays CUDA graphs itself

    def context_of(self, engine: Any) -> Any:
        """Make what executes an engine; None where there is too little memory."""
        if not self.replays:
            return engine.create_execution_context()
        library, config = self._library, engine.create_runtime_config()
        config.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # There is one shape of batch: its kernels at once, none that serve in the meantime.
        eager = library.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        self._cache = config.create_runtime_cache()
        self._known = read_cache(self._path)
        if self._known and not self._cache.deserialize(self._known):
            self._known = b""  # of another driver
        if not config.set_runtime_cache(self._cache):
            self._cache = None
        return engine.create_execution_context(config)

    def write_cache(self) -> None:
        """Keep what was compiled."""
        if self._cache is None:
            return
        compiled = bytes(self._cache.serialize())
        if compiled != self._known:
            write_cache(self._path, compiled, "what was compiled for this GPU cannot be kept")
