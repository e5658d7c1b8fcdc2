"""Ways to execute slices of eight views on a GPU: by PyTorch, and by the runtime's backends."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wmh_bench.gpu.ceilings import TORCH_TYPES, device_seconds, float32_as_it_is
from wmh_bench.gpu.fused_attention import with_fused_attention
from wmh_export.graph import trace
from wmh_export.half import HalfView
from wmh_export.merge import merge
from wmh_export.views import with_eight_views
from wmh_export.weights import save_sharing_weights
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.onnxruntime_gpu import OnnxRuntimeGpuBackend
from wmh_runtime.backends.select import GPU_BACKENDS
from wmh_runtime.devices.select import device_type
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats, NetworkShape, Precision
from wmh_runtime.words import counted
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView, apply_view, undo_view

REFERENCE = "PyTorch eager, adapters beside the weights, view by view"
MERGED = "PyTorch eager, merged"
_GPU = torch.device("cuda")


class Opened(ABC):
    """A way that is ready to execute."""

    peak_memory_mb: float | None = None  # on the device, where that can be known

    @abstractmethod
    def predict(self, slices: Floats) -> Floats:
        """Return the probability of eight views, [n, C, S, S] to [n, K, S, S]."""

    @abstractmethod
    def seconds(self, batch: Floats, timed: int) -> list[float]:
        """Execute a batch again and again, after a warm-up; return what each time took."""


class Way(ABC):
    """A way to execute a network.

    Args:
        name: for people.
        precision: to compute in.
        slices: at a time.
    """

    def __init__(self, name: str, precision: Precision, slices: int) -> None:
        self.name = name
        self.precision = precision
        self.slices = slices

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}, {counted(self.slices, 'slice')} at a time"

    @abstractmethod
    def open(self) -> AbstractContextManager[Opened]:
        """Take what it needs on the device, for as long as the context lasts."""


class TorchWay(Way):
    """PyTorch, timed on the device by its events; slices and probabilities stay there.

    Args:
        name: for people.
        precision: of weights, slices and products.
        slices: at a time.
        build: makes the module, [N, C, S, S] to [N, K, S, S], in float32 on the processor.
        compiled: by torch.compile.
        captured: into a CUDA graph.
    """

    def __init__(
        self,
        name: str,
        precision: Precision,
        slices: int,
        build: Callable[[], nn.Module],
        *,
        compiled: bool = False,
        captured: bool = False,
    ) -> None:
        super().__init__(name, precision, slices)
        self._build = build
        self._compiled = compiled
        self._captured = captured

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """Move the module to the GPU."""
        torch.cuda.reset_peak_memory_stats()
        module: Callable[[Tensor], Tensor] = self._build().eval().to(_GPU, self._dtype)
        if self._compiled:
            module = torch.compile(module)
        with torch.inference_mode(), float32_as_it_is():
            yield _OpenedTorch(module, self._dtype, self.slices, captured=self._captured)
        torch.cuda.empty_cache()

    @property
    def _dtype(self) -> torch.dtype:
        return TORCH_TYPES[self.precision]


class _OpenedTorch(Opened):
    def __init__(
        self, module: Callable[[Tensor], Tensor], dtype: torch.dtype, slices: int, *, captured: bool
    ) -> None:
        self._module, self._dtype, self._slices = module, dtype, slices
        self._captured = captured
        self._batch: Tensor | None = None  # where slices lie on the device
        self._run: Callable[[], Tensor] | None = None

    def predict(self, slices: Floats) -> Floats:
        found = []
        for start in range(0, len(slices), self._slices):
            part = slices[start : start + self._slices]
            given = self._ready(part)()
            found.append(given[: len(part)].float().cpu().numpy())
        return np.concatenate(found)

    def seconds(self, batch: Floats, timed: int) -> list[float]:
        seconds = device_seconds(self._ready(batch), timed)
        self.peak_memory_mb = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        return seconds

    def _ready(self, slices: Floats) -> Callable[[], Tensor]:
        """Copy slices to the device, and return what executes them."""
        given = torch.from_numpy(slices).to(_GPU, self._dtype)
        if self._batch is None or self._run is None:
            whole = (self._slices, *given.shape[1:])
            self._batch = batch = torch.zeros(whole, device=_GPU, dtype=self._dtype)
            self._run = lambda: self._module(batch)
            if self._captured:
                self._run = _captured(self._run)
        self._batch[: len(given)] = given
        return self._run


def _captured(execute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Capture what is enqueued into a CUDA graph, and return what replays it."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # what is made at the first calls cannot be captured
            execute()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = execute()

    def replay() -> Tensor:
        graph.replay()
        return found

    return replay


class ViewByView(OneView):
    """The eight views of a slice one after another, as the reference method has them."""

    def forward(self, image: Tensor) -> Tensor:
        """Average them."""
        look = super().forward
        seen = [undo_view(view, look(apply_view(view, image))) for view in VIEWS]
        return torch.stack(seen).mean(dim=0)


class RuntimeWay(Way):
    """A backend of the runtime on an exported graph, timed from host memory to host memory.

    Args:
        kind: of backend.
        precision: of the graph.
        slices: at a time.
        shape: of the network.
        write_graph: writes the graph and returns its path.
    """

    def __init__(
        self,
        kind: type[OnnxRuntimeGpuBackend],
        precision: Precision,
        slices: int,
        shape: NetworkShape,
        write_graph: Callable[[], Path],
    ) -> None:
        super().__init__(kind.name, precision, slices)
        self._kind = kind
        self._shape = shape
        self._write_graph = write_graph

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """Open the backend."""
        self._kind.require_installed()
        with self._kind(
            self._write_graph(),
            self._shape,
            device_type(),
            precision=self.precision,
            batch_size=self.slices,
        ) as backend:
            yield _OpenedBackend(backend)


class _OpenedBackend(Opened):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def predict(self, slices: Floats) -> Floats:
        return self._backend.predict(slices)

    def seconds(self, batch: Floats, timed: int) -> list[float]:
        warm_up, ends = 3, []
        for _ in self._backend.execute_all(list(batch) for _ in range(warm_up + timed)):
            ends.append(time.perf_counter())
        return np.diff(ends)[warm_up - 1 :].tolist()


def torch_ways(
    network: WmhNetwork, rewritten: WmhNetwork, batches: Sequence[int]
) -> Iterator[TorchWay]:
    """Yield what PyTorch can do, the reference method's own way first.

    Args:
        network: as it was trained.
        rewritten: the same, merged and rewritten.
        batches: slices at a time, smallest first.
    """
    merged, fused = merge(network), with_fused_attention(rewritten)

    def of(module: type[OneView], source: nn.Module) -> Callable[[], nn.Module]:
        return lambda: module(copy.deepcopy(source))

    halves: tuple[Precision, ...] = ("fp16", "bf16")
    for precision in ("fp32", *halves):
        yield TorchWay(REFERENCE, precision, 1, of(ViewByView, network))
    for precision in ("fp32", *halves):
        for slices in batches:
            yield TorchWay(MERGED, precision, slices, of(EightViews, merged))
    for slices in batches:
        name = "PyTorch eager, attention rewritten"
        yield TorchWay(name, "fp16", slices, of(EightViews, rewritten))
    for precision in halves:
        for slices in batches:
            name = "PyTorch eager, fused attention"
            yield TorchWay(name, precision, slices, of(EightViews, fused))
    name = "PyTorch, fused attention, CUDA graph"
    for slices in batches:
        yield TorchWay(name, "fp16", slices, of(EightViews, fused), captured=True)
    most = batches[-1]
    name = "torch.compile, merged"
    yield TorchWay(name, "fp16", most, of(EightViews, merged), compiled=True)
    name = "torch.compile, fused attention"
    yield TorchWay(name, "fp16", most, of(EightViews, fused), compiled=True)
    name = "torch.compile, fused attention, CUDA graph"
    build = of(EightViews, fused)
    yield TorchWay(name, "fp16", batches[0], build, compiled=True, captured=True)


def runtime_ways(
    rewritten: WmhNetwork, shape: NetworkShape, batches: Sequence[int], scratch: Path
) -> Iterator[RuntimeWay]:
    """Yield what the runtime can do.

    Args:
        rewritten: merged and rewritten.
        shape: of it.
        batches: slices at a time.
        scratch: folder for graphs.
    """

    def writer(precision: Precision) -> Callable[[], Path]:
        path = scratch / f"8-view.{precision}.onnx"

        def write() -> Path:
            if not path.exists():
                module = HalfView(rewritten) if precision == "fp16" else OneView(rewritten)
                graph = with_eight_views(trace(module, shape.channels, shape.size_px))
                save_sharing_weights({path.name: graph}, scratch, f"weights.{precision}.bin")
            return path

        return write

    for precision in ("fp32", "fp16"):
        for kind in GPU_BACKENDS:
            if precision in kind.precisions:
                for slices in batches:
                    yield RuntimeWay(kind, precision, slices, shape, writer(precision))
