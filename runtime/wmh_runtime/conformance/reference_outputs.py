"""Reference outputs: probe slices with lesions, and the trained network's outputs for them.

Every bundle contains them. So every backend can be compared with the trained network, also on
machines without PyTorch. The probe slices in a bundle show phantoms, never patients.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.errors import BundleError
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.tta import VIEW_COUNTS, VIEWS, Views
from wmh_runtime.types import Floats, Mask

_ENOUGH_PX = 100  # of a mask that is worth comparing
_LOWEST_THRESHOLD = 0.01  # below, rounding decides
_STEP = 2**-16  # of stored probabilities: a third fewer bytes, and a seventh of what parity allows


@dataclass(frozen=True)
class ReferenceOutputs:
    """Probe slices, the network's probabilities for them, and the thresholds of the outputs."""

    probes: ProbeSlices
    probability: Mapping[Views, Floats]  # [n, K, S, S], first n probe slices; n differs by views
    thresholds: Mapping[str, float]  # of the K outputs, by name; see `with_found_masks`
    region_count: int = 0  # of the K outputs, the last are regions, the others lesions

    @property
    def kind(self) -> Literal["lesion", "region"]:
        """What the main outputs find: lesions, or regions if the network predicts no lesions."""
        return "lesion" if len(self.thresholds) > self.region_count else "region"

    @property
    def has_findings(self) -> bool:
        """Whether a main mask is not empty, both for one view and for eight."""
        return all(self.main_masks(outputs).any() for outputs in self.probability.values())

    def with_found_masks(self) -> ReferenceOutputs:
        """Lower the thresholds of the main outputs until each mask has a hundred pixels.

        A network of real scans may find nothing in phantoms at the thresholds of its bundle. Its
        outputs can be compared all the same, at lower thresholds, but not below 0.01.
        """
        lesions = len(self.thresholds) - self.region_count
        thresholds = dict(self.thresholds)
        for index, name in enumerate(list(thresholds)[: lesions or None]):
            found = min(_threshold_of(outputs[:, index]) for outputs in self.probability.values())
            thresholds[name] = min(thresholds[name], max(found, _LOWEST_THRESHOLD))
        return replace(self, thresholds=thresholds)

    def masks(self, probability: Floats) -> Mask:
        """Threshold probabilities [n, K, S, S]."""
        values = np.array(list(self.thresholds.values()), np.float32)
        masks: Mask = probability >= values[:, None, None]
        return masks

    def main_masks(self, probability: Floats) -> Mask:
        """Threshold the probabilities of the main outputs; see `kind`."""
        lesions = len(self.thresholds) - self.region_count
        return self.masks(probability)[:, : lesions or None]

    def first(self, count: int) -> ReferenceOutputs:
        """Return the reference outputs for the first probe slices, for one view."""
        return ReferenceOutputs(
            self.probes.select(np.arange(count)),
            {1: self.probability[1][:count]},
            self.thresholds,
            self.region_count,
        )

    def save(self, path: Path) -> None:
        """Write probe slices, thresholds, and probabilities in steps.

        Equal arrays give equal bytes.
        """
        half = self.probes.slices.astype(np.float16)
        assert np.array_equal(half, self.probes.slices), "the slices are not rounded to float16"
        arrays: dict[str, Any] = {"slices": half, "pixel_ml": self.probes.pixel_ml}
        arrays["thresholds"] = np.array(list(self.thresholds.values()))
        for views, probability in self.probability.items():
            arrays[f"views_{views}"] = np.round(probability / _STEP) * np.float32(_STEP)
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        write_bytes_atomically(path, stream.getvalue())

    @classmethod
    def load(
        cls, path: Path, thresholds: Mapping[str, float], region_count: int = 0
    ) -> ReferenceOutputs:
        """Read a file that `save` wrote, with probe slices of phantoms.

        Args:
            path: of the file.
            thresholds: of the outputs, by name; their values count if the file holds none.
            region_count: of the outputs, the last are regions.

        Raises:
            BundleError: the file has another format.
        """
        try:
            with path.open("rb") as stream, np.load(stream) as arrays:  # never unpickles
                slices = arrays["slices"].astype(np.float32)
                if "thresholds" in arrays:
                    stored = arrays["thresholds"].tolist()
                    thresholds = dict(zip(thresholds, stored, strict=True))
                return cls(
                    ProbeSlices("phantoms", slices, arrays["pixel_ml"]),
                    {views: arrays[f"views_{views}"] for views in VIEW_COUNTS},
                    thresholds,
                    region_count,
                )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            problem = f"contains no reference outputs ({error})"
            raise BundleError(problem, "Copy the bundle again.", about=path) from error


def _threshold_of(probability: Floats) -> float:
    """Return a threshold that a hundred pixels reach, in the middle between two probabilities."""
    values = np.sort(np.round(probability / _STEP), axis=None)[::-1] * _STEP  # as they are stored
    last = values[:_ENOUGH_PX][-1]
    below = values[values < last]
    return float((last + below[0]) / 2) if below.size else float(last) / 2


def load_reference_outputs(bundle: Bundle) -> ReferenceOutputs:
    """Read the reference outputs of a bundle.

    Raises:
        BundleError: the file has another format.
    """
    manifest = bundle.manifest
    path = bundle.path_of(manifest.reference_outputs)
    return ReferenceOutputs.load(path, manifest.thresholds, len(manifest.regions))


def compute_reference_outputs(
    network: Backend,
    probes: ProbeSlices,
    thresholds: Mapping[str, float],
    slices_in_eight_views: int,
    region_count: int = 0,
) -> ReferenceOutputs:
    """Execute a network on probe slices, for one view and for the mean of eight views.

    NumPy makes and averages the eight views here, so the result tests the eight-view graphs too.
    The probe slices are sorted by the area of the main masks, the largest first.

    Args:
        network: an open backend of one view.
        probes: N slices.
        thresholds: thresholds of the K outputs, by name.
        slices_in_eight_views: how many of the sorted slices to execute in eight views.
        region_count: of the K outputs, the last are regions.
    """
    one = network.predict(probes.slices)  # [N, K, S, S]
    unsorted = ReferenceOutputs(probes, {1: one}, thresholds, region_count)
    areas_px = unsorted.main_masks(one).sum(axis=(1, 2, 3))
    largest_first = np.argsort(-areas_px, kind="stable")
    probes, one = probes.select(largest_first), one[largest_first]
    first = probes.slices[:slices_in_eight_views]
    undone = [view.undo(network.predict(np.ascontiguousarray(view.apply(first)))) for view in VIEWS]
    eight = np.stack(undone).mean(axis=0, dtype=np.float64)
    probability: dict[Views, Floats] = {1: _round(one), 8: _round(eight)}
    return ReferenceOutputs(probes, probability, thresholds, region_count)


def _round(probability: NDArray[np.floating]) -> Floats:
    """Round to 1e-6, a hundredth of the strictest tolerance. The file shrinks to a third."""
    return np.round(probability, 6).astype(np.float32)
