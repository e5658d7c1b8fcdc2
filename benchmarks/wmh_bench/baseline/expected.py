"""The expected outputs of all variants: those of the trained network in float32 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_export.phantom_probes import phantom_probes
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.errors import ExportError
from wmh_runtime.phantom.cohort import PARITY_SEED
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats, Mask
from wmh_train.checkpoint import CheckpointMetadata
from wmh_train.model.network import WmhNetwork
from wmh_train.torch_backend import TorchBackend

_SLICES = 2


@dataclass(frozen=True)
class ExpectedOutputs:
    """Probe slices, and the outputs of the trained network in eight views."""

    slices: Floats  # [N, C, S, S]
    probability: Floats  # [N, K, S, S]
    thresholds: Floats  # [K, 1, 1]

    def mask(self, probability: Floats) -> Mask:
        """Apply the thresholds to probabilities [N, K, S, S]."""
        return probability >= self.thresholds


def compute_expected_outputs(
    network: WmhNetwork, metadata: CheckpointMetadata, thresholds: Floats
) -> ExpectedOutputs:
    """Run the network on probe slices of phantoms.

    Args:
        network: as trained.
        metadata: of its checkpoint.
        thresholds: [K], from `calibrated_thresholds`.
    """
    recipe = metadata.recipe
    slices = phantom_probes(
        PARITY_SEED, recipe.preprocessing, recipe.channels, recipe.channel_subsets, _SLICES
    ).slices
    with TorchBackend(network, recipe, views=len(VIEWS)) as backend:
        probability = backend.predict(slices)
    return ExpectedOutputs(slices, probability, thresholds[:, None, None])


def calibrated_thresholds(metadata: CheckpointMetadata, checkpoint: Path) -> Floats:
    """Return the thresholds [K] for eight views.

    Raises:
        ExportError: the checkpoint is not calibrated for eight views.
    """
    calibration = metadata.calibration
    for point in calibration.operating_points if calibration is not None else []:
        if point.views == len(VIEWS):
            return np.array([output.threshold for output in point.outputs], np.float32)
    advice = f"Run: wmh-train calibrate {checkpoint} --data …"
    raise ExportError("is not calibrated for eight views", advice, about=checkpoint)


def require_same_preprocessing(
    metadata: CheckpointMetadata, checkpoint: Path, bundle: Bundle
) -> None:
    """Refuse a bundle with another preprocessing: it was not exported from this checkpoint.

    A bundle of another network with the same preprocessing is not detected here, but shows in the
    mask Dice.

    Raises:
        ExportError: the preprocessing differs.
    """
    if bundle.manifest.preprocessing != metadata.recipe.preprocessing:
        advice = "Give the bundle that was exported from it."
        problem = f"has another preprocessing than {bundle.folder}"
        raise ExportError(problem, advice, about=checkpoint)
