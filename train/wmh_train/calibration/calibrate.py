"""Select threshold and minimum lesion size on the validation scans, on their original grids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.bundle.calibration import Calibration, OperatingPoint
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.case_failure import as_failure_of
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.postprocessing.postprocess import Segmentation
from wmh_runtime.postprocessing.regions import brain_of
from wmh_runtime.preprocessing.channels import align_channels
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Views
from wmh_runtime.types import Floats, Prediction
from wmh_train.calibration.adaptive_tta import SliceStatistics, empty_slice_threshold
from wmh_train.calibration.reliability import count_bins, reliability
from wmh_train.calibration.threshold_sweep import (
    MIN_LESIONS_MM3,
    THRESHOLDS,
    ThresholdSweep,
    mean_of_sites,
    sweep_thresholds,
)
from wmh_train.checkpoint import (
    CalibrationWithSweep,
    CheckpointMetadata,
    SweepPoint,
    load_metadata,
    load_network,
    save_metadata,
)
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache_entry import scan_key
from wmh_train.loop.distributed import move_to_device
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend, segmentation_model

_VIEWS: tuple[Views, ...] = (8, 1)


def calibrate(
    network: WmhNetwork,
    recipe: Recipe,
    scans: list[AnnotatedScan],
    on_scan: Callable[[], None],
    log_folder: Path,
) -> CalibrationWithSweep:
    """Select threshold and minimum lesion size, for eight views and for one view.

    The selection maximizes mean Dice; each site counts the same. Of equal values, the smallest
    threshold and size are selected. Also compute the empty-slice thresholds of adaptive TTA, and
    how well probabilities agree with frequencies. With interchangeable channels, each scan counts
    once for each subset of them that may be there. For a network of regions only there is nothing
    to select: all regions have the same threshold.

    Args:
        network: network, loaded from its checkpoint.
        recipe: recipe of the network.
        scans: validation scans.
        on_scan: called after each scan.
        log_folder: for the traceback of an unexpected error.

    Raises:
        InputError: a scan cannot be read, or a library that the recipe needs is not installed.
        UnexpectedError: a scan meets a bug of this program.
    """
    recipe.preprocessing.require_installed()
    if not recipe.outputs:
        return CalibrationWithSweep(
            operating_points=[_operating_point(views, [], []) for views in _VIEWS],
            scans=len(scans),
            threshold_sweep=[],
        )
    measured = _Measurements()
    with ExitStack() as stack:
        segmenters = {
            views: stack.enter_context(
                _segmenter(recipe, stack.enter_context(TorchBackend(network, recipe, views=views)))
            )
            for views in _VIEWS
        }
        for scan in scans:
            with as_failure_of(scan.channels[0], log_folder):
                channels, references = scan.load()
                aligned = [match.scan for match in align_channels(channels) if match]
                for subset in recipe.channel_subsets:
                    given = {
                        name: image
                        for name, image, is_there in zip(
                            recipe.channels, aligned, subset, strict=True
                        )
                        if is_there
                    }
                    preprocessed, of_eight = segmenters[8].predict(given)
                    of_one = segmenters[1].predictor.predict(preprocessed.slices)
                    predictions: dict[Views, Prediction] = {8: of_eight, 1: of_one}
                    segmented = {
                        views: segmenters[views].postprocess(preprocessed, prediction)
                        for views, prediction in predictions.items()
                    }
                    measured.add(scan.site, segmented, references, channels[0])
                    measured.add_slices(
                        {views: one.probability for views, one in predictions.items()},
                        preprocessed.slices_by_plane,
                        len(recipe.outputs),
                    )
            on_scan()
    means = {  # one mean sweep per output
        views: [
            mean_of_sites(of_output, measured.sites)
            for of_output in zip(*measured.sweeps[views], strict=True)
        ]
        for views in _VIEWS
    }
    points = [_operating_point(views, recipe.outputs, means[views]) for views in _VIEWS]
    return CalibrationWithSweep(
        operating_points=points,
        empty_slice_thresholds=[
            empty_slice_threshold(scans_of_output, output.threshold)
            for scans_of_output, output in zip(
                zip(*measured.statistics, strict=True), points[0].outputs, strict=True
            )
        ],
        scans=len(scans),
        reliability=[reliability(of_output) for of_output in zip(*measured.counts, strict=True)],
        threshold_sweep=[
            point
            for views in _VIEWS
            for name, mean in zip(recipe.outputs, means[views], strict=True)
            for point in _sweep_points(views, name, mean)
        ],
    )


@dataclass
class _Measurements:
    """What is measured on each scan; with interchangeable channels, on each subset of them."""

    sites: list[str] = field(default_factory=list)
    sweeps: dict[Views, list[list[ThresholdSweep]]] = field(
        default_factory=lambda: {views: [] for views in _VIEWS}
    )
    statistics: list[list[SliceStatistics]] = field(default_factory=list)  # also by plane
    counts: list[list[NDArray[np.float64]]] = field(default_factory=list)

    def add(
        self,
        site: str,
        segmented: Mapping[Views, Segmentation],
        references: Sequence[Reference],
        grid: Scan,
    ) -> None:
        """Add a scan: what was found in eight views and in one, and its reference masks."""
        self.sites.append(site)
        probabilities = {
            views: [result.probability for result in segmentation.results]
            for views, segmentation in segmented.items()
        }
        for views, by_output in probabilities.items():
            brain = brain_of(segmented[views].regions)
            self.sweeps[views].append(
                [
                    sweep_thresholds(probability, reference, grid.voxel_volume_mm3, brain)
                    for probability, reference in zip(by_output, references, strict=True)
                ]
            )
        self.counts.append(
            [
                count_bins(probability, reference)
                for probability, reference in zip(probabilities[8], references, strict=True)
            ]
        )

    def add_slices(
        self, probabilities: Mapping[Views, Floats], slices_by_plane: Sequence[int], outputs: int
    ) -> None:
        """Add what the network found in the slices of a scan, (n, K, S, S), for adaptive TTA."""
        ends = np.cumsum(slices_by_plane)[:-1]
        for one, eight in zip(
            np.split(probabilities[1], ends), np.split(probabilities[8], ends), strict=True
        ):
            self.statistics.append(
                [SliceStatistics.from_probabilities(one[:, k], eight[:, k]) for k in range(outputs)]
            )


def calibrate_checkpoint(
    folder: Path,
    scans: Iterable[AnnotatedScan],
    pretrained: Path | None,
    on_scan: Callable[[], None],
) -> CalibrationWithSweep:
    """Calibrate a checkpoint on disk and write the calibration into it.

    Args:
        folder: checkpoint folder.
        scans: scans that include the validation scans of the checkpoint.
        pretrained: file with the weights of the frozen encoder; None if it was trained.
        on_scan: called after each scan.

    Raises:
        RecipeError: the checkpoint cannot be loaded, or a validation scan is missing or has
            changed.
        InputError: a scan or the pretrained weights cannot be read.
    """
    metadata = load_metadata(folder)
    validation = _validation_scans(metadata, scans, folder)
    network = move_to_device(load_network(folder, metadata, pretrained))
    calibration = calibrate(network, metadata.recipe, validation, on_scan, folder)
    save_metadata(folder, metadata.model_copy(update={"calibration": calibration}))
    return calibration


def sweep_warnings(calibration: Calibration) -> list[str]:
    """Return a warning for each selected value at the edge of the sweep, and for a Dice of 0.

    A minimum size of 0 gives no warning, because it cannot be smaller.
    """
    lines = []
    for point in calibration.operating_points:
        for output, dice in zip(point.outputs, point.mean_dice, strict=True):
            label = f"{output.name}, {count_noun(point.views, 'view')}"
            if dice == 0:
                lines.append(
                    f"{label}: no lesion is found at any threshold; train longer before you use"
                    " this checkpoint"
                )
                continue
            at_edge = []
            if output.threshold in (THRESHOLDS[0], THRESHOLDS[-1]):
                at_edge.append(f"threshold {output.threshold:g}")
            if output.min_lesion_mm3 == MIN_LESIONS_MM3[-1]:
                at_edge.append(f"minimum {output.min_lesion_mm3:g} mm³")
            lines += [
                f"{label}: {value} is at the edge of the tested range; a value outside it may be"
                " better: segment the validation scans with it, and compare the scores"
                for value in at_edge
            ]
    return lines


def _validation_scans(
    metadata: CheckpointMetadata, scans: Iterable[AnnotatedScan], folder: Path
) -> list[AnnotatedScan]:
    """Return the validation scans of a checkpoint; RecipeError if one is missing or has changed."""
    by_name = {scan.name: scan for scan in scans}
    names = metadata.split.validation
    missing = [name for name in names if name not in by_name]
    if missing:
        raise RecipeError(
            f"{len(missing)} validation scans of the checkpoint are missing, such as {missing[0]}",
            "Give the data of the training.",
            about=folder,
        )
    for name in names:
        if scan_key(by_name[name], metadata.recipe.preprocessing) != metadata.scan_keys[name]:
            raise RecipeError(
                f"the scan or mask {name} has changed since the training of the checkpoint",
                "Give the data of the training, or train again.",
                about=folder,
            )
    return [by_name[name] for name in names]


def _segmenter(recipe: Recipe, backend: TorchBackend) -> Segmenter:
    """Build a segmenter of which probabilities and regions are used, not the lesions."""
    outputs = [Output(name=name, threshold=1, min_lesion_mm3=0) for name in recipe.outputs]
    return Segmenter(segmentation_model(recipe, outputs), [backend])


def _operating_point(views: Views, names: list[str], means: list[ThresholdSweep]) -> OperatingPoint:
    best = [mean.best() for mean in means]
    return OperatingPoint(
        views=views,
        outputs=[
            Output(name=name, threshold=THRESHOLDS[i], min_lesion_mm3=MIN_LESIONS_MM3[j])
            for name, (i, j) in zip(names, best, strict=True)
        ],
        mean_dice=[float(mean.dice[at]) for mean, at in zip(means, best, strict=True)],
        mean_lesion_f1=[float(mean.lesion_f1[at]) for mean, at in zip(means, best, strict=True)],
    )


def _sweep_points(views: Views, name: str, mean: ThresholdSweep) -> Iterator[SweepPoint]:
    for i, threshold in enumerate(THRESHOLDS):
        for j, min_lesion_mm3 in enumerate(MIN_LESIONS_MM3):
            yield SweepPoint(
                views=views,
                output=name,
                threshold=threshold,
                min_lesion_mm3=min_lesion_mm3,
                mean_dice=round(float(mean.dice[i, j]), 4),
                mean_lesion_f1=round(float(mean.lesion_f1[i, j]), 4),
            )
