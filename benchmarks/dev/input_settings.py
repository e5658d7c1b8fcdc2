"""Compare input settings (FLAIR, T1, both, interchangeable) and tasks (apart, joint).

The comparison is that of Machnio et al. 2025 (arXiv 2506.22041), on synthetic heads with a small
U-Net. Every network has the same number of steps and the same heads. Trainings that were stopped
continue, and those that are finished are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from wmh_bench.environment import source_commit
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.evaluation.metrics import compare_masks
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.schema import StrictModel
from wmh_train.checkpoint import load_metadata, load_network
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.layouts import find_dataset
from wmh_train.data.split import split_scans
from wmh_train.loop.fit import FitData, FitListener, fit
from wmh_train.recipe.recipe import Recipe, load_recipe
from wmh_train.torch_backend import TorchBackend, segmentation_model

RECIPE = Path(__file__).with_name("input-settings.toml")
REGIONS = ("brain", "ventricles", "white", "cortex", "deepgray", "posterior")
_LESIONS = "wmh"
_LEAST_LOAD_ML = 1.0  # with less, Dice says little about so small networks
_THRESHOLD = 0.5  # of lesions; nothing is calibrated, so that all networks are treated alike


@dataclass(frozen=True)
class Variant:
    """One network to train."""

    inputs: str
    task: str
    channels: tuple[str, ...]
    interchangeable: bool
    outputs: tuple[str, ...]
    regions: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.inputs}-{self.task}"

    def recipe(self, base: Recipe) -> Recipe:
        """Return the base recipe with the channels and outputs of this variant."""
        changes = {
            "channels": list(self.channels),
            "interchangeable": self.interchangeable,
            "outputs": list(self.outputs),
            "regions": list(self.regions),
        }
        return Recipe.model_validate(base.model_dump() | changes)


class InputScore(StrictModel):
    """Mean scores of a network on the test heads, in one view."""

    inputs: str = Field(description="the network's input setting")
    task: str = Field(description="lesions, regions, or joint")
    given: str = Field(description="the channels that it was given")
    steps: int
    training_minutes: float = Field(description="to the best epoch")
    training_heads: int
    heads: int = Field(description="of the test; lesions are scored on those with 1 mL or more")
    lesion_heads: int
    lesion_dice: float | None
    lesion_recall: float | None
    lesion_f1: float | None
    region_dice: dict[str, float]


class InputComparison(StrictModel):
    """All scores."""

    commit: str = Field(description="of this project")
    machine: Machine
    recipe: dict[str, Any]
    scores: list[InputScore]


def variants() -> list[Variant]:
    """Return all networks: four input settings, each for lesions, for regions and for both."""
    inputs = {
        "flair": (("flair",), False),
        "t1": (("t1",), False),
        "flair+t1": (("flair", "t1"), False),
        "interchangeable": (("flair", "t1"), True),
    }
    tasks = {
        "lesions": ((_LESIONS,), ()),
        "joint": ((_LESIONS,), REGIONS),
        "regions": ((), REGIONS),
    }
    return [
        Variant(name, task, channels, interchangeable, outputs, regions)
        for task, (outputs, regions) in tasks.items()
        for name, (channels, interchangeable) in inputs.items()
    ]


def compare_inputs(
    training: Path,
    test: Path,
    out: Path,
    on_variant: Callable[[Variant], FitListener],
    on_scores: Callable[[InputComparison], None],
    base: Recipe | None = None,
) -> None:
    """Train all networks, and score each on heads that none was trained on.

    Args:
        training: folder of synthetic heads.
        test: another one, of another seed.
        out: folder for the trainings.
        on_variant: called before each training; returns its listener.
        on_scores: called after each network, with all scores so far.
        base: recipe; None: the one beside this file.
    """
    base = base or load_recipe(RECIPE)
    scores: list[InputScore] = []
    for variant in variants():
        recipe = variant.recipe(base)
        data = find_dataset(training, recipe.channels, recipe.outputs, recipe.regions)
        split = split_scans(data.scans, recipe.data, recipe.schedule.seed)
        listener = on_variant(variant)
        folder = out / variant.name
        metadata = fit(recipe, FitData(data.name, data.scans, split), folder, None, listener)
        heads = find_dataset(test, recipe.channels, recipe.outputs, recipe.regions).scans
        details = metadata.provenance.details
        with _segmenter(folder, recipe) as segmenter:
            for subset in recipe.channel_subsets:
                given = [name for name, there in zip(recipe.channels, subset, strict=True) if there]
                of_heads = [_score(segmenter, head, recipe, given) for head in heads]
                scores.append(
                    InputScore(
                        inputs=variant.inputs,
                        task=variant.task,
                        given="+".join(given),
                        steps=recipe.schedule.epochs
                        * (recipe.data.epoch_slices or 0)
                        // recipe.schedule.batch_size,
                        training_minutes=float(details["minutes"]),
                        training_heads=len(split.training),
                        heads=len(heads),
                        **_means(of_heads),
                    )
                )
        on_scores(
            InputComparison(
                commit=source_commit(),
                machine=describe_machine(),
                recipe=base.model_dump(mode="json", exclude_defaults=True),
                scores=scores,
            )
        )


@dataclass(frozen=True)
class _HeadScore:
    """Scores of one head; lesions NaN, or regions empty, if the network does not predict them."""

    lesion_dice: float
    lesion_recall: float
    lesion_f1: float
    region_dice: Mapping[str, float]


@contextmanager
def _segmenter(folder: Path, recipe: Recipe) -> Iterator[Segmenter]:
    """Open a segmenter of one view from a checkpoint."""
    outputs = [Output(name=name, threshold=_THRESHOLD, min_lesion_mm3=0) for name in recipe.outputs]
    network = load_network(folder, load_metadata(folder), None)
    with (
        TorchBackend(network, recipe, views=1) as backend,
        Segmenter(segmentation_model(recipe, outputs), [backend]) as segmenter,
    ):
        yield segmenter


def _score(
    segmenter: Segmenter, head: AnnotatedScan, recipe: Recipe, given: Sequence[str]
) -> _HeadScore:
    images, references = head.load()
    grid = images[0]
    by_name = dict(zip(recipe.channels, images, strict=True))
    found = segmenter.segment({name: by_name[name] for name in given})
    true = dict(zip(recipe.targets, (*references, *head.load_regions(grid)), strict=True))
    region_dice = {
        name: dice_of_masks(found.regions[name], true[name].lesion) for name in recipe.regions
    }
    if _LESIONS not in recipe.outputs:
        return _HeadScore(np.nan, np.nan, np.nan, region_dice)
    if true[_LESIONS].lesion.sum() * grid.voxel_volume_mm3 < 1000 * _LEAST_LOAD_ML:
        return _HeadScore(np.nan, np.nan, np.nan, region_dice)
    metrics = compare_masks(found[_LESIONS].mask, true[_LESIONS], grid.affine)
    return _HeadScore(metrics.dice, metrics.lesion_recall, metrics.lesion_f1, region_dice)


def _means(scores: Sequence[_HeadScore]) -> dict[str, Any]:
    """Average over the heads; None for what a network does not predict."""
    means: dict[str, Any] = {
        key: _mean(getattr(score, key) for score in scores)
        for key in ("lesion_dice", "lesion_recall", "lesion_f1")
    }
    means["lesion_heads"] = sum(not np.isnan(score.lesion_dice) for score in scores)
    means["region_dice"] = {
        name: _mean(score.region_dice[name] for score in scores) for name in scores[0].region_dice
    }
    return means


def _mean(values: Iterable[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return round(float(np.mean(known)), 4) if known else None
