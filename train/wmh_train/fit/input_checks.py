"""Check the inputs of a training: where it starts, and whether its validation can be trusted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wmh_runtime.errors import RecipeError
from wmh_runtime.text import count_noun
from wmh_train.data.cache import CachedSlices
from wmh_train.data.split import Split
from wmh_train.initial_weights import InitialWeights
from wmh_train.model.pretrained import PretrainedWeights
from wmh_train.recipe.recipe import Recipe
from wmh_train.synthesis.cohort import Sources

_FEW_PERSONS = 5  # warn if the validation has fewer


def require_start(
    recipe: Recipe, pretrained: PretrainedWeights | None, initial: InitialWeights | None
) -> None:
    """Refuse weights that the network would not use, or that it lacks.

    Raises:
        RecipeError: a frozen encoder has no weights, a U-Net is given some, the initial weights are
            of another task, or BatchNorm has no statistics.
    """
    if pretrained is None and recipe.network.needs_pretrained:
        raise RecipeError(
            "needs pretrained weights, because its encoder is frozen",
            "Give a file of pretrained weights, such as medsam_vit_b.pth.",
            about=recipe.name,
        )
    if recipe.network.kind in ("unet", "monai-unet") and pretrained is not None:
        raise RecipeError(
            "has a U-Net, which takes no pretrained encoder",
            "Leave the pretrained weights out, or start from a checkpoint.",
            about=recipe.name,
        )
    if initial is not None:
        initial.require_same_task(recipe, pretrained.identity if pretrained else None)
    elif recipe.schedule.batch_statistics_epochs == 0:
        raise RecipeError(
            "never measures the statistics of BatchNorm (schedule.batch_statistics_epochs is 0), so"
            " it can only continue another training",
            "Give a checkpoint or a bundle to start from.",
            about=recipe.name,
        )


def require_sources(recipe: Recipe, sources: Sources | None) -> None:
    """Refuse a recipe with new heads without what they are made from, and the other way round.

    Raises:
        RecipeError: one of the two is missing.
    """
    count = recipe.data.new_heads
    if count and sources is None:
        raise RecipeError(
            f"makes {count_noun(count, 'new head')} for each epoch (data.new_heads)",
            "Give label maps to fit (--label-maps), or set data.new_heads to 0.",
            about=recipe.name,
        )
    if sources is not None and not count:
        raise RecipeError(
            "makes no new heads, so label maps are not used",
            "Set data.new_heads and data.epoch_slices, or leave the label maps out.",
            about=recipe.name,
        )


def require_teachable(recipe: Recipe) -> None:
    """Refuse a recipe that would not learn the probabilities of a teacher, but others.

    Raises:
        RecipeError: its loss has no minimum at the probabilities, or it predicts regions, of which
            a teacher says nothing.
    """
    loss = recipe.loss
    if loss.focal_gamma or loss.focal_alpha != 0.5:
        raise RecipeError(
            f"has loss.focal_gamma {loss.focal_gamma:g} and focal_alpha {loss.focal_alpha:g}, which"
            " would shift the probabilities of a teacher",
            "Set focal_gamma = 0 and focal_alpha = 0.5: then it is cross-entropy.",
            about=recipe.name,
        )
    if recipe.regions:
        raise RecipeError(
            "predicts regions, and a teacher's probabilities are of lesions only",
            "Leave the regions out of the recipe, or train without a teacher.",
            about=recipe.name,
        )


def require_disjoint_split(split: Split, keys: Mapping[str, str]) -> None:
    """Refuse a scan that is used for training and for validation, under two names.

    Args:
        split: names of scans.
        keys: hashes of scan and masks by name.

    Raises:
        RecipeError: there is one.
    """
    in_training = {keys[name]: name for name in split.training}
    for name in split.validation:
        if keys[name] in in_training:
            raise RecipeError(
                f"{in_training[keys[name]]} and {name} are the same scan, one for training, the"
                " other for validation",
                "Give it once.",
            )


def validation_warnings(
    training: CachedSlices,
    validation: CachedSlices,
    initial: InitialWeights | None,
    keys: Mapping[str, str],
) -> list[str]:
    """Return warnings if the validation may be misleading.

    Args:
        training: scans and slices.
        validation: scans and slices.
        initial: weights to start from; None: random ones.
        keys: hashes of scan and masks by name.
    """
    warnings, scans = [], validation.scans
    with_lesions = np.unique(validation.scan_of[validation.with_target])
    persons = {scans[scan].subject for scan in with_lesions}
    if not persons:
        warnings.append(
            "the masks of all validation scans are empty: the best epoch is the one that finds"
            " nothing; give validation scans with lesions"
        )
    elif len(persons) < _FEW_PERSONS:
        warnings.append(
            f"only {count_noun(len(persons), 'validation person')} with a mask that is not empty:"
            " best epoch, threshold and Dice may depend on chance; increase data.validation_share"
            " or give more scans"
        )
    sites = {scan.site for scan in training.scans} - {scan.site for scan in validation.scans}
    if missing := sorted(site for site in sites if site):
        warnings.append(f"no validation scan of {', '.join(missing)}")
    seen = initial.trained_on(validation.scans, keys) if initial else []
    if initial and seen:
        warnings.append(
            f"{initial.identity.name} was trained on {len(seen)} of the"
            f" {count_noun(len(scans), 'validation scan')}: their Dice is too high, and the"
            " threshold may be wrong for other scans"
        )
    return warnings
