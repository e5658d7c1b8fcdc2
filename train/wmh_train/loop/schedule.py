"""The learning rate as a pure function of the step, so resuming needs no scheduler state."""

from __future__ import annotations

import math

from wmh_train.recipe.recipe import Recipe

_HIGH_AT_END = 0.6  # share of the highest learning rate
_MANY_STEPS = 1000  # per epoch, to compute the last learning rate before their number is known


def learning_rate(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Return the learning rate of an optimizer step.

    It increases linearly during the warm-up. Then cosine cycles of `restart_epochs` follow, each
    from η to η_min: η_min + (η − η_min) (1 + cos(π t / T)) / 2 (Loshchilov and Hutter 2017, eq. 5).

    Args:
        step: index of the step in the whole training, from 0, for any number of processes.
        steps_per_epoch: at least 1.
        recipe: its optimizer and schedule are used.
    """
    highest, schedule = recipe.optimizer.learning_rate, recipe.schedule
    lowest = schedule.lowest_learning_rate
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return highest * (step + 1) / warmup
    # The first cycle ends where warm-up and cycle end together, however both are rounded.
    end = round((schedule.warmup_epochs + schedule.restart_epochs) * steps_per_epoch)
    period = max(1, end - warmup)
    t = (step - warmup) % period
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * t / period)) / 2


def schedule_warnings(recipe: Recipe) -> list[str]:
    """Return warnings if the training may end at a high learning rate."""
    schedule, lines = recipe.schedule, []
    patience, cycle = schedule.patience_epochs, schedule.restart_epochs
    if patience is not None and patience < min(cycle, schedule.epochs - 1):
        lines.append(
            f"schedule.patience_epochs is {patience}, less than a cycle of the learning rate"
            f" (schedule.restart_epochs is {cycle:g}): the training may stop while the learning"
            " rate is high; set it to a cycle or more"
        )
    last = learning_rate(schedule.epochs * _MANY_STEPS - 1, _MANY_STEPS, recipe)
    share = last / recipe.optimizer.learning_rate
    if share > _HIGH_AT_END:
        lines.append(
            f"the learning rate is still {share:.0%} of its highest value at the end of the"
            f" training: schedule.epochs is {schedule.epochs}, schedule.restart_epochs {cycle:g};"
            f" set schedule.restart_epochs to {schedule.epochs - schedule.warmup_epochs:g}"
        )
    return lines
