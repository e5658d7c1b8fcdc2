"""Compare input settings (FLAIR, T1, both, interchangeable) and tasks (apart, joint).

The comparison is that of Machnio et al. 2025 (arXiv 2506.22041), on synthetic heads with a small
U-Net. Every network has the same number of steps and the same heads. Trainings that were stopped
continue, and those that are finished are kept.

Another way to take either image is one channel that both share: each image of a head is a scan of
its own then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.dev.studies.one_view import open_segmenter
from wmh_bench.environment import source_commit
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.evaluation.metrics import compare_masks
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.schema import StrictModel
from wmh_train.data.annotated import AnnotatedScan, Dataset
from wmh_train.data.layouts import find_dataset
from wmh_train.data.split import split_scans
from wmh_train.fit.fit import FitData, FitListener, fit
from wmh_train.recipe.recipe import Recipe, load_recipe

RECIPE = Path(__file__).with_name("input-settings.toml")
REGIONS = ("brain", "ventricles", "white", "cortex", "deepgray", "posterior")
_LESIONS = "wmh"
_LEAST_LOAD_ML = 1.0  # with less, Dice says little about so small networks


@dataclass(frozen=True)
class Variant:
    """One network to train."""

    inputs: str
    task: str
    images: tuple[str, ...]  # of a head, that the network may take
    outputs: tuple[str, ...]
    regions: tuple[str, ...]
    either: Literal["", "two channels", "one channel"] = ""  # how it takes either of two images

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.inputs}-{self.task}"

    def recipe(self, base: Recipe) -> Recipe:
        """Return the base recipe with the channels and outputs of this variant."""
        changes = {
            "channels": list(self.images[:1] if self.either == "one channel" else self.images),
            "interchangeable": self.either == "two channels",
            "outputs": list(self.outputs),
            "regions": list(self.regions),
        }
        return Recipe.model_validate(base.model_dump() | changes)

    def scans(self, heads: Path) -> Dataset:
        """Find the scans of a folder of heads that the network is trained on."""
        found = self.heads(heads)
        if self.either != "one channel":
            return found
        scans = [
            replace(scan, name=f"{scan.name}_{name}", channels=(path,))
            for scan in found.scans
            for name, path in zip(self.images, scan.channels, strict=True)
        ]
        return replace(found, scans=tuple(scans))

    def heads(self, folder: Path) -> Dataset:
        """Find the heads of a folder, with all images that the network may take."""
        return find_dataset(folder, self.images, self.outputs, self.regions)

    def given(self, recipe: Recipe) -> Iterator[dict[str, str]]:
        """Yield what the network may be given: for each channel, the image."""
        if self.either == "one channel":
            yield from ({recipe.channels[0]: name} for name in self.images)
            return
        for subset in recipe.channel_subsets:
            pairs = zip(recipe.channels, subset, strict=True)
            yield {channel: channel for channel, is_there in pairs if is_there}


class InputScore(StrictModel):
    """Mean scores of a network on the test heads, in one view."""

    inputs: str = Field(description="the network's input setting")
    task: str = Field(description="lesions, regions, or joint")
    given: str = Field(description="the images that it was given")
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
    """Return all networks: four input settings, each for lesions, for regions and for both.

    The fifth way of input, one shared channel, is for lesions only.
    """
    flair, t1 = "flair", "t1"
    tasks: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "lesions": ((_LESIONS,), ()),
        "joint": ((_LESIONS,), REGIONS),
        "regions": ((), REGIONS),
    }
    found = []
    for task, outputs in tasks.items():
        found += [
            Variant("flair", task, (flair,), *outputs),
            Variant("t1", task, (t1,), *outputs),
            Variant("flair+t1", task, (flair, t1), *outputs),
            Variant("interchangeable", task, (flair, t1), *outputs, "two channels"),
        ]
    shared = Variant("one-shared-channel", "lesions", (flair, t1), (_LESIONS,), (), "one channel")
    return [*found, shared]


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
        data = variant.scans(training)
        split = split_scans(data.scans, recipe.data, recipe.schedule.seed)
        listener = on_variant(variant)
        folder = out / variant.name
        metadata = fit(recipe, FitData(data.name, data.scans, split), folder, None, listener)
        heads = variant.heads(test).scans
        details = metadata.provenance.details
        with open_segmenter(folder) as segmenter:
            for given in variant.given(recipe):
                of_heads = [_score(segmenter, head, variant, given) for head in heads]
                scores.append(
                    InputScore(
                        inputs=variant.inputs,
                        task=variant.task,
                        given="+".join(given.values()),
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


def _score(
    segmenter: Segmenter, head: AnnotatedScan, variant: Variant, given: Mapping[str, str]
) -> _HeadScore:
    images, references = head.load()
    grid = images[0]
    by_name = dict(zip(variant.images, images, strict=True))
    found = segmenter.segment({channel: by_name[name] for channel, name in given.items()})
    targets = (*variant.outputs, *variant.regions)
    true = dict(zip(targets, (*references, *head.load_regions(grid)), strict=True))
    region_dice = {
        name: dice_of_masks(found.regions[name], true[name].lesion) for name in variant.regions
    }
    if _LESIONS not in variant.outputs:
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
