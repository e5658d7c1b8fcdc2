"""Compare the speed of the reference method, other PyTorch variants and the runtime in one run.

Every variant alternates with a view of the reference method in several rounds. Other load on the
machine then slows both alike, and the speedup is computed within each round. Before a variant is
timed, its output is compared with the float32 network on the CPU, and the difference is part of the
result.
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

from wmh_bench.baseline.expected import (
    ExpectedOutputs,
    calibrated_thresholds,
    compute_expected_outputs,
    require_same_preprocessing,
)
from wmh_bench.baseline.result import Baseline, BaselineRow
from wmh_bench.baseline.runtime_variants import runtime_variants
from wmh_bench.baseline.torch_ceilings import measure_copy_bandwidth, measure_matmul_ceiling
from wmh_bench.baseline.torch_variants import reference_single_view, torch_variants
from wmh_bench.baseline.variant import OpenVariant, Variant
from wmh_bench.ceilings.matmul_ceiling import MATMUL_BACKENDS, ceiling_precision, measure_ceiling
from wmh_bench.ceilings.peak_specs import share_of_peak
from wmh_bench.environment import Environment, Model
from wmh_bench.selection import CPU_BACKEND_NAMES, select_backend_precisions
from wmh_bench.timing.times import MIN_DURATION_S, Times
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.errors import WmhError
from wmh_runtime.machine import cpu_name
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats
from wmh_train.checkpoint import CheckpointMetadata, load_metadata, load_network
from wmh_train.model.network import WmhNetwork, parameter_counts

_MAX_REFERENCE_VIEWS = 20  # in a round


@dataclass(frozen=True)
class BaselineInputs:
    """The network to measure."""

    checkpoint: Path  # calibrated
    pretrained: Path | None  # pretrained weights of its encoder
    bundle: Bundle | None  # exported from the checkpoint; None: only PyTorch is measured


def measure_baseline(
    inputs: BaselineInputs,
    device: torch.device,
    batch_sizes: Sequence[int],
    rounds: int,
    on_result: Callable[[Baseline, str], None],
    on_step: Callable[[str], None],
) -> Baseline:
    """Measure all variants on slices in eight views.

    Args:
        inputs: checkpoint and bundle.
        device: `cpu` or `cuda`.
        batch_sizes: slices per batch, smallest first.
        rounds: how often each variant alternates with the reference method.
        on_result: called after each variant with the result so far and a line about the variant.
        on_step: called with the name of each step before it starts.

    Raises:
        ExportError: the checkpoint is not calibrated for eight views, or the bundle was exported
            from another checkpoint.
    """
    metadata = load_metadata(inputs.checkpoint)
    thresholds = calibrated_thresholds(metadata, inputs.checkpoint)
    on_step("computing the expected outputs in float32")
    network = load_network(inputs.checkpoint, metadata, inputs.pretrained)
    merged = merge(network)
    expected = compute_expected_outputs(network, metadata, thresholds)
    if inputs.bundle is not None:
        require_same_preprocessing(metadata, inputs.checkpoint, inputs.bundle)
    on_gpu = device.type == "cuda"
    on_step("measuring the matmul ceiling")
    result = Baseline(
        environment=Environment.describe(_describe_model(inputs, metadata, merged, expected)),
        device=torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        threads=torch.get_num_threads(),
        rounds=rounds,
        matmul_ceiling_tflop_per_s=_measure_ceilings(device, inputs.bundle),
        copies=measure_copy_bandwidth(device),
        rows=[],
        skipped={},
    )
    variants: list[Variant] = [*torch_variants(network, merged, batch_sizes, device)]
    if inputs.bundle is not None:
        variants += runtime_variants(inputs.bundle, batch_sizes, on_gpu=on_gpu)
    variants.sort(key=lambda variant: variant.is_compiled)  # compiling takes minutes: last
    with reference_single_view(network, device).open() as reference:
        reference.time_batches(expected.slices[:1], 2)  # warm-up
        for variant in variants:
            on_step(str(variant))
            try:
                row = _row(variant, _time(variant, reference, expected, rounds), expected, result)
            except (WmhError, RuntimeError) as error:  # PyTorch raises RuntimeError
                reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
                result.skipped[str(variant)] = reason
                on_result(result, f"{variant}: skipped, {reason}")
            else:
                result.rows.append(row)
                on_result(result, _line(variant, row))
    return result


@dataclass(frozen=True)
class _Timing:
    """What was measured of a variant."""

    probability: Floats  # of the expected outputs' slices
    first_batch_s: float
    batch_seconds: list[float]
    speedups: list[float]  # of a slice, compared with eight views of the reference, by round
    device_memory_mb: float | None


def _time(
    variant: Variant, reference: OpenVariant, expected: ExpectedOutputs, rounds: int
) -> _Timing:
    """Time a variant, alternating with the reference, which gets half as much time."""
    view = expected.slices[:1]
    batch = expected.slices[np.arange(variant.batch_size) % len(expected.slices)]
    with variant.open() as opened:
        started = time.perf_counter()
        opened.predict(batch)
        first_batch_s = time.perf_counter() - started
        probability = opened.predict(expected.slices)
        memory_mb = opened.memory_mb
        (batch_s,), (view_s,) = opened.time_batches(batch, 1), reference.time_batches(view, 1)
        batches = math.ceil(MIN_DURATION_S / rounds / batch_s)
        views = min(_MAX_REFERENCE_VIEWS, max(1, round(batches * batch_s / view_s / 2)))
        batch_seconds: list[float] = []
        speedups = []
        for _ in range(rounds):
            reference_s = statistics.mean(reference.time_batches(view, views)) * len(VIEWS)
            in_this_round = opened.time_batches(batch, batches)
            speedups.append(reference_s * variant.batch_size / statistics.mean(in_this_round))
            batch_seconds += in_this_round
    return _Timing(probability, first_batch_s, batch_seconds, speedups, memory_mb)


def _row(
    variant: Variant, timing: _Timing, expected: ExpectedOutputs, result: Baseline
) -> BaselineRow:
    times = Times.from_seconds([seconds / variant.batch_size for seconds in timing.batch_seconds])
    tflop_per_slice = len(VIEWS) * result.environment.model.gflop_per_view / 1e3
    tflop_per_s = tflop_per_slice / times.median_ms * 1e3
    ceiling = result.matmul_ceiling_tflop_per_s.get(ceiling_precision(variant.precision))
    difference = np.abs(timing.probability - expected.probability).max()
    mask, expected_mask = expected.mask(timing.probability), expected.mask(expected.probability)
    return BaselineRow(
        name=variant.name,
        is_runtime=variant.is_runtime,
        precision=variant.precision,
        batch_size=variant.batch_size,
        first_batch_s=round(timing.first_batch_s, 2),
        times=times,
        views_per_s=round(len(VIEWS) * 1e3 / times.median_ms, 3),
        speedup=round(statistics.median(timing.speedups), 3),
        min_speedup=round(min(timing.speedups), 3),
        max_speedup=round(max(timing.speedups), 3),
        tflop_per_s=round(tflop_per_s, 4),
        share_of_matmul_ceiling=round(tflop_per_s / ceiling, 4) if ceiling else None,
        share_of_peak=share_of_peak(result.device, variant.precision, tflop_per_s),
        device_memory_mb=timing.device_memory_mb,
        max_abs_difference=float(f"{difference:.3g}"),
        mask_dice=round(dice_of_masks(mask, expected_mask), 5),
        warnings=times.warnings,
    )


def _measure_ceilings(device: torch.device, bundle: Bundle | None) -> dict[Precision, float]:
    """Return the highest matmul ceiling in each precision, of PyTorch and of all backends."""
    on_gpu = device.type == "cuda"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "bf16") if on_gpu else ("fp32", "bf16")
    highest = measure_matmul_ceiling(precisions, device)
    if bundle is None:
        return highest
    for backend, precision in select_backend_precisions(MATMUL_BACKENDS, ()):
        if (backend in CPU_BACKEND_NAMES) is not on_gpu:
            with suppress(WmhError):  # a backend that is not available is not measured either
                ceiling = measure_ceiling(backend, precision, threads=None, gpu_index=0)
                highest[precision] = max(ceiling.tflop_per_s, highest.get(precision, 0.0))
    return highest


def _line(variant: Variant, row: BaselineRow) -> str:
    share = row.share_of_matmul_ceiling
    ceiling = "" if share is None else f"  {share:4.0%} of the matmul ceiling"
    return (
        f"{row.times.median_ms:10.1f} ms per slice  {row.speedup:6.2f} ×"
        f" ({row.min_speedup:.2f} to {row.max_speedup:.2f}){ceiling}"
        f"  mask Dice {row.mask_dice:.4f}  {variant}"
    )


def _describe_model(
    inputs: BaselineInputs,
    metadata: CheckpointMetadata,
    merged: WmhNetwork,
    expected: ExpectedOutputs,
) -> Model:
    """Describe the bundle, or without one the checkpoint."""
    if inputs.bundle is not None:
        return Model.from_bundle(inputs.bundle)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        rewrite(merged)(torch.from_numpy(expected.slices[:1]))
    return Model(
        name=metadata.recipe.name,
        model_id="",
        bundle_sha256="",
        size_px=metadata.recipe.preprocessing.size_px,
        parameters=parameter_counts(merged).total,
        gflop_per_view=round(counter.get_total_flops() / 1e9, 3),
    )
