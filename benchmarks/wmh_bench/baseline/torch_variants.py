"""PyTorch's ways to execute slices of eight views, from the reference method's own on."""

from __future__ import annotations

import copy
import gc
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from wmh_bench.baseline.attention import ScaledDotProductAttention
from wmh_bench.baseline.timing import TORCH_TYPES, float32_as_it_is, seconds_of
from wmh_bench.baseline.ways import Opened, Way
from wmh_export.network.rewrite import rewrite
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView, apply_view, undo_view

REFERENCE = "PyTorch, view by view"  # eager, adapters beside the weights
_OWN_ATTENTION = "SDPA"  # scaled_dot_product_attention


class TorchWay(Way):
    """PyTorch; slices and probabilities stay on the device.

    Args:
        name: for people.
        precision: of weights, slices and products.
        slices: at a time.
        device: that executes.
        build: makes the module, [N, C, S, S] to [N, K, S, S], in float32 on the processor.
        compiled: by torch.compile.
        captured: into a CUDA graph.
    """

    def __init__(
        self,
        name: str,
        precision: Precision,
        slices: int,
        device: torch.device,
        build: Callable[[], nn.Module],
        *,
        compiled: bool = False,
        captured: bool = False,
    ) -> None:
        super().__init__(name, precision, slices)
        self._device = device
        self._build = build
        self.compiles = compiled
        self._captured = captured

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """Move the module to the device; a GPU is freed of all that was there before."""
        if self._device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        taken_bytes = torch.cuda.memory_allocated() if self._device.type == "cuda" else 0
        dtype = TORCH_TYPES[self.precision]
        module: Callable[[Tensor], Tensor] = self._build().eval().to(self._device, dtype)
        if self.compiles:
            torch.compiler.reset()
            module = torch.compile(module, dynamic=False)
        yield _OpenedTorch(
            *(module, self._device, dtype, self.slices, taken_bytes), captured=self._captured
        )


class _OpenedTorch(Opened):
    def __init__(
        self,
        module: Callable[[Tensor], Tensor],
        device: torch.device,
        dtype: torch.dtype,
        slices: int,
        taken_bytes: int,
        *,
        captured: bool,
    ) -> None:
        self._taken_bytes = taken_bytes  # before it was opened
        self._module, self._device, self._dtype, self._slices = module, device, dtype, slices
        self._captured = captured
        self._batch: Tensor | None = None  # where slices lie on the device
        self._run: Callable[[], Tensor] | None = None

    @property
    def memory_mb(self) -> float | None:
        if self._device.type != "cuda":
            return None
        return round((torch.cuda.max_memory_allocated() - self._taken_bytes) / 1e6, 1)

    def predict(self, slices: Floats) -> Floats:
        with torch.inference_mode(), float32_as_it_is():
            return self._predicted(slices)

    def _predicted(self, slices: Floats) -> Floats:
        found = []
        for start in range(0, len(slices), self._slices):
            part = slices[start : start + self._slices]
            given = self._ready(part)()
            found.append(given[: len(part)].float().cpu().numpy())
        return np.concatenate(found)

    def seconds(self, batch: Floats, count: int) -> list[float]:
        with torch.inference_mode(), float32_as_it_is():
            return seconds_of(self._ready(batch), self._device, count)

    def _ready(self, slices: Floats) -> Callable[[], Tensor]:
        """Copy slices to the device, and return what executes them."""
        given = torch.from_numpy(slices).to(self._device, self._dtype)
        if self._batch is None or self._run is None:
            whole, module = (self._slices, *given.shape[1:]), self._module
            self._batch = batch = torch.zeros(whole, device=self._device, dtype=self._dtype)
            self._run = lambda: module(batch)
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


def one_view_of_reference(network: WmhNetwork, device: torch.device) -> TorchWay:
    """Return the yardstick: a view, as the reference method executes it.

    Args:
        network: as it was trained.
        device: that executes.
    """
    return TorchWay("a view", "fp32", 1, device, lambda: OneView(copy.deepcopy(network)))


def torch_ways(
    network: WmhNetwork, merged: WmhNetwork, batches: Sequence[int], device: torch.device
) -> Iterator[TorchWay]:
    """Yield what PyTorch can do, the reference method's own way first.

    Args:
        network: as it was trained.
        merged: the same without adapters.
        batches: slices at a time, smallest first.
        device: that executes; only a GPU has float16 and CUDA graphs.
    """
    on_gpu = device.type == "cuda"
    halves: tuple[Precision, ...] = ("fp16", "bf16") if on_gpu else ("bf16",)
    half, most = halves[0], batches[-1]
    own = rewrite(merged, ScaledDotProductAttention)

    def ways(
        name: str,
        precisions: Iterable[Precision],
        at_a_time: Iterable[int],
        module: type[OneView],
        source: nn.Module,
        *,
        compiled: bool = False,
        captured: bool = False,
    ) -> Iterator[TorchWay]:
        for precision, slices in itertools.product(precisions, at_a_time):
            yield TorchWay(
                *(name, precision, slices, device, lambda: module(copy.deepcopy(source))),
                compiled=compiled,
                captured=captured,
            )

    all_of_them: tuple[Precision, ...] = ("fp32", *halves)
    yield from ways(REFERENCE, all_of_them if on_gpu else ("fp32",), (1,), ViewByView, network)
    yield from ways("PyTorch, merged", all_of_them, batches, EightViews, merged)
    plain = rewrite(merged)
    yield from ways("PyTorch, rewritten", (half,), batches, EightViews, plain)
    name = f"PyTorch, {_OWN_ATTENTION}"
    yield from ways(name, halves if on_gpu else all_of_them, batches, EightViews, own)
    if on_gpu:
        name = f"PyTorch, {_OWN_ATTENTION}, CUDA graph"
        yield from ways(name, (half,), batches, EightViews, own, captured=True)
    for source, what in ((merged, "merged"), (own, _OWN_ATTENTION)):
        precisions = (half,) if on_gpu else all_of_them
        name = f"torch.compile, {what}"
        yield from ways(name, precisions, (most,), EightViews, source, compiled=True)
    if on_gpu:
        name = f"torch.compile, {_OWN_ATTENTION}, CUDA graph"
        once = batches[:1]
        yield from ways(name, (half,), once, EightViews, own, compiled=True, captured=True)
