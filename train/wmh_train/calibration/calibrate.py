"""Choosing threshold and minimum lesion size on the validation scans, on their own grids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from wmh_runtime.bundle.manifest import Calibration, Choice
from wmh_runtime.errors import RecipeError
from wmh_runtime.imageio.orientation import reorientation_to
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Views
from wmh_train.calibration.adaptive_tta import SlicesSeen, empty_below
from wmh_train.calibration.threshold_sweep import (
    MIN_LESIONS_MM3,
    THRESHOLDS,
    Surface,
    agreement_surface,
    mean_surface,
)
from wmh_train.checkpoint import (
    CheckpointFacts,
    SurfacePoint,
    SweptCalibration,
    load_facts,
    load_network,
    save_facts,
)
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import scan_key
from wmh_train.loop.distributed import place
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe
from wmh_train.torch_backend import TorchBackend

_VIEWS: tuple[Views, ...] = (8, 1)


def calibrate(
    network: WmhNetwork,
    recipe: Recipe,
    scans: list[AnnotatedScan],
    on_scan: Callable[[], None],
) -> SweptCalibration:
    """Sweep threshold × minimum size, with all eight views and with one.

    Besides, what one view must show of a slice for the other seven to be worth looking at. The
    choice maximises (1 − w) · mean Dice + w · mean lesion F1, w the recipe's; of equals, the
    smallest threshold and size.

    Args:
        network: as it was loaded from its checkpoint.
        recipe: of it.
        scans: to choose on: the validation scans.
        on_scan: called after each scan.

    Raises:
        InputError: a scan cannot be read.
    """
    surfaces: dict[Views, list[list[Surface]]] = {views: [] for views in _VIEWS}
    seen: list[list[SlicesSeen]] = []
    with ExitStack() as stack:
        segmenters = {
            views: _segmenter(
                recipe, stack.enter_context(TorchBackend(network, recipe, views=views))
            )
            for views in _VIEWS
        }
        for scan in scans:
            channels, references = scan.load()
            voxel_volume_mm3 = channels[0].voxel_volume_mm3
            probabilities = {
                views: [one.probability for one in segmenter.segment(*channels).results]
                for views, segmenter in segmenters.items()
            }
            for views, of_outputs in probabilities.items():
                surfaces[views].append(
                    [
                        agreement_surface(probability, true, voxel_volume_mm3)
                        for probability, true in zip(of_outputs, references, strict=True)
                    ]
                )
            slices_of = reorientation_to(recipe.preprocessing.plane, channels[0].affine).apply
            seen.append(
                [
                    SlicesSeen.of(slices_of(one), slices_of(eight), voxel_volume_mm3)
                    for one, eight in zip(probabilities[1], probabilities[8], strict=True)
                ]
            )
            on_scan()
    means = {  # for each output
        views: [mean_surface(of_output) for of_output in zip(*surfaces[views], strict=True)]
        for views in _VIEWS
    }
    weight = recipe.calibration.lesion_f1_weight
    choices = [_choice(views, recipe.outputs, means[views], weight) for views in _VIEWS]
    return SweptCalibration(
        choices=choices,
        empty_below=[
            empty_below(of_output, output.threshold)
            for of_output, output in zip(zip(*seen, strict=True), choices[0].outputs, strict=True)
        ],
        scans=len(scans),
        lesion_f1_weight=weight,
        surface=[
            point
            for views in _VIEWS
            for name, mean in zip(recipe.outputs, means[views], strict=True)
            for point in _points(views, name, mean)
        ],
    )


def calibrate_checkpoint(
    folder: Path, scans: Iterable[AnnotatedScan], base: Path | None, on_scan: Callable[[], None]
) -> SweptCalibration:
    """Calibrate a checkpoint as it lies on disk and write the choice into it.

    Args:
        folder: of the checkpoint.
        scans: among them its validation scans.
        base: the weights that its frozen encoder was trained on.
        on_scan: called after each scan.

    Raises:
        RecipeError: the checkpoint cannot be loaded, or a validation scan is not there or has
            changed.
        InputError: a scan or the base cannot be read.
    """
    facts = load_facts(folder)
    validation = _validation_scans(facts, scans, folder)
    network = place(load_network(folder, facts, base))
    chosen = calibrate(network, facts.recipe, validation, on_scan)
    save_facts(folder, facts.model_copy(update={"calibration": chosen}))
    return chosen


def edges_of(calibration: Calibration) -> list[str]:
    """Say which choices lie at the edge of the sweep, beyond which a better one may lie.

    No minimum size is no edge: there is none smaller.
    """
    lines = []
    for choice in calibration.choices:
        for output, dice in zip(choice.outputs, choice.mean_dice, strict=True):
            if dice == 0:
                lines.append(
                    f"{output.name}, {count_noun(choice.views, 'view')}: no lesion is found at any"
                    " threshold; train further before anything is made of this"
                )
                continue
            at_edge = []
            if output.threshold in (THRESHOLDS[0], THRESHOLDS[-1]):
                at_edge.append(f"threshold {output.threshold:g}")
            if output.min_lesion_mm3 == MIN_LESIONS_MM3[-1]:
                at_edge.append(f"minimum {output.min_lesion_mm3:g} mm³")
            lines += [
                f"{output.name}, {count_noun(choice.views, 'view')}: {value} lies at the edge of"
                " what is tried; a better one may lie beyond"
                for value in at_edge
            ]
    return lines


def _validation_scans(
    facts: CheckpointFacts, scans: Iterable[AnnotatedScan], folder: Path
) -> list[AnnotatedScan]:
    """Return the scans that a checkpoint was validated on; RecipeError where one is another."""
    by_name = {scan.name: scan for scan in scans}
    names = facts.split.validation
    missing = [name for name in names if name not in by_name]
    if missing:
        raise RecipeError(
            f"{len(missing)} of the checkpoint's validation scans are not there,"
            f" {missing[0]} first",
            "Give the data it was trained on.",
            about=folder,
        )
    for name in names:
        if scan_key(by_name[name], facts.recipe.preprocessing) != facts.scan_keys[name]:
            raise RecipeError(
                f"{name} is not what the checkpoint was validated on: scan or mask has changed",
                "Give the data it was trained on, or train again.",
                about=folder,
            )
    return [by_name[name] for name in names]


def _segmenter(recipe: Recipe, backend: TorchBackend) -> Segmenter:
    """Make a segmenter whose probabilities are wanted, not its masks."""
    uncut = [Output(name=name, threshold=1, min_lesion_mm3=0) for name in recipe.outputs]
    return Segmenter(recipe.preprocessing, uncut, backend)


def _choice(views: Views, names: list[str], means: list[Surface], weight: float) -> Choice:
    best = [mean.best(weight) for mean in means]
    return Choice(
        views=views,
        outputs=[
            Output(name=name, threshold=THRESHOLDS[i], min_lesion_mm3=MIN_LESIONS_MM3[j])
            for name, (i, j) in zip(names, best, strict=True)
        ],
        mean_dice=[float(mean.dice[at]) for mean, at in zip(means, best, strict=True)],
        mean_lesion_f1=[float(mean.lesion_f1[at]) for mean, at in zip(means, best, strict=True)],
    )


def _points(views: Views, name: str, mean: Surface) -> Iterator[SurfacePoint]:
    for i, threshold in enumerate(THRESHOLDS):
        for j, min_lesion_mm3 in enumerate(MIN_LESIONS_MM3):
            yield SurfacePoint(
                views=views,
                output=name,
                threshold=threshold,
                min_lesion_mm3=min_lesion_mm3,
                mean_dice=round(float(mean.dice[i, j]), 4),
                mean_lesion_f1=round(float(mean.lesion_f1[i, j]), 4),
            )
