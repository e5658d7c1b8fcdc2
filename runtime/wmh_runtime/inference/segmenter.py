"""The segmenter: one scan from image to lesions, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, cast

import numpy as np
from nibabel.spatialimages import SpatialImage

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, scan_from_image
from wmh_runtime.inference.backend_selection import open_backends
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.predictor import OnProgress, Predictor
from wmh_runtime.inference.trace import OnSpan, ignore_span
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.postprocessing.postprocess import Segmentation, find_regions, postprocess
from wmh_runtime.preprocessing.preprocess import PreprocessedScan, Preprocessing, preprocess
from wmh_runtime.preprocessing.slices.geometry import SliceGeometry
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Tta
from wmh_runtime.types import Floats, Mask, Prediction

# A file, an image of nibabel, or a scan of this package.
Image: TypeAlias = str | PathLike[str] | SpatialImage | Scan


@dataclass(frozen=True)
class SegmentationModel:
    """What decides a mask besides the network itself."""

    channels: Sequence[str]  # C names, such as "flair"
    preprocessing: Preprocessing
    outputs: Sequence[Output]  # K, with the thresholds and minimum lesion sizes to use
    empty_slice_thresholds: Sequence[float] = ()  # K probabilities; empty: not adaptive
    warnings: Sequence[str] = ()  # of the model, about every result
    regions: Sequence[str] = ()  # names of the outputs after those of lesions
    interchangeable: bool = False  # any channel may be missing, but not all

    @classmethod
    def from_bundle(cls, bundle: Bundle, outputs: Sequence[Output], tta: Tta) -> Self:
        """Take it from a bundle.

        Args:
            bundle: open.
            outputs: the bundle's for this `tta`, or with other thresholds and sizes.
            tta: views of each slice.

        Raises:
            InputError: a library that its preprocessing needs is not installed.
        """
        manifest = bundle.manifest
        manifest.preprocessing.require_installed()
        is_adaptive = tta == "adaptive"
        empty_slice_thresholds = (
            [manifest.empty_slice_threshold(output) for output in outputs] if is_adaptive else []
        )
        return cls(
            manifest.channels,
            manifest.preprocessing,
            outputs,
            empty_slice_thresholds,
            manifest.warnings,
            manifest.regions,
            manifest.interchangeable,
        )

    @property
    def needs_all_views(self) -> Callable[[Floats], bool] | None:
        """Decide from the first view of a slice, [K, S, S], whether the other seven are run."""
        if not self.empty_slice_thresholds:
            return None
        limits = np.array(self.empty_slice_thresholds, np.float32)[:, None, None]
        return lambda probability: bool((probability[: len(limits)] >= limits).any())


class Segmenter:
    """Segments scans in memory: preprocess, predict, postprocess.

    Use it in a `with` statement::

        with Segmenter.from_bundle(load_bundle()) as segmenter:
            volume_ml = segmenter.segment(nibabel.load("flair.nii.gz"))["wmh"].volume_ml

    Args:
        model: channels, preprocessing, outputs.
        backends: open, one for each device: of one view if the model is adaptive.
        on_span: is called after each batch.
    """

    def __init__(
        self, model: SegmentationModel, backends: Sequence[Backend], on_span: OnSpan = ignore_span
    ) -> None:
        self.model = model
        self.backends = backends
        self.predictor = Predictor(backends, model.needs_all_views, on_span)

    @classmethod
    @contextmanager
    def from_bundle(
        cls, bundle: Bundle, options: InferenceOptions | None = None
    ) -> Iterator[Segmenter]:
        """Open a bundle on this machine.

        Args:
            bundle: from `load_bundle`.
            options: backend, precision, views and thresholds; None: the defaults.

        Raises:
            BackendError: no backend can run the bundle as the options ask.
            BundleError: the bundle has no graph or no calibration for the options.
            InputError: the options contradict each other, or a library that the preprocessing needs
                is not installed.
        """
        options = options or InferenceOptions()
        model = SegmentationModel.from_bundle(bundle, options.outputs(bundle), options.tta)
        with (
            open_backends(bundle, options.backend, options.backend_options) as opened,
            cls(model, opened.backends) as segmenter,
        ):
            yield segmenter

    def __enter__(self) -> Self:
        """Start the threads of the predictor."""
        self.predictor.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the threads of the predictor."""
        self.predictor.__exit__(kind, error, traceback)

    def segment(
        self,
        images: Image | Sequence[Image] | Mapping[str, Image],
        on_progress: OnProgress = lambda _: None,
    ) -> Segmentation:
        """Segment one scan.

        Args:
            images: the image of the first channel, or one for each channel of the bundle, by name
                or in order. The first one decides the grid of the result; the others may have
                another one. If the channels are interchangeable, some may be missing by name.
            on_progress: called in another thread with the share of the network's work that is done,
                0 to 1. What it raises is raised here.

        Raises:
            InputError: an image is missing or too many, is not a usable volume, or shows no head.
            BackendError: the execution failed.
        """
        return self.postprocess(*self.predict(images, on_progress))

    def predict(
        self,
        images: Image | Sequence[Image] | Mapping[str, Image],
        on_progress: OnProgress = lambda _: None,
    ) -> tuple[PreprocessedScan, Prediction]:
        """Do the first part of `segment`: return the slices of a scan and their probabilities."""
        preprocessed = preprocess(self._scans(images), self.model.preprocessing)
        return preprocessed, self.predictor.predict(preprocessed.slices, on_progress)

    def postprocess(self, preprocessed: PreprocessedScan, prediction: Prediction) -> Segmentation:
        """Do the second part of `segment`: return masks and lesions on the grid of the scan."""
        model = self.model
        segmentation = postprocess(
            prediction, preprocessed, model.outputs, model.regions, model.channels
        )
        return replace(segmentation, warnings=(*segmentation.warnings, *model.warnings))

    def find_regions(
        self, images: Mapping[str, Image]
    ) -> tuple[Mapping[str, Mask], tuple[str, ...]]:
        """Find the regions of the brain only, without lesions.

        Args:
            images: by channel, as for `segment`.

        Returns:
            Masks (x, y, z) by the name of the region, and the warnings of the preprocessing.

        Raises:
            InputError: as `segment`.
            BackendError: the execution failed.
        """
        preprocessed, prediction = self.predict(images)
        return self.regions_of(prediction, preprocessed.geometry), preprocessed.warnings

    def regions_of(self, prediction: Prediction, geometry: SliceGeometry) -> Mapping[str, Mask]:
        """Return the regions of the brain, (x, y, z) by name, that a prediction shows."""
        model = self.model
        of_regions = prediction.probability[:, len(model.outputs) :]
        return find_regions(of_regions, geometry, model.regions)

    def _scans(self, images: Image | Sequence[Image] | Mapping[str, Image]) -> list[Scan | None]:
        """Return the scans in the order of the channels; None for one that is missing."""
        channels, interchangeable = self.model.channels, self.model.interchangeable
        if not isinstance(images, Mapping):
            given = images if isinstance(images, list | tuple) else [cast(Image, images)]
            if interchangeable and len(given) == 1:
                given = [*given, *([None] * (len(channels) - 1))]  # the first channel
            _require_channels(given, channels)
            return [None if image is None else _scan_from(image) for image in given]
        is_enough = bool(images) if interchangeable else set(images) == set(channels)
        if not is_enough or not set(images) <= set(channels):
            problem = f"are {', '.join(images) or 'none'}, expected {', '.join(channels)}"
            advice = "Give one image for each channel."
            if interchangeable:
                advice = "Give an image for one of them at least."
            raise InputError(problem, advice, about="channels")
        return [_scan_from(images[one]) if one in images else None for one in channels]


def _scan_from(image: Image) -> Scan:
    if isinstance(image, Scan):
        return image
    if isinstance(image, SpatialImage):
        return scan_from_image(image)
    if isinstance(image, str | PathLike):
        return read_scan(Path(image))
    problem = f"is of type {type(image).__name__}, expected a path, an image of nibabel or a Scan"
    raise InputError(problem, "For an array, use scan_from_array.", about="image")


def _require_channels(images: Sequence[object], channels: Sequence[str]) -> None:
    """Refuse too few or too many images; InputError."""
    if len(images) != len(channels):
        raise InputError(
            f"{count_noun(len(images), 'image')} given, this bundle takes {len(channels)}"
            f" ({', '.join(channels)})",
            "Give one image for each channel, or use another bundle.",
        )
