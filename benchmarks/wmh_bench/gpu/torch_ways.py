"""PyTorch's ways to execute slices of eight views, from the reference method's own on."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from wmh_bench.gpu.attention import ScaledDotProductAttention
from wmh_bench.gpu.timing import TORCH_TYPES, device_seconds, float32_as_it_is
from wmh_bench.gpu.ways import Opened, Way
from wmh_export.rewrite import rewrite
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats, Precision
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView, apply_view, undo_view

REFERENCE = "PyTorch eager, adapters beside the weights, view by view"
_OWN_ATTENTION = "scaled_dot_product_attention"
_GPU = torch.device("cuda")


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
        """Move the module to the GPU, which is free of all that was there before."""
        _forget()
        torch.cuda.reset_peak_memory_stats()
        dtype = TORCH_TYPES[self.precision]
        module: Callable[[Tensor], Tensor] = self._build().eval().to(_GPU, dtype)
        if self._compiled:
            torch.compiler.reset()
            module = torch.compile(module, dynamic=False)
        with torch.inference_mode(), float32_as_it_is():
            yield _OpenedTorch(module, dtype, self.slices, captured=self._captured)


class _OpenedTorch(Opened):
    def __init__(
        self, module: Callable[[Tensor], Tensor], dtype: torch.dtype, slices: int, *, captured: bool
    ) -> None:
        self._module, self._dtype, self._slices = module, dtype, slices
        self._captured = captured
        self._batch: Tensor | None = None  # where slices lie on the device
        self._run: Callable[[], Tensor] | None = None

    @property
    def memory_mb(self) -> float:
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)

    def predict(self, slices: Floats) -> Floats:
        found = []
        for start in range(0, len(slices), self._slices):
            part = slices[start : start + self._slices]
            given = self._ready(part)()
            found.append(given[: len(part)].float().cpu().numpy())
        return np.concatenate(found)

    def seconds(self, batch: Floats, timed: int) -> list[float]:
        return device_seconds(self._ready(batch), timed)

    def _ready(self, slices: Floats) -> Callable[[], Tensor]:
        """Copy slices to the device, and return what executes them."""
        given = torch.from_numpy(slices).to(_GPU, self._dtype)
        if self._batch is None or self._run is None:
            whole, module = (self._slices, *given.shape[1:]), self._module
            self._batch = batch = torch.zeros(whole, device=_GPU, dtype=self._dtype)
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


def _forget() -> None:
    """Give back what earlier ways took on the device."""
    gc.collect()
    torch.cuda.empty_cache()


class ViewByView(OneView):
    """The eight views of a slice one after another, as the reference method has them."""

    def forward(self, image: Tensor) -> Tensor:
        """Average them."""
        look = super().forward
        seen = [undo_view(view, look(apply_view(view, image))) for view in VIEWS]
        return torch.stack(seen).mean(dim=0)


def torch_ways(
    network: WmhNetwork, merged: WmhNetwork, batches: Sequence[int]
) -> Iterator[TorchWay]:
    """Yield what PyTorch can do, the reference method's own way first.

    Args:
        network: as it was trained.
        merged: the same without adapters.
        batches: slices at a time, smallest first.
    """
    plain, own = rewrite(merged), rewrite(merged, ScaledDotProductAttention)

    def of(module: type[OneView], source: nn.Module) -> Callable[[], nn.Module]:
        return lambda: module(copy.deepcopy(source))

    halves: tuple[Precision, ...] = ("fp16", "bf16")
    for precision in ("fp32", *halves):
        yield TorchWay(REFERENCE, precision, 1, of(ViewByView, network))
    for precision in ("fp32", *halves):
        for slices in batches:
            yield TorchWay("PyTorch eager, merged", precision, slices, of(EightViews, merged))
    for slices in batches:
        name = "PyTorch eager, attention rewritten"
        yield TorchWay(name, "fp16", slices, of(EightViews, plain))
    for precision in halves:
        for slices in batches:
            name = f"PyTorch eager, {_OWN_ATTENTION}"
            yield TorchWay(name, precision, slices, of(EightViews, own))
    for slices in batches:
        name = f"PyTorch, {_OWN_ATTENTION}, CUDA graph"
        yield TorchWay(name, "fp16", slices, of(EightViews, own), captured=True)
    most = batches[-1]
    for source, name in ((merged, "merged"), (own, _OWN_ATTENTION)):
        build = of(EightViews, source)
        yield TorchWay(f"torch.compile, {name}", "fp16", most, build, compiled=True)
    name = f"torch.compile, {_OWN_ATTENTION}, CUDA graph"
    yield TorchWay(name, "fp16", batches[0], of(EightViews, own), compiled=True, captured=True)
