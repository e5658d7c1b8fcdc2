"""Proof that a graph is the network it was exported from, measured on slices with lesions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle import Parity
from wmh_runtime.errors import ExportError
from wmh_runtime.metrics import dice_of_masks
from wmh_runtime.phantom.cohort import Plan, write_phantom
from wmh_runtime.prepare import Preparation, prepare
from wmh_runtime.scan import read_scan
from wmh_runtime.types import Floats

# The one place of the bounds within which a graph counts as the same model.
FP32_MAX_ABS_DIFFERENCE = 1e-4
_PHANTOM = Plan("parity", seed=999_000, site="singapore", load_ml=30.0)  # no training sees it
_SLICES = 8


def parity_slices(preparation: Preparation, channels: int) -> Floats:
    """Prepare the phantom slices that hold most lesion, float32 [8, C, S, S]."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom(_PHANTOM, folder)
        scan = read_scan(_PHANTOM.scan_path(folder))
        reference = read_scan(_PHANTOM.reference_path(folder))
    prepared = prepare([scan] * channels, preparation)
    lesion_area = prepared.restoration.squares(reference.voxels).sum(axis=(1, 2))
    return prepared.slices[np.argsort(-lesion_area, kind="stable")[:_SLICES]]


def measure_parity(
    reference: Backend, candidate: Backend, slices: Floats, thresholds: list[float]
) -> Parity:
    """Compare two backends on the same slices.

    Args:
        reference: open.
        candidate: open.
        slices: float32 [N, C, S, S].
        thresholds: of the K outputs, for the masks.

    Raises:
        ExportError: the reference finds nothing, so that agreement would mean nothing.
    """
    expected, found = reference.predict(slices), candidate.predict(slices)
    cut = np.asarray(thresholds, np.float32)[:, None, None]
    if not (expected >= cut).any():
        raise ExportError(
            "the network finds no lesion in the slices of the parity check",
            "Train it further; two empty masks prove nothing.",
        )
    difference = np.abs(expected.astype(np.float64) - found)
    return Parity(
        reference=f"{reference.name} {reference.precision} {reference.device}",
        backend=f"{candidate.name} {candidate.precision} {candidate.device}",
        slices=len(slices),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        mask_dice=dice_of_masks(expected >= cut, found >= cut),
    )


def require_parity(parity: Parity, what: str) -> None:
    """Refuse a graph that is not the network.

    Raises:
        ExportError: the difference is larger than float32 arithmetic explains, or not a number.
    """
    if not parity.max_abs_difference <= FP32_MAX_ABS_DIFFERENCE:
        raise ExportError(
            f"the {what} graph differs from the network by up to {parity.max_abs_difference:.2g} in"
            f" probability, at most {FP32_MAX_ABS_DIFFERENCE:g} is allowed",
            "It is not put into a bundle; please report this.",
        )
