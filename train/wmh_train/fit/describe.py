"""What a training says about its data and its device before the first step."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator

from wmh_runtime.bundle.training_record import Teacher
from wmh_runtime.text import count_noun, describe_counts
from wmh_train.data.annotated import count_sites
from wmh_train.data.cache import CachedSlices
from wmh_train.loop.resume import TrainingState
from wmh_train.recipe.recipe import Recipe


def describe_slices(slices: CachedSlices) -> str:
    """Describe slices: number of scans, by site, of those with an empty mask, and of slices."""
    sites = count_sites(slices.scans)
    if sites and (unknown := len(slices.scans) - sum(sites.values())):
        sites |= {"site unknown": unknown}
    with_target = np.unique(slices.scan_of[slices.with_target])
    empty = len(slices.scans) - len(with_target)
    empty_masks = f", {empty} with an empty mask" if empty else ""
    targets = "lesions" if slices.scans[0].references else "regions"
    return (
        f"{count_noun(len(slices.scans), 'scan')}{describe_counts(sites)}{empty_masks},"
        f" {len(slices.with_target)} slices, {slices.with_target.sum()} with {targets}"
    )


def describe_new_heads(recipe: Recipe) -> str:
    """Say how many new heads an epoch has; empty if it has none."""
    count = recipe.data.new_heads
    return f", {count_noun(count, 'new head')} in each epoch" if count else ""


def describe_teacher(teacher: Teacher | None) -> str:
    """Say how many scans have no masks but probabilities of a teacher; empty if it has none."""
    if teacher is None:
        return ""
    return f" ({count_noun(teacher.scans, 'scan')} with probabilities of {teacher.name}, not masks)"


def describe_start(
    state: TrainingState, steps_done: int, accelerator: Accelerator, recipe: Recipe
) -> str:
    """Describe first step, device, processes and precision of a run."""
    device, processes = accelerator.device, accelerator.num_processes
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    line = (
        f"{'resuming after' if steps_done else 'starting at'} step {steps_done} on"
        f" {processes} × {device.type}{name}, precision {recipe.optimizer.mixed_precision}"
    )
    if differences := state.differences():
        line += (
            f"; the runs of this training differ in {', '.join(differences)}, so the result may"
            " differ in the last bits from an uninterrupted training"
        )
    return line
