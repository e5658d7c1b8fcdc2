"""Measure how far a backend is from the reference outputs."""

from __future__ import annotations

import numpy as np

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.parity_record import OutputParity, Parity
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs
from wmh_runtime.errors import BackendError
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.tta import Views


def measure_parity(reference: ReferenceOutputs, backend: Backend, views: Views) -> Parity:
    """Execute the probe slices with a backend and compare the result with the reference outputs.

    Args:
        reference: reference outputs of the trained network.
        backend: an open backend of the same network.
        views: number of views that the backend averages.

    Raises:
        BackendError: the masks of the reference outputs are empty, so that a comparison proves
            nothing; or the execution failed.
    """
    expected = reference.probability[views]  # [n, K, S, S]
    data = reference.probes.data
    expected_masks = reference.masks(expected)
    if not reference.main_masks(expected).any():
        raise BackendError(
            f"the network finds no {reference.kind} in the {data} of the parity check",
            f"Train it longer, or export it with scans that show {reference.kind}s. Two empty masks"
            " prove nothing.",
        )
    outputs = backend.predict(reference.probes.slices[: len(expected)])
    masks = reference.masks(outputs)
    difference = np.abs(expected.astype(np.float64) - outputs)
    pixel_ml = reference.probes.pixel_ml[: len(expected), None, None]
    return Parity(
        backend=backend.description,
        precision=backend.precision,
        views=views,
        emulated=backend.emulated,
        data=data,
        slices=len(expected),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        outputs=[
            OutputParity(
                name=name,
                reference_ml=round(float((expected_masks[:, k] * pixel_ml).sum()), 4),
                backend_ml=round(float((masks[:, k] * pixel_ml).sum()), 4),
                mask_dice=dice_of_masks(expected_masks[:, k], masks[:, k]),
                differing_pixels=int((expected_masks[:, k] != masks[:, k]).sum()),
            )
            for k, name in enumerate(reference.thresholds)
        ],
    )
