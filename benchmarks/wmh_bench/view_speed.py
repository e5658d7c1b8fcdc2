"""Seconds a view on this processor: the reference method's way beside every backend and precision.

All execute the same weights, batch 1, one view of the same slices, in turns within one process, so
that whatever else the machine does slows all of them alike. Backends have two slices under way at a
time where they are made for it, as in a run; PyTorch has one. The ceiling is what large matrix
products of the same libraries reach, measured in the same turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from wmh_bench.machine import Machine, this_machine
from wmh_export.merge import merge
from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.select import installed_backends
from wmh_runtime.bundle import Bundle
from wmh_runtime.parity import measure_parity
from wmh_runtime.strict import Strict
from wmh_runtime.types import Precision
from wmh_train.backend import TorchBackend
from wmh_train.checkpoint import load_facts, load_network

# Multiplications and additions of one view of the method's network at 512 pixels: adapters merged,
# windows without padding, positions added. As PyTorch's FlopCounterMode counts them.
GFLOP_A_VIEW = 209
_OF_SIZE_PX = 512
_SLICES = 2  # of a turn
_SIDE = 3072  # of the matrices that the ceiling is measured with
_REFERENCE = "PyTorch eager, adapters beside the weights"
_MERGED = "PyTorch eager, merged"


class Contender(Strict):
    """One way to execute a view."""

    name: str
    precision: Precision
    median_s: float
    fastest_s: float
    slowest_s: float
    times_faster: float  # than the reference method's own way: the medians' ratio
    share_of_ceiling: float | None  # of matrix products in its precision, at 512 pixels
    mask_dice: float  # with the network as it was trained, on the bundle's phantom slices


class Ceiling(Strict):
    """What matrix products reach on this processor."""

    precision: Precision
    gflop_per_s: float  # median
    floor_s: float  # of a view of the method at 512 pixels


class ViewSpeed(Strict):
    """The measurement."""

    machine: Machine
    bundle: str
    model_id: str
    size_px: int
    turns: int
    contenders: list[Contender]
    ceilings: list[Ceiling]


def measure_view_speed(
    bundle: Bundle,
    checkpoint: Path,
    base: Path | None,
    turns: int,
    on_turn: Callable[[], None],
) -> ViewSpeed:
    """Execute one view by all in turns.

    Args:
        bundle: exported from the checkpoint.
        checkpoint: of the network, for PyTorch.
        base: weights that its encoder stands on.
        turns: timed, after one that is not.
        on_turn: called after each.
    """
    manifest = bundle.manifest
    facts = load_facts(checkpoint)
    network = load_network(checkpoint, facts, base)
    answers = bundle.answers()
    slices = answers.questions.slices[:_SLICES]
    with ExitStack() as stack:
        backends: dict[str, Backend] = {
            _REFERENCE: TorchBackend(network, facts.recipe, views=1),
            _MERGED: TorchBackend(merge(network), facts.recipe, views=1),
        }
        for backend in installed_backends():
            for precision in backend.precisions_here():
                backends[f"{backend.name} {precision}"] = backend.of_bundle(
                    bundle, views=1, precision=precision
                )
        for opened in backends.values():
            stack.enter_context(opened)
        dice = {
            name: measure_parity(answers, opened, 1).mask_dice for name, opened in backends.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in backends}
        rates: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
        for turn in range(turns + 1):
            for name, opened in backends.items():
                started = time.perf_counter()
                opened.predict(slices)
                if turn:
                    seconds[name].append((time.perf_counter() - started) / len(slices))
            for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                rate = _products_gflop_per_s(dtype)
                if turn:
                    rates[precision].append(rate)
            on_turn()
    median_s = {name: statistics.median(taken) for name, taken in seconds.items()}
    ceilings = {precision: statistics.median(measured) for precision, measured in rates.items()}
    at_512 = manifest.preparation.size_px == _OF_SIZE_PX

    def share_of_ceiling(name: str, precision: Precision) -> float | None:
        if not at_512 or precision not in ceilings:
            return None
        return round(GFLOP_A_VIEW / ceilings[precision] / median_s[name], 3)

    return ViewSpeed(
        machine=this_machine(),
        bundle=manifest.name,
        model_id=manifest.model_id,
        size_px=manifest.preparation.size_px,
        turns=turns,
        contenders=[
            Contender(
                name=f"{name} ({opened.description})",
                precision=opened.precision,
                median_s=round(median_s[name], 4),
                fastest_s=round(min(seconds[name]), 4),
                slowest_s=round(max(seconds[name]), 4),
                times_faster=round(median_s[_REFERENCE] / median_s[name], 3),
                share_of_ceiling=share_of_ceiling(name, opened.precision),
                mask_dice=round(dice[name], 5),
            )
            for name, opened in backends.items()
        ],
        ceilings=[
            Ceiling(
                precision=precision,
                gflop_per_s=round(rate, 1),
                floor_s=round(GFLOP_A_VIEW / rate, 4),
            )
            for precision, rate in ceilings.items()
        ],
    )


def _products_gflop_per_s(dtype: torch.dtype) -> float:
    """Return the rate of one large matrix product."""
    left, right = (torch.ones(_SIDE, _SIDE, dtype=dtype) for _ in range(2))
    started = time.perf_counter()
    torch.mm(left, right)
    return 2 * _SIDE**3 / (time.perf_counter() - started) / 1e9
