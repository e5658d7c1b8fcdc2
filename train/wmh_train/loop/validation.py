"""Dice on the validation scans during a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from wmh_runtime.errors import RecipeError
from wmh_runtime.imageio.reference_masks import LESION, OTHER_PATHOLOGY
from wmh_runtime.overlap import dice
from wmh_runtime.preprocessing.channels import presence_weights
from wmh_runtime.text import count_noun
from wmh_train.checkpoint import ValidationDice
from wmh_train.data.annotated import AnnotatedScan, group_by
from wmh_train.data.cache import CachedSlices
from wmh_train.model.decoder import Logits
from wmh_train.recipe.recipe import Recipe


def validation_dice(
    predict: Callable[[Tensor], Logits],
    slices: CachedSlices,
    recipe: Recipe,
    accelerator: Accelerator,
) -> ValidationDice:
    """Compute Dice and IoU of each scan over all of its slices, with one view and threshold 0.5.

    It is the Dice of the lesions, or of the regions if the network predicts no lesions. With
    interchangeable channels, it is the mean over all subsets that may be there.

    The processes share the slices. The Dice of a scan is the mean over the outputs, the Dice of a
    site the mean over its scans. `mean` is the mean over the sites, so that many synthetic heads do
    not decide alone. Ignored pixels are not counted. A scan with an empty mask is left out,
    unless all are empty: its Dice is 1 or 0, whatever the rest of the scan looks like, so a few
    false pixels would decide which epoch is best.

    Args:
        predict: function from images [N, C, S, S] to logits.
        slices: slices of the validation scans.
        recipe: says which channels may be there, and how many slices a forward pass has.
        accelerator: device and processes.

    Raises:
        RecipeError: there are fewer slices than processes.
    """
    count, processes = len(slices.scan_of), accelerator.num_processes
    if count < processes:  # each process must call `predict`, because DDP then syncs buffers
        problem = f"{processes} processes cannot share {count_noun(count, 'validation slice')}"
        raise RecipeError(problem, "Launch fewer processes.")
    own = np.arange(accelerator.process_index, count, processes)
    counts = torch.zeros(  # pixels: intersection, predicted, reference
        (len(recipe.channel_subsets), len(slices.scans), len(slices.scans[0].targets), 3),
        dtype=torch.int64,
        device=accelerator.device,
    )
    context_slices = recipe.preprocessing.context_slices
    presence = [
        torch.from_numpy(presence_weights(subset, context_slices)).to(accelerator.device)
        for subset in recipe.channel_subsets
    ]
    batch_size = recipe.schedule.micro_batch_size
    with torch.inference_mode():
        for start in range(0, len(own), batch_size):
            indices = own[start : start + batch_size]
            images, targets = (torch.from_numpy(array) for array in slices.read(indices))
            scored = slice(counts.shape[2])  # of lesions and regions, the lesions only
            images, targets = (one.to(accelerator.device) for one in (images, targets[:, scored]))
            scan_of = torch.from_numpy(slices.scan_of[indices]).to(accelerator.device)
            for weights, counts_of_subset in zip(presence, counts, strict=True):
                fused = predict(images * weights[:, None, None]).fused[:, scored]
                counts_of_subset.index_add_(0, scan_of, _count_pixels(fused, targets))
    total: NDArray[np.int64] = accelerator.reduce(counts, "sum").cpu().numpy()
    by_scan = _scores_by_scan(slices.scans, total)
    by_site = group_by([slices.scans[scan].site for scan in by_scan], by_scan.values())
    means = {site: np.mean(values, axis=0) for site, values in by_site.items()}
    mean_dice, mean_iou = np.mean(list(means.values()), axis=0)
    return ValidationDice(
        mean=float(mean_dice),
        by_site={site: float(site_dice) for site, (site_dice, _) in means.items()},
        iou=float(mean_iou),
    )


def _scores_by_scan(
    scans: Sequence[AnnotatedScan], pixels: NDArray[np.int64]
) -> dict[int, NDArray[np.float64]]:
    """Return Dice and IoU of each scan, the means over its outputs and the subsets of channels.

    Args:
        scans: S.
        pixels: (subsets, S, K, 3), see `_count_pixels`.

    Returns:
        By index of the scan; without scans with an empty mask, unless all are empty.
    """
    is_scored = np.array([_has_mask(scan) for scan in scans])  # (S, K)
    has_lesion = is_scored & (pixels[0, ..., 2] > 0)
    if has_lesion.any():
        is_scored = has_lesion
    return {
        scan: np.mean([_scores(*one) for one in pixels[:, scan, own].reshape(-1, 3)], axis=0)
        for scan, own in enumerate(is_scored)
        if own.any()
    }


def _scores(common: int, predicted: int, reference: int) -> tuple[float, float]:
    """Return Dice and intersection over union from numbers of pixels."""
    value = dice(common, predicted, reference)
    return value, value / (2 - value)


def _has_mask(scan: AnnotatedScan) -> list[bool]:
    return [path is not None for path in scan.targets]


def _count_pixels(logits: Tensor, targets: Tensor) -> Tensor:
    """Count intersection, predicted and reference pixels: [N, K, S, S] to (N, K, 3)."""
    reference = targets == LESION
    predicted = (logits > 0) & (targets != OTHER_PATHOLOGY)
    masks = (predicted & reference, predicted, reference)
    return torch.stack([mask.sum(dim=(-2, -1)) for mask in masks], dim=-1)
