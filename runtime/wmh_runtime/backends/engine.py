"""Engines of TensorRT and TensorRT-RTX on a GPU: one code, as their interfaces are one.

Two batches are under way at a time, each in pinned memory of its own: while the GPU executes one,
the next is copied in. They share the memory on the GPU, since what is enqueued is done in order.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmh_runtime.atomic import write_bytes_atomically
from wmh_runtime.backends.base import UNDER_WAY, Backend, Collect
from wmh_runtime.backends.toolkit import Toolkit, make_log
from wmh_runtime.caches import cache_folder
from wmh_runtime.devices.base import Device, Event
from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.folders import make_folder
from wmh_runtime.types import Floats, NetworkShape, Precision

_log = logging.getLogger(__name__)


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
        toolkit: Toolkit,
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
        try:
            with self._gpu.current():
                self._running = self._load()
        except BaseException:
            self._gpu.close()
            raise

    def _close(self) -> None:
        del self._running
        self._gpu.close()

    def _submit(self, batch: Floats) -> Collect:
        return self._running.submit(batch)

    def _load(self) -> _Running:
        """Load the engine and execute a first batch, at which RTX compiles it for this GPU."""
        engine = self._deserialised()
        compiled = _Compiled(self._toolkit, engine, self._compiled_path())
        context = compiled.context()
        if context is None:
            problem = "has too little free memory for this engine"
            raise BackendError(problem, "Close what else uses it.", about=self.device)
        given, found = self._tensors(engine)
        batch_in, batch_out = (
            (self.batch_size, *one) for one in (self.shape.slice_in, self.shape.slice_out)
        )
        if not context.set_input_shape(given, batch_in):
            problem = f"does not take {self.batch_size} slices at a time"
            raise BackendError(problem, "Choose another --batch.", about=self._plan)
        running = _Running(self._gpu, context, (given, batch_in), (found, batch_out))
        if not compiled.replays:
            running.capture()
        running.submit(np.zeros(batch_in, np.float32))()
        compiled.remember()
        return running

    def _deserialised(self) -> Any:
        library = self._toolkit.library
        log = make_log(library)
        self._runtime = library.Runtime(log)  # must live as long as its engine
        engine = self._runtime.deserialize_cuda_engine(self._plan.read_bytes())
        if engine is None:
            problem = f"{self.name} {self._toolkit.version} refuses the engine ({log.reason})"
            remedy = "Build it again with wmh-export engines."
            raise BackendError(problem, remedy, about=self._plan)
        return engine

    def _tensors(self, engine: Any) -> tuple[str, str]:
        """Return the names of what goes in and what comes out."""
        mode = self._toolkit.library.TensorIOMode
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        (given,) = (name for name in names if engine.get_tensor_mode(name) == mode.INPUT)
        (found,) = (name for name in names if engine.get_tensor_mode(name) == mode.OUTPUT)
        return given, found

    def _compiled_path(self) -> Path:
        """Return the file that keeps what is compiled of this engine for this GPU and batch."""
        what = (self._plan.name, self._toolkit.version, self.device, str(self.batch_size))
        identity = hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
        return cache_folder() / "compiled" / f"{identity}.{self.name}"


class _Running:
    """An engine with its memory.

    Args:
        gpu: current.
        context: executes the engine, for batches of one shape.
        given: name and shape of what goes in, a batch.
        found: name and shape of what comes out.
    """

    def __init__(
        self,
        gpu: Device,
        context: Any,
        given: tuple[str, tuple[int, ...]],
        found: tuple[str, tuple[int, ...]],
    ) -> None:
        self._gpu = gpu
        self._context = context
        self._free = deque(
            _Slot(gpu.pinned(given[1]), gpu.pinned(found[1]), gpu.event()) for _ in range(UNDER_WAY)
        )
        slot = self._free[0]
        self._given, self._found = gpu.memory(slot.given.nbytes), gpu.memory(slot.found.nbytes)
        context.set_tensor_address(given[0], self._given)
        context.set_tensor_address(found[0], self._found)
        self._launch: Callable[[], None] = self._enqueue

    def capture(self) -> None:
        """Make the execution one launch, where the library of the GPU can."""
        self._launch = self._gpu.replayable(self._enqueue)

    def submit(self, batch: Floats) -> Collect:
        """Begin to execute a batch."""
        slot = self._free[0]
        slot.given[...] = batch
        with self._gpu.current():
            self._gpu.enqueue_copy_in(self._given, slot.given)
            self._launch()
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


class _Compiled:
    """What RTX compiles of an engine for the GPU at hand, kept from run to run.

    TensorRT compiles when it builds an engine, and has nothing of this.
    """

    def __init__(self, toolkit: Toolkit, engine: Any, path: Path) -> None:
        self._library = toolkit.library
        self._engine = engine
        self._path = path
        self._known = b""
        self._cache: Any = None
        self.replays = toolkit.kind == "rtx"  # makes and replays CUDA graphs itself

    def context(self) -> Any:
        """Make what executes the engine; None where there is too little memory."""
        if not self.replays:
            return self._engine.create_execution_context()
        library, config = self._library, self._engine.create_runtime_config()
        config.cuda_graph_strategy = library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # There is one shape of batch: its kernels at once, none that serve in the meantime.
        eager = library.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        self._cache = config.create_runtime_cache()
        with suppress(OSError):  # there is none yet, or it cannot be read: only time is lost
            self._known = self._path.read_bytes()
        if self._known and not self._cache.deserialize(self._known):
            self._known = b""  # of another driver
        config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(config)

    def remember(self) -> None:
        """Keep what was compiled."""
        if self._cache is None:
            return
        compiled = bytes(self._cache.serialize())
        if compiled == self._known:
            return
        try:
            make_folder(self._path.parent)
            write_bytes_atomically(self._path, compiled)
        except InputError as error:
            _log.warning("what was compiled for this GPU cannot be kept: %s", error)
