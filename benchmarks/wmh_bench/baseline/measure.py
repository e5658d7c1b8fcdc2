"""The reference method's own way, what one would try next, and the runtime, in one run.

One view of the reference method is the yardstick: it takes turns with every way, so that whatever
else the machine does slows both alike, and how many times faster a way is comes from its own turns.
Correctness comes first: what a way gives is compared with the float32 network on the processor, and
the difference stands beside the speed.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmh_bench.baseline.ceilings import measure_copies, tflop_per_s
from wmh_bench.baseline.result import Baseline, BaselineRow
from wmh_bench.baseline.runtime_ways import runtime_ways
from wmh_bench.baseline.torch_ways import one_view_of_reference, torch_ways
from wmh_bench.baseline.ways import Opened, Way
from wmh_bench.ceilings.matmul_ceiling import MULTIPLIERS, compared_with, measure_ceiling
from wmh_bench.ceilings.peak_specs import share_of_peak
from wmh_bench.environment import Circumstances, Model
from wmh_bench.selection import ON_PROCESSORS, ways_of
from wmh_bench.timing.times import LEAST_S, Times
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_export.phantom_probes import phantom_probes
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.errors import ExportError, WmhError
from wmh_runtime.machine import cpu_name
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.phantom.cohort import PARITY_SEED
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats
from wmh_train.checkpoint import CheckpointFacts, load_facts, load_network
from wmh_train.model.network import WmhNetwork, parameter_counts
from wmh_train.torch_backend import TorchBackend

_COMPARED = 2  # slices
_MOST_VIEWS = 20  # of the yardstick in a turn


@dataclass(frozen=True)
class Subject:
    """What is measured."""

    checkpoint: Path  # calibrated
    base: Path | None  # weights that its encoder stands on
    bundle: Bundle | None  # exported from it: the runtime takes its turns too


def measure_baseline(
    subject: Subject,
    device: torch.device,
    batches: Sequence[int],
    turns: int,
    on_result: Callable[[Baseline, str], None],
    on_step: Callable[[str], None],
) -> Baseline:
    """Execute slices of eight views by all ways.

    Args:
        subject: what to execute.
        device: `cpu` or `cuda`.
        batches: slices at a time, smallest first.
        turns: that each way takes with the yardstick.
        on_result: is told what was measured so far, with a line about what is new.
        on_step: is told what is done next.

    Raises:
        ExportError: the checkpoint is not calibrated for eight views, or the bundle is of another.
    """
    facts = load_facts(subject.checkpoint)
    thresholds = _thresholds(facts, subject.checkpoint)
    on_step("asking the network what it says in float32")
    network = load_network(subject.checkpoint, facts, subject.base)
    merged = merge(network)
    truth = _ask(network, facts, thresholds)
    _require_exported_from(facts, subject)
    on_gpu = device.type == "cuda"
    on_step("multiplying matrices")
    measured = Baseline(
        circumstances=Circumstances.of(_model(subject, facts, merged, truth)),
        device=torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        threads=torch.get_num_threads(),
        turns=turns,
        products_tflop_per_s=_products(device, subject.bundle),
        copies=measure_copies(device),
        rows=[],
        skipped={},
    )
    ways: list[Way] = [*torch_ways(network, merged, batches, device)]
    if subject.bundle is not None:
        ways += runtime_ways(subject.bundle, batches, on_gpu=on_gpu)
    ways.sort(key=lambda way: way.compiles)  # what takes minutes to begin with comes last
    with one_view_of_reference(network, device).open() as yardstick:
        yardstick.seconds(truth.slices[:1], 2)  # the first are slow
        for way in ways:
            on_step(str(way))
            try:
                row = _row(way, _executed(way, yardstick, truth, turns), truth, measured)
            except (WmhError, RuntimeError) as error:  # PyTorch's are RuntimeErrors
                reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
                measured.skipped[str(way)] = reason
                on_result(measured, f"{way}: skipped, {reason}")
            else:
                measured.rows.append(row)
                on_result(measured, _line(way, row))
    return measured


@dataclass(frozen=True)
class _Truth:
    """What every way is compared with."""

    slices: Floats  # [n, C, S, S]
    probability: Floats  # [n, K, S, S], of eight views, float32 on the processor
    thresholds: Floats  # [K, 1, 1]


@dataclass(frozen=True)
class _Executed:
    """What a way did."""

    found: Floats  # for the slices of the truth
    first_s: float
    seconds: list[float]  # of batches
    times_faster: list[float]  # a slice than eight views of the yardstick, turn by turn
    device_memory_mb: float | None


def _executed(way: Way, yardstick: Opened, truth: _Truth, turns: int) -> _Executed:
    """Execute a way for long enough, in turns with the yardstick, which lasts half as long."""
    view = truth.slices[:1]
    batch = truth.slices[np.arange(way.slices) % len(truth.slices)]
    with way.open() as opened:
        started = time.perf_counter()
        opened.predict(batch)
        first_s = time.perf_counter() - started
        found = opened.predict(truth.slices)
        memory_mb = opened.memory_mb
        (one_s,), (view_s,) = opened.seconds(batch, 1), yardstick.seconds(view, 1)
        batches = math.ceil(LEAST_S / turns / one_s)
        views = min(_MOST_VIEWS, max(1, round(batches * one_s / view_s / 2)))
        seconds: list[float] = []
        times_faster = []
        for _ in range(turns):
            reference_s = statistics.mean(yardstick.seconds(view, views)) * len(VIEWS)
            in_this_turn = opened.seconds(batch, batches)
            times_faster.append(reference_s * way.slices / statistics.mean(in_this_turn))
            seconds += in_this_turn
    return _Executed(found, first_s, seconds, times_faster, memory_mb)


def _row(way: Way, done: _Executed, truth: _Truth, measured: Baseline) -> BaselineRow:
    times = Times.of([seconds / way.slices for seconds in done.seconds])
    tflop = len(VIEWS) * measured.circumstances.model.gflop_a_view / 1e3  # of a slice
    tflop_per_s = tflop / times.median_ms * 1e3
    ceiling = measured.products_tflop_per_s.get(compared_with(way.precision))
    found, expected = done.found >= truth.thresholds, truth.probability >= truth.thresholds
    difference = np.abs(done.found - truth.probability).max()
    return BaselineRow(
        name=way.name,
        is_runtime=way.is_runtime,
        precision=way.precision,
        slices=way.slices,
        first_s=round(done.first_s, 2),
        times=times,
        views_per_s=round(len(VIEWS) * 1e3 / times.median_ms, 3),
        times_faster=round(statistics.median(done.times_faster), 3),
        least_times_faster=round(min(done.times_faster), 3),
        most_times_faster=round(max(done.times_faster), 3),
        tflop_per_s=round(tflop_per_s, 4),
        share_of_products=round(tflop_per_s / ceiling, 4) if ceiling else None,
        share_of_peak=share_of_peak(measured.device, way.precision, tflop_per_s),
        device_memory_mb=done.device_memory_mb,
        max_abs_difference=float(f"{difference:.3g}"),
        mask_dice=round(dice_of_masks(found, expected), 5),
        warnings=times.warnings,
    )


def _products(device: torch.device, bundle: Bundle | None) -> dict[Precision, float]:
    """Return the most that matrix products reach by what takes turns."""
    on_gpu = device.type == "cuda"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "bf16") if on_gpu else ("fp32", "bf16")
    most = tflop_per_s(precisions, device)
    for backend, precision in ways_of(MULTIPLIERS, ()) if bundle is not None else ():
        if (backend in ON_PROCESSORS) is not on_gpu:
            with suppress(WmhError):  # what is not here takes no turns either
                found = measure_ceiling(backend, precision, None, 0).tflop_per_s
                most[precision] = max(found, most.get(precision, 0.0))
    return most


def _line(way: Way, row: BaselineRow) -> str:
    share = "" if row.share_of_products is None else f"  {row.share_of_products:4.0%} of products"
    return (
        f"{row.times.median_ms:10.1f} ms a slice  {row.times_faster:6.2f} ×"
        f" ({row.least_times_faster:.2f} to {row.most_times_faster:.2f}){share}"
        f"  mask Dice {row.mask_dice:.4f}  {way}"
    )


def _require_exported_from(facts: CheckpointFacts, subject: Subject) -> None:
    """Refuse what is surely of another network; masks tell the rest."""
    bundle = subject.bundle
    if bundle is not None and bundle.manifest.preprocessing != facts.recipe.preprocessing:
        advice = "Give the bundle that was exported from it."
        problem = f"prepares slices otherwise than {bundle.folder}"
        raise ExportError(problem, advice, about=subject.checkpoint)


def _thresholds(facts: CheckpointFacts, checkpoint: Path) -> Floats:
    choices = facts.calibration.choices if facts.calibration is not None else []
    for choice in choices:
        if choice.views == len(VIEWS):
            return np.array([output.threshold for output in choice.outputs], np.float32)
    advice = f"Run: wmh-train calibrate {checkpoint} --data …"
    raise ExportError("is not calibrated for eight views", advice, about=checkpoint)


def _ask(network: WmhNetwork, facts: CheckpointFacts, thresholds: Floats) -> _Truth:
    recipe = facts.recipe
    slices = phantom_probes(
        PARITY_SEED, recipe.preprocessing, len(recipe.channels), _COMPARED
    ).slices
    with TorchBackend(network, recipe, views=len(VIEWS)) as backend:
        probability = backend.predict(slices)
    return _Truth(slices, probability, thresholds[:, None, None])


def _model(subject: Subject, facts: CheckpointFacts, merged: WmhNetwork, truth: _Truth) -> Model:
    if subject.bundle is not None:
        return Model.of(subject.bundle)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        rewrite(merged)(torch.from_numpy(truth.slices[:1]))
    return Model(
        name=facts.recipe.name,
        model_id="",
        bundle_sha256="",
        size_px=facts.recipe.preprocessing.size_px,
        parameters=parameter_counts(merged).total,
        gflop_a_view=round(counter.get_total_flops() / 1e9, 3),
    )
