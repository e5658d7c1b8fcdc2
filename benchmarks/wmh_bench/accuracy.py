"""How accurate a bundle is on phantoms that no training saw."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wmh_bench.intensity_threshold import best_threshold_dice
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.bundle import Bundle
from wmh_runtime.errors import InputError
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.phantom.cohort import ACCURACY_SEED, Plan, plan_cohort, write_phantom
from wmh_runtime.scan import read_scan
from wmh_runtime.segmenter import Segmenter
from wmh_runtime.strict import Strict

HELD_OUT_SUBJECTS = 12
HELD_OUT_LOADS_ML = (1.0, 40.0)


class CaseAccuracy(Strict):
    """One phantom."""

    name: str
    site: str
    contrast_to_noise: float
    reference_ml: float
    volume_ml: float
    dice: float
    threshold_dice: float


class Accuracy(Strict):
    """All of them, and what was measured."""

    bundle: str
    model_id: str
    backend: str
    precision: str
    mean_dice: float
    lowest_dice: float
    threshold_mean_dice: float
    cases: list[CaseAccuracy]


def held_out_phantoms() -> list[Plan]:
    """Plan the twelve phantoms: 1 to 40 mL, the three sites in turn."""
    return plan_cohort(HELD_OUT_SUBJECTS, ACCURACY_SEED, HELD_OUT_LOADS_ML)


def measure_accuracy(
    bundle: Bundle, plans: list[Plan], on_case: Callable[[CaseAccuracy], None]
) -> Accuracy:
    """Segment phantoms, files to voxels, and compare with their exact masks.

    Args:
        bundle: with the single output `wmh`.
        plans: which phantoms.
        on_case: is told each.

    Raises:
        InputError: the bundle segments something else.
    """
    manifest = bundle.manifest
    if [output.name for output in manifest.outputs] != ["wmh"] or manifest.channels != ["flair"]:
        raise InputError("is not a FLAIR-to-WMH bundle", "Give one.", about=bundle.folder)
    cases = []
    with (
        OnnxRuntimeBackend.of_bundle(bundle) as backend,
        tempfile.TemporaryDirectory() as folder,
    ):
        segmenter = Segmenter(manifest.preparation, manifest.outputs, backend)
        for plan in plans:
            cases.append(_measure_case(plan, Path(folder), segmenter))
            on_case(cases[-1])
    return Accuracy(
        bundle=manifest.name,
        model_id=manifest.model_id,
        backend=backend.name,
        precision=backend.precision,
        mean_dice=float(np.mean([case.dice for case in cases])),
        lowest_dice=min(case.dice for case in cases),
        threshold_mean_dice=float(np.mean([case.threshold_dice for case in cases])),
        cases=cases,
    )


def _measure_case(plan: Plan, folder: Path, segmenter: Segmenter) -> CaseAccuracy:
    facts = write_phantom(plan, folder)
    scan = read_scan(plan.scan_path(folder))
    reference = read_scan(plan.reference_path(folder), allow_constant=True).voxels > 0
    (result,) = segmenter.segment(scan).results
    return CaseAccuracy(
        name=plan.name,
        site=plan.site,
        contrast_to_noise=round(facts.contrast_to_noise, 2),
        reference_ml=round(facts.volume_ml, 3),
        volume_ml=round(result.lesions.volume_ml, 3),
        dice=round(dice_of_masks(result.lesions.mask, reference), 4),
        threshold_dice=round(best_threshold_dice(scan.voxels, reference, scan.voxel_volume_mm3), 4),
    )
