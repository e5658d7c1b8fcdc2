"""The learning rate at every step, a pure function: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from wmh_train.recipe.recipe import Recipe


def learning_rate(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Return the learning rate of an optimizer step.

    It grows linearly over the warm-up; then cosines of `restart_epochs` fall from η to η_min, one
    after another: η_min + (η − η_min) (1 + cos(π t / T)) / 2 (Loshchilov and Hutter 2017, eq. 5).

    Args:
        step: counted from 0 over the whole training, whatever the number of processes.
        steps_per_epoch: at least 1.
        recipe: for optimizer and schedule.
    """
    highest, schedule = recipe.optimizer.learning_rate, recipe.schedule
    lowest = schedule.lowest_learning_rate
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return highest * (step + 1) / warmup
    period = max(1, round(schedule.restart_epochs * steps_per_epoch))
    t = (step - warmup) % period
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * t / period)) / 2
