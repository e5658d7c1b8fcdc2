"""Answers: slices with lesions, and what the trained network says of them.

A bundle carries them. Whatever executes it, here or on a machine without the tools that made it,
can be asked the same and compared. The slices show phantoms, never patients.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.errors import BundleError
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.tta import ALL_VIEWS, VIEWS, Views
from wmh_runtime.types import Floats, Mask


@dataclass(frozen=True)
class ReferenceOutputs:
    """What a network says of slices, and from which probability on that is a lesion."""

    questions: ProbeSlices
    probability: Mapping[Views, Floats]  # [n, K, S, S], of the first n slices; fewer of eight views
    thresholds: Mapping[str, float]  # of the K outputs, by name

    @property
    def finds_lesions(self) -> bool:
        """Whether there is anything to agree on, in one view and in eight."""
        return all(self.masks(given).any() for given in self.probability.values())

    def masks(self, probability: Floats) -> Mask:
        """Cut probabilities [n, K, S, S] at the thresholds."""
        return _masks(probability, self.thresholds)

    def first(self, slices: int) -> ReferenceOutputs:
        """Return the answers about the first few slices, in one view."""
        return ReferenceOutputs(
            self.questions.at(np.arange(slices)),
            {1: self.probability[1][:slices]},
            self.thresholds,
        )

    def save(self, path: Path) -> None:
        """Write slices and probabilities; equal ones are equal bytes."""
        half = self.questions.slices.astype(np.float16)
        assert np.array_equal(half, self.questions.slices), "slices of values that float16 holds"
        arrays: dict[str, Any] = {"slices": half, "pixel_ml": self.questions.pixel_ml}
        for views, probability in self.probability.items():
            arrays[f"views_{views}"] = probability
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        write_bytes_atomically(path, stream.getvalue())

    @classmethod
    def load(cls, path: Path, thresholds: Mapping[str, float]) -> ReferenceOutputs:
        """Read what `save` wrote, of phantoms.

        Raises:
            BundleError: the file is no such file.
        """
        try:
            with path.open("rb") as stream, np.load(stream) as arrays:  # never unpickles
                slices = arrays["slices"].astype(np.float32)
                return cls(
                    ProbeSlices("phantoms", slices, arrays["pixel_ml"]),
                    {views: arrays[f"views_{views}"] for views in ALL_VIEWS},
                    thresholds,
                )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            problem = f"holds no answers ({error})"
            raise BundleError(problem, "Copy the bundle again.", about=path) from error


def load_reference_outputs(bundle: Bundle) -> ReferenceOutputs:
    """Read the slices of the parity check, and what the trained network says of them.

    Raises:
        BundleError: the file holds something else.
    """
    manifest = bundle.manifest
    return ReferenceOutputs.load(bundle.path_of(manifest.reference_outputs), manifest.thresholds)


def compute_reference_outputs(
    network: Backend,
    questions: ProbeSlices,
    thresholds: Mapping[str, float],
    seen_in_eight_views: int,
) -> ReferenceOutputs:
    """Ask a network about slices, in one view and in the mean of eight, taken apart by numpy.

    Args:
        network: open, of one view.
        questions: N slices.
        thresholds: of the K outputs; the slices in which most is found come first.
        seen_in_eight_views: how many of them, the first ones, are asked about in eight views.
    """
    one = network.predict(questions.slices)  # [N, K, S, S]
    found = _masks(one, thresholds).sum(axis=(1, 2, 3))
    most_first = np.argsort(-found, kind="stable")
    questions, one = questions.at(most_first), one[most_first]
    first = questions.slices[:seen_in_eight_views]
    undone = [view.undo(network.predict(np.ascontiguousarray(view.apply(first)))) for view in VIEWS]
    eight = np.stack(undone).mean(axis=0, dtype=np.float64)
    return ReferenceOutputs(questions, {1: _shortened(one), 8: _shortened(eight)}, thresholds)


def _masks(probability: Floats, thresholds: Mapping[str, float]) -> Mask:
    cut = np.array(list(thresholds.values()), np.float32)
    masks: Mask = probability >= cut[:, None, None]
    return masks


def _shortened(probability: NDArray[np.floating]) -> Floats:
    """Round to a millionth, a hundredth of the tightest bound: it compresses to a third."""
    return np.round(probability, 6).astype(np.float32)
