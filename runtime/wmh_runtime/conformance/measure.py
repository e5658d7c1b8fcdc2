"""Measure how far a backend is from the trained network."""

from __future__ import annotations

import numpy as np

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.parity_record import OutputParity, Parity
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs
from wmh_runtime.errors import BackendError
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.tta import Views


def measure_parity(answers: ReferenceOutputs, backend: Backend, views: Views) -> Parity:
    """Ask a backend what the network was asked.

    Args:
        answers: of the network.
        backend: open, of the same shape.
        views: that the backend looks at.

    Raises:
        BackendError: the answers show no lesion, so that agreement would mean nothing; or the
            execution failed, or gave what is not finite.
    """
    expected = answers.probability[views]  # [n, K, S, S]
    data = answers.questions.data
    masks = answers.masks(expected)
    if not masks.any():
        raise BackendError(
            f"the network finds no lesion in the {data} of the parity check",
            "Train it further, or give scans with lesions; two empty masks prove nothing.",
        )
    found = backend.predict(answers.questions.slices[: len(expected)])
    found_masks = answers.masks(found)
    difference = np.abs(expected.astype(np.float64) - found)
    pixel_ml = answers.questions.pixel_ml[: len(expected), None, None]
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
                reference_ml=round(float((masks[:, k] * pixel_ml).sum()), 4),
                found_ml=round(float((found_masks[:, k] * pixel_ml).sum()), 4),
                mask_dice=dice_of_masks(masks[:, k], found_masks[:, k]),
                differing_pixels=int((masks[:, k] != found_masks[:, k]).sum()),
            )
            for k, name in enumerate(answers.thresholds)
        ],
    )
