"""The whole study: heads, automatic masks, their consensus, trainings, scores and statistics.

out/
├── heads/A … G/             synthetic heads of seven scanners
├── masks/outliers, …        automatic masks, and their consensus, of scanners A to D
├── vgg16.pth                weights for the VGG16 encoder, unless a file of them is given
├── runs/unet-m3sl, …        trainings
├── reports/unet-m3sl, …     scores on scanners E to G
└── comparison/              statistics, as wmh-eval compare writes them

A part that is there is kept, and trainings resume, so the study can be stopped at any time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.dev.studies.staged.heads import (
    TEST_SCANNERS,
    TRAINING_SCANNERS,
    HeadCounts,
    find_heads,
    make_heads,
    share_sources,
)
from benchmarks.dev.studies.staged.networks import RECIPE, VARIANTS, Variant, recipe_of, train
from benchmarks.dev.studies.staged.pictures import write_weights
from benchmarks.dev.studies.staged.scores import write_scores
from wmh_bench.environment import source_commit
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.evaluation.comparison.analysis import ALL, Comparison, analyze
from wmh_runtime.evaluation.comparison.factors import find_factors
from wmh_runtime.evaluation.comparison.reports import read_reports
from wmh_runtime.evaluation.comparison.writer import write_comparison
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.schema import StrictModel
from wmh_train.bronze.masks import METHODS, write_masks
from wmh_train.checkpoint import CheckpointMetadata
from wmh_train.consensus.folder import TABLE_NAME, write_consensus
from wmh_train.consensus.method import Method
from wmh_train.fit.fit import FitListener
from wmh_train.model.convolutional.vgg16_unet import read_vgg16
from wmh_train.recipe.recipe import Recipe, load_recipe
from wmh_train.synthesis.cohort import Sources

_PICTURE_STEPS = 600


@dataclass(frozen=True)
class StudyListener:
    """Receives the progress of a study."""

    task: Callable[[str, int], Callable[[], None]]  # name and steps → called after each step
    training: Callable[[str], FitListener]  # name of a network → listener of its training
    warning: Callable[[str], None]


class NetworkScore(StrictModel):
    """Scores of a network on the test heads: mean and standard deviation; None: undefined."""

    network: str
    stages: list[str]  # that it was trained in
    training_heads: int = Field(description="heads with masks of its first stage, once per mask")
    best_epoch: int = Field(description="of its last stage")
    validation_iou: float | None = Field(description="of that epoch, on the validation heads")
    heads: int
    f_measure: tuple[float | None, float | None]
    iou: tuple[float | None, float | None]
    h95_mm: tuple[float | None, float | None]
    heads_with_h95: int


class PairScore(StrictModel):
    """The difference of two networks on the same heads; None: undefined."""

    metric: str
    first: str
    second: str
    mean_difference: float | None
    interval: tuple[float | None, float | None]
    p_holm: float | None


class StudyResult(StrictModel):
    """All results that are committed."""

    commit: str
    machine: Machine
    recipe: dict[str, Any]
    vgg16: str  # what its encoder has learned from
    scores: list[NetworkScore]
    differences: list[PairScore]
    anova: dict[str, str]  # by test


def run_study(
    sources: Sources,
    out: Path,
    workers: int,
    listener: StudyListener,
    *,
    vgg16: Path | None = None,
    counts: HeadCounts | None = None,
    variants: Sequence[Variant] = VARIANTS,
    base: Recipe | None = None,
) -> StudyResult:
    """Run what is left of the study.

    Args:
        sources: at least three label maps, and masks of real lesions.
        out: folder for everything.
        workers: processes that make heads and masks.
        listener: receives the progress.
        vgg16: weights of torchvision's vgg16_bn; None: learned from drawn pictures.
        counts: how many heads each scanner makes; None: the defaults.
        variants: networks to train.
        base: recipe; None: m3sl-small.
    """
    counts, base = counts or HeadCounts(), base or load_recipe(RECIPE)
    make_writable_folder(out)
    make_heads(share_sources(sources), out / "heads", counts, workers, listener.task)
    _make_masks(out, workers, listener)
    weights = vgg16 or out / "vgg16.pth"
    if vgg16 is None and any(variant.needs_vgg16 for variant in variants):
        advance = listener.task("learning drawn pictures", _PICTURE_STEPS)
        write_weights(weights, _PICTURE_STEPS, lambda _step, _share: advance())
    heads = find_heads(out / "heads", TRAINING_SCANNERS)
    trained = {}
    for variant in variants:
        trained[variant.name] = train(
            variant,
            recipe_of(variant, base),
            heads,
            counts,
            out / "masks",
            out / "runs",
            read_vgg16(weights) if variant.needs_vgg16 else None,
            listener.training(variant.name),
        )
    tests = find_heads(out / "heads", TEST_SCANNERS)
    reports = {variant.name: out / "reports" / variant.name for variant in variants}
    for name, report in reports.items():
        write_scores(
            out / "runs" / name, tests, report, listener.task(f"scoring {name}", len(tests))
        )
    comparison = _compare(reports, out / "comparison")
    return StudyResult(
        commit=source_commit(),
        machine=describe_machine(),
        recipe=base.model_dump(mode="json", exclude_defaults=True),
        vgg16="drawn pictures" if vgg16 is None else vgg16.name,
        scores=[_score(comparison, name, metadata) for name, metadata in trained.items()],
        differences=_differences(comparison),
        anova={
            f"{one.measure.name} by model": f"F({one.anova.df_between:g}, {one.anova.df_within:g})"
            f" = {one.anova.f:.2f}, p = {one.anova.p:.4g}"
            for one in comparison.by_model
        },
    )


def _make_masks(out: Path, workers: int, listener: StudyListener) -> None:
    """Write the automatic masks of the training scanners, and their consensus."""
    cases = [
        case
        for case in discover(out / "heads").scans
        if case.relative.parts[0] in TRAINING_SCANNERS
    ]
    masks = out / "masks"
    advance = listener.task("automatic masks", len(cases))
    for error in write_masks(cases, masks, workers):
        if error is not None:
            listener.warning(str(error))
        advance()
    consensus = masks / "consensus"
    if (consensus / TABLE_NAME).exists():
        return
    advance = listener.task("consensus", len(cases))
    for result in write_consensus(
        cases, [masks / method for method in METHODS], consensus, Method.STAPLE, listener.warning
    ):
        if result.error is not None:
            listener.warning(str(result.error))
        advance()


def _score(comparison: Comparison, name: str, metadata: CheckpointMetadata) -> NetworkScore:
    found = {
        one.measure.column: one
        for one in comparison.descriptions
        if (one.model, one.by) == (name, ALL)
    }

    def mean_and_sd(column: str) -> tuple[float | None, float | None]:
        return _rounded(found[column].mean), _rounded(found[column].sd)

    stages = metadata.provenance.stages
    return NetworkScore(
        network=name,
        stages=[stage.name for stage in stages],
        training_heads=stages[0].training_scans if stages else len(metadata.split.training),
        best_epoch=metadata.epoch,
        validation_iou=metadata.validation.iou,
        heads=len(comparison.scores.scans),
        f_measure=mean_and_sd("dice"),
        iou=mean_and_sd("iou"),
        h95_mm=mean_and_sd("h95_mm"),
        heads_with_h95=found["h95_mm"].count,
    )


def _differences(comparison: Comparison) -> list[PairScore]:
    return [
        PairScore(
            metric=measure.name,
            first=one.first,
            second=one.second,
            mean_difference=_rounded(one.mean),
            interval=(_rounded(one.low), _rounded(one.high)),
            p_holm=_rounded(one.p_holm),
        )
        for measure, differences in comparison.paired.items()
        for one in differences
    ]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _compare(reports: Mapping[str, Path], out: Path) -> Comparison:
    scores = read_reports(reports)
    comparison = analyze(scores, find_factors(scores.scans))
    make_writable_folder(out)
    write_comparison(out, comparison, reports)
    return comparison
