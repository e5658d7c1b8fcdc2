"""PyTorch variants that execute slices in eight views, the reference method first."""

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
from wmh_bench.baseline.torch_timing import TORCH_DTYPES, time_on_device, without_tf32
from wmh_bench.baseline.variant import OpenVariant, Variant
from wmh_export.network.rewrite import rewrite
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView, apply_view, undo_view

REFERENCE = "PyTorch, view by view"  # eager, with separate LoRA adapters
_SDPA = "SDPA"  # scaled_dot_product_attention


class TorchVariant(Variant):
    """PyTorch. Slices and probabilities stay on the device.

    Args:
        name: for the result.
        precision: of weights, slices and computation.
        batch_size: slices per batch.
        device: that executes.
        build: returns the module, [N, C, S, S] to [N, K, S, S], in float32 on the CPU.
        is_compiled: use torch.compile.
        in_cuda_graph: capture the batch into a CUDA graph.
    """

    def __init__(
        self,
        name: str,
        precision: Precision,
        batch_size: int,
        device: torch.device,
        build: Callable[[], nn.Module],
        *,
        is_compiled: bool = False,
        in_cuda_graph: bool = False,
    ) -> None:
        super().__init__(name, precision, batch_size)
        self._device = device
        self._build = build
        self.is_compiled = is_compiled
        self._in_cuda_graph = in_cuda_graph

    @contextmanager
    def open(self) -> Iterator[OpenVariant]:
        """Free the memory of earlier variants on a GPU, and move the module to the device."""
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        bytes_before = torch.cuda.memory_allocated() if on_gpu else 0
        dtype = TORCH_DTYPES[self.precision]
        module: Callable[[Tensor], Tensor] = self._build().eval().to(self._device, dtype)
        if self.is_compiled:
            torch.compiler.reset()
            module = torch.compile(module, dynamic=False)
        yield _OpenTorchVariant(
            *(module, self._device, dtype, self.batch_size, bytes_before),
            in_cuda_graph=self._in_cuda_graph,
        )


class _OpenTorchVariant(OpenVariant):
    def __init__(
        self,
        module: Callable[[Tensor], Tensor],
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int,
        bytes_before: int,
        *,
        in_cuda_graph: bool,
    ) -> None:
        self._module, self._device, self._dtype = module, device, dtype
        self._batch_size = batch_size
        self._bytes_before = bytes_before  # on the GPU, before the variant was opened
        self._in_cuda_graph = in_cuda_graph
        self._batch: Tensor | None = None  # input memory on the device
        self._execute: Callable[[], Tensor] | None = None

    @property
    def memory_mb(self) -> float | None:
        if self._device.type != "cuda":
            return None
        return round((torch.cuda.max_memory_allocated() - self._bytes_before) / 1e6, 1)

    def predict(self, slices: Floats) -> Floats:
        with torch.inference_mode(), without_tf32():
            return np.concatenate(
                [
                    self._predict_batch(slices[start : start + self._batch_size])
                    for start in range(0, len(slices), self._batch_size)
                ]
            )

    def _predict_batch(self, slices: Floats) -> Floats:
        probability = self._prepare(slices)()
        return probability[: len(slices)].float().cpu().numpy()

    def time_batches(self, batch: Floats, count: int) -> list[float]:
        with torch.inference_mode(), without_tf32():
            return time_on_device(self._prepare(batch), self._device, count)

    def _prepare(self, slices: Floats) -> Callable[[], Tensor]:
        """Copy slices to the device, and return a function that executes them."""
        inputs = torch.from_numpy(slices).to(self._device, self._dtype)
        if self._batch is None or self._execute is None:
            shape, module = (self._batch_size, *inputs.shape[1:]), self._module
            self._batch = batch = torch.zeros(shape, device=self._device, dtype=self._dtype)
            self._execute = lambda: module(batch)
            if self._in_cuda_graph:
                self._execute = _capture(self._execute)
        self._batch[: len(inputs)] = inputs
        return self._execute


def _capture(execute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Capture an execution into a CUDA graph, and return a function that replays it."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # the first calls allocate, which cannot be captured
            execute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = execute()

    def replay() -> Tensor:
        graph.replay()
        return outputs

    return replay


class ViewByView(OneView):
    """Executes the eight views of a slice one after another, as the reference method does."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean probability over the eight views."""
        predict = super().forward
        outputs = [undo_view(view, predict(apply_view(view, image))) for view in VIEWS]
        return torch.stack(outputs).mean(dim=0)


def reference_single_view(network: WmhNetwork, device: torch.device) -> TorchVariant:
    """Return a single view of the reference method.

    Args:
        network: as trained.
        device: that executes.
    """
    return TorchVariant("single view", "fp32", 1, device, lambda: OneView(copy.deepcopy(network)))


def torch_variants(
    network: WmhNetwork, merged: WmhNetwork, batch_sizes: Sequence[int], device: torch.device
) -> Iterator[TorchVariant]:
    """Yield all PyTorch variants, the reference method first.

    Args:
        network: as trained.
        merged: the same network with the LoRA adapters merged into the weights.
        batch_sizes: slices per batch, smallest first.
        device: that executes; float16 and CUDA graphs only on a GPU.
    """
    on_gpu = device.type == "cuda"
    half_precisions: tuple[Precision, ...] = ("fp16", "bf16") if on_gpu else ("bf16",)
    half = half_precisions[0]
    all_precisions: tuple[Precision, ...] = ("fp32", *half_precisions)
    plain = rewrite(merged)
    sdpa = rewrite(merged, ScaledDotProductAttention)

    def variants(
        name: str,
        precisions: Iterable[Precision],
        sizes: Iterable[int],
        module: type[OneView],
        source: nn.Module,
        *,
        is_compiled: bool = False,
        in_cuda_graph: bool = False,
    ) -> Iterator[TorchVariant]:
        for precision, batch_size in itertools.product(precisions, sizes):
            yield TorchVariant(
                *(name, precision, batch_size, device, lambda: module(copy.deepcopy(source))),
                is_compiled=is_compiled,
                in_cuda_graph=in_cuda_graph,
            )

    reference_precisions = all_precisions if on_gpu else ("fp32",)
    yield from variants(REFERENCE, reference_precisions, (1,), ViewByView, network)
    yield from variants("PyTorch, merged", all_precisions, batch_sizes, EightViews, merged)
    yield from variants("PyTorch, rewritten", (half,), batch_sizes, EightViews, plain)
    sdpa_precisions = half_precisions if on_gpu else all_precisions
    yield from variants(f"PyTorch, {_SDPA}", sdpa_precisions, batch_sizes, EightViews, sdpa)
    if on_gpu:
        name = f"PyTorch, {_SDPA}, CUDA graph"
        yield from variants(name, (half,), batch_sizes, EightViews, sdpa, in_cuda_graph=True)
    largest = batch_sizes[-1:]
    for source, source_name in ((merged, "merged"), (sdpa, _SDPA)):
        precisions = (half,) if on_gpu else all_precisions
        name = f"torch.compile, {source_name}"
        yield from variants(name, precisions, largest, EightViews, source, is_compiled=True)
    if on_gpu:
        name = f"torch.compile, {_SDPA}, CUDA graph"
        smallest = batch_sizes[:1]
        yield from variants(
            *(name, (half,), smallest, EightViews, sdpa), is_compiled=True, in_cuda_graph=True
        )
