"""Compare axial slices with three planes, from thin slices to thick ones.

Two networks learn from the same isotropic heads with the same number of steps: one from axial
slices, one from slices in three planes. Other heads are averaged to thicker slices, and segmented
by both. The second network is used with axial slices only, too: up to which thickness its other
planes help decides which scans are segmented in all planes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from pydantic import Field

from benchmarks.dev.studies.one_view import open_segmenter
from benchmarks.dev.thick_slices import is_isotropic, with_thick_slices
from wmh_bench.environment import source_commit
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.metrics import compare_masks
from wmh_runtime.preprocessing.slices import planes as planes_module
from wmh_runtime.preprocessing.slices.planes import PLANES, Plane
from wmh_runtime.schema import StrictModel
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.layouts import find_dataset
from wmh_train.data.split import split_scans
from wmh_train.fit.fit import FitData, FitListener, fit
from wmh_train.recipe.recipe import Recipe, load_recipe

RECIPE = Path(__file__).with_name("planes.toml")
THICKNESSES_MM = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
_AXIAL: tuple[Plane, ...] = ("axial",)
_LEAST_LOAD_ML = 1.0  # with less, Dice says little about so small networks


class ThicknessScore(StrictModel):
    """The mean Dice of a network on heads with slices of one thickness."""

    trained_in: list[Plane]
    segmented_in: list[Plane]
    mm: float = Field(description="mean distance of the slices")
    dice: list[float] = Field(description="of each head")
    mean_dice: float


class PlaneComparison(StrictModel):
    """All scores."""

    commit: str = Field(description="of this project")
    machine: Machine
    recipe: dict[str, Any]
    training_heads: int
    scores: list[ThicknessScore]


def compare_planes(
    training: Path,
    test: Path,
    out: Path,
    on_network: Callable[[str], FitListener],
    on_score: Callable[[ThicknessScore], None],
    *,
    most_heads: int,
    base: Recipe | None = None,
    thicknesses_mm: Sequence[float] = THICKNESSES_MM,
) -> PlaneComparison:
    """Train both networks, and score them.

    Args:
        training: folder of synthetic heads; those with thick slices are left out.
        test: another one, of another seed; heads with few lesions are left out, too.
        out: folder for the trainings.
        on_network: called before each training; returns its listener.
        on_score: called after each score.
        most_heads: that are scored.
        base: recipe; None: the one beside this file.
        thicknesses_mm: of the slices.
    """
    base = base or load_recipe(RECIPE)
    scans = find_dataset(training, ["flair"], ["wmh"]).scans
    data = [scan for scan in scans if is_isotropic(scan.load()[0][0])]
    heads = list(_heads_to_score(find_dataset(test, ["flair"], ["wmh"]).scans, most_heads))
    if not heads:
        problem = f"has no isotropic head with {_LEAST_LOAD_ML:g} mL of lesions"
        raise InputError(problem, "Make more heads.", about=test)
    for planes in (_AXIAL, PLANES):
        name = f"{len(planes)}-planes"
        recipe = _with_planes(base, planes)
        split = split_scans(data, recipe.data, recipe.schedule.seed)
        found = FitData("isotropic heads", tuple(data), split)
        fit(recipe, found, out / name, None, on_network(name), cache=out / "cache")
    scores = []
    # All planes, also of slices for which the runtime leaves out the other planes.
    with patch.object(planes_module, "THICKEST_MM", math.inf):
        for learned, used in ((_AXIAL, _AXIAL), (PLANES, _AXIAL), (PLANES, PLANES)):
            for mm in thicknesses_mm:
                score = _score(out / f"{len(learned)}-planes", heads, learned, used, mm)
                scores.append(score)
                on_score(score)
    return PlaneComparison(
        commit=source_commit(),
        machine=describe_machine(),
        recipe=base.model_dump(mode="json", exclude_defaults=True),
        training_heads=len(data),
        scores=scores,
    )


def _with_planes(base: Recipe, planes: Sequence[Plane]) -> Recipe:
    settings = base.model_dump()
    settings["preprocessing"]["planes"] = list(planes)
    return Recipe.model_validate(settings)


def _heads_to_score(heads: Iterable[AnnotatedScan], most: int) -> Iterator[AnnotatedScan]:
    def is_fit(head: AnnotatedScan) -> bool:
        (scan,), (reference,) = head.load()
        load_ml = reference.lesion.sum() * scan.voxel_volume_mm3 / 1000
        return is_isotropic(scan) and bool(load_ml >= _LEAST_LOAD_ML)

    return islice(filter(is_fit, heads), most)


def _score(
    training: Path,
    heads: Sequence[AnnotatedScan],
    learned: Sequence[Plane],
    used: Sequence[Plane],
    mm: float,
) -> ThicknessScore:
    dice, distances_mm = [], []
    with open_segmenter(training, used) as segmenter:
        for head in heads:
            (scan,), (reference,) = head.load()
            thick, thick_reference = with_thick_slices(scan, reference, mm)
            found = segmenter.segment(thick)["wmh"]
            dice.append(compare_masks(found.mask, thick_reference, thick.affine).dice)
            distances_mm.append(max(thick.spacing_mm))
    return ThicknessScore(
        trained_in=list(learned),
        segmented_in=list(used),
        mm=round(float(np.mean(distances_mm)), 2),
        dice=[round(one, 4) for one in dice],
        mean_dice=round(float(np.mean(dice)), 4),
    )
