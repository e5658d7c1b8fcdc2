"""The runtime's ways to execute slices of eight views: its backends, on what an export writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from wmh_bench.gpu.ways import Opened, Way
from wmh_export.compiler import TARGETS, compile_graph
from wmh_export.graph import trace
from wmh_export.half import HalfView
from wmh_export.views import with_eight_views
from wmh_export.weights import save_sharing_weights
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.engine import EngineBackend
from wmh_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpuBackend
from wmh_runtime.backends.select import ENGINE_KINDS, GPU_BACKENDS
from wmh_runtime.backends.toolkit import load_toolkit
from wmh_runtime.devices.select import device_type
from wmh_runtime.errors import ExportError
from wmh_runtime.manifest import BatchProfile, EngineKind
from wmh_runtime.types import Floats, GraphPrecision, NetworkShape, Precision
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import OneView

_WARM_UP = 3


class RuntimeWay(Way):
    """A backend of the runtime, timed as a run uses it, from host memory to host memory.

    Two batches are under way, so a time is the interval from one result to the next.

    Args:
        name: of the backend.
        precision: to compute in.
        slices: at a time.
        make: makes the backend, not open yet, and all that it executes.
    """

    def __init__(
        self, name: str, precision: Precision, slices: int, make: Callable[[], Backend]
    ) -> None:
        super().__init__(name, precision, slices)
        self._make = make
        self._backend: Backend | None = None

    def prepare(self) -> None:
        """Write the graph, compile the engine."""
        self._backend = self._make()

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """Open the backend."""
        assert self._backend is not None, "it is prepared first"
        free_bytes, _ = torch.cuda.mem_get_info()
        with self._backend as backend:
            yield _OpenedBackend(backend, free_bytes)


class _OpenedBackend(Opened):
    def __init__(self, backend: Backend, free_bytes: int) -> None:
        self._backend = backend
        self._free_bytes = free_bytes  # before it was opened

    @property
    def memory_mb(self) -> float:
        now_free_bytes, _ = torch.cuda.mem_get_info()
        return round((self._free_bytes - now_free_bytes) / 1e6, 1)

    def predict(self, slices: Floats) -> Floats:
        return self._backend.predict(slices)

    def seconds(self, batch: Floats, timed: int) -> list[float]:
        ends = []
        for _ in self._backend.execute_all(list(batch) for _ in range(_WARM_UP + timed)):
            ends.append(time.perf_counter())
        return np.diff(ends)[_WARM_UP - 1 :].tolist()


class Graphs:
    """The graphs of a network in eight views, written when they are first asked for.

    Args:
        network: merged and rewritten.
        shape: of it.
        folder: exists.
    """

    def __init__(self, network: WmhNetwork, shape: NetworkShape, folder: Path) -> None:
        self._network = network
        self.shape = shape
        self.folder = folder

    def path(self, precision: GraphPrecision) -> Path:
        """Return the path of the graph of a precision, fp32 or fp16."""
        path = self.folder / f"8-view.{precision}.onnx"
        if not path.exists():
            view = HalfView(self._network) if precision == "fp16" else OneView(self._network)
            one_view = trace(view, self.shape.channels, self.shape.size_px)
            models = {path.name: with_eight_views(one_view)}
            save_sharing_weights(models, self.folder, f"weights.{precision}.bin")
        return path


def runtime_ways(graphs: Graphs, batches: Sequence[int]) -> Iterator[RuntimeWay]:
    """Yield what the runtime can do: ONNX Runtime's providers, then engines.

    Args:
        graphs: of the network.
        batches: slices at a time.
    """

    def on_graph(
        kind: type[OnnxRuntimeGpuBackend], precision: GraphPrecision, slices: int
    ) -> Callable[[], Backend]:
        def make() -> Backend:
            kind.require_installed()
            path, shape = graphs.path(precision), graphs.shape
            return kind(path, shape, device_type(), precision=precision, batch_size=slices)

        return make

    def on_engine(kind: EngineKind, slices: int) -> Callable[[], Backend]:
        return lambda: _compiled(kind, graphs, slices)

    precisions: tuple[GraphPrecision, ...] = ("fp32", "fp16")
    for precision in precisions:
        for kind in GPU_BACKENDS:
            if precision in kind.precisions:
                for slices in batches:
                    make = on_graph(kind, precision, slices)
                    yield RuntimeWay(kind.name, precision, slices, make)
    for engine in ENGINE_KINDS:
        for slices in batches:
            yield RuntimeWay(engine, "fp16", slices, on_engine(engine, slices))


def _compiled(kind: EngineKind, graphs: Graphs, slices: int) -> EngineBackend:
    """Compile the half-precision graph for the first GPU and this batch."""
    toolkit, device, shape = load_toolkit(kind), device_type(), graphs.shape
    gpu = device.gpu_numbered(0)
    if kind == "rtx" and gpu.target not in TARGETS:
        raise ExportError(f"TensorRT-RTX does not build for {gpu.name} ({gpu.target})")
    profile = BatchProfile(least=slices, best=slices, most=slices)
    graph = graphs.path("fp16")
    compiled = (
        compile_graph(toolkit, graph, profile, shape.slice_in, targets=[gpu.target])
        if kind == "rtx"
        else compile_graph(toolkit, graph, profile, shape.slice_in, gpu=gpu)
    )
    plan = graphs.folder / f"{slices}.{kind}.engine"
    plan.write_bytes(compiled.plan)
    return EngineBackend(plan, toolkit, device, shape, precision="fp16", batch_size=slices)
