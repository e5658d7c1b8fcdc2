import math

import pytest
import torch

from tests.training_toys import small_recipe
from wmh_train.loop.schedule import learning_rate, schedule_warnings
from wmh_train.recipe.recipe import (
    OptimizerSettings,
    ScheduleSettings,
    load_recipe,
    shipped_recipes,
)


def recipe(*, highest, lowest, warmup, restart):
    return small_recipe(
        optimizer=OptimizerSettings(learning_rate=highest),
        schedule=ScheduleSettings(
            epochs=9, warmup_epochs=warmup, restart_epochs=restart, lowest_learning_rate=lowest
        ),
    )


def test_warm_up_and_cosine_cycles():
    # Warm-up over 1 · 4 steps, then cosine cycles of 2 · 4 steps from 1 to 0.2, 0.6 at the middle.
    settings = recipe(highest=1.0, lowest=0.2, warmup=1, restart=2)
    rates = [learning_rate(step, 4, settings) for step in range(21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == rates[12] == rates[20] == 1.0
    assert rates[8] == pytest.approx(0.6)
    assert rates[11] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * 7 / 8)) / 2)


@pytest.mark.parametrize("steps", [24, 25, 26, 27])
def test_the_last_step_of_a_cycle_is_low_however_half_epochs_are_rounded(steps):
    # Half an epoch of 25 steps is 12.5: rounded apart, both parts would have 12 + 62 of 75 steps,
    # and the last one would begin a new cycle at the highest rate.
    settings = recipe(highest=1.0, lowest=0.0, warmup=0.5, restart=2.5)
    assert learning_rate(3 * steps - 1, steps, settings) < 0.01
    assert learning_rate(3 * steps, steps, settings) == 1.0


def test_every_step_equals_that_of_pytorchs_schedulers():
    settings = recipe(highest=3e-4, lowest=1e-6, warmup=2, restart=3)
    steps = 5
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    warmup = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1 / 10, end_factor=1.0, total_iters=9
    )
    rates = []
    for _ in range(10):  # 2 · 5 steps of warm-up: 1/10, 2/10, …, 10/10
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        warmup.step()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 15, eta_min=1e-6)
    for _ in range(35):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    ours = [learning_rate(step, steps, settings) for step in range(45)]
    assert ours == pytest.approx(rates, rel=1e-9)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate(0, 3, recipe(highest=1.0, lowest=0.0, warmup=0, restart=1)) == 1.0


@pytest.mark.parametrize(
    ("warmup", "restart", "percent"),
    [
        (1, 8, 0),  # nine epochs: the training ends with the first cycle
        (1, 4, 0),  # or with the second
        (1, 12, 25),  # after two thirds of it: (1 + cos(2π / 3)) / 2
        (1, 24, 75),  # after a third: (1 + cos(π / 3)) / 2
        (1, 6, 75),  # after a third of the second
        (1, 800, 100),
    ],
)
def test_a_learning_rate_that_is_high_at_the_end_is_warned_of(warmup, restart, percent):
    settings = recipe(highest=1.0, lowest=0.0, warmup=warmup, restart=restart)
    warnings = schedule_warnings(settings)
    if percent < 60:
        assert warnings == []
    else:
        (warning,) = warnings
        assert f"still {percent}% of its highest value at the end" in warning
        assert f"epochs is 9, schedule.restart_epochs {restart}; set" in warning
        assert warning.endswith("set schedule.restart_epochs to 8")


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_shipped_recipes_end_at_a_low_learning_rate(name):
    assert schedule_warnings(load_recipe(name)) == []


@pytest.mark.parametrize(
    ("patience", "restart", "warns"),
    [(8, 8, False), (7, 8, True), (8, 800, False), (7, 800, True), (30, 800, False)],
)
def test_a_patience_below_a_cycle_is_warned_of_if_it_can_end_the_nine_epochs(
    patience, restart, warns
):
    settings = recipe(highest=1.0, lowest=0.0, warmup=1, restart=restart)
    schedule = settings.schedule.model_copy(update={"patience_epochs": patience})
    warnings = schedule_warnings(settings.model_copy(update={"schedule": schedule}))
    about_patience = [line for line in warnings if line.startswith("schedule.patience_epochs is")]
    assert len(about_patience) == warns
    assert len(warnings) == warns + (restart == 800)  # the end of the training is high, too
