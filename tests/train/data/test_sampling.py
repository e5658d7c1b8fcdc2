import numpy as np
import pytest

from wmh_runtime.errors import RecipeError
from wmh_train.data.sampling import draw_epoch
from wmh_train.recipe.recipe import DataSettings

SITES = np.full(100, "")


def test_an_epoch_has_all_slices_with_lesion_and_a_share_of_the_others():
    with_target = np.arange(100) < 30
    epochs = [
        draw_epoch(with_target, SITES, DataSettings(empty_slices=0.2), seed=1, epoch=epoch)
        for epoch in range(2)
    ]
    for drawn in epochs:
        assert len(drawn) == len(set(drawn)) == 30 + 14  # a fifth of 70
        assert set(range(30)) <= set(drawn)
    assert set(epochs[0]) != set(epochs[1])
    assert not np.array_equal(epochs[0], np.sort(epochs[0]))
    np.testing.assert_array_equal(
        epochs[0], draw_epoch(with_target, SITES, DataSettings(empty_slices=0.2), seed=1, epoch=0)
    )


def test_an_epoch_without_slices_is_refused():
    with pytest.raises(RecipeError, match="no slice to train on: none of 6 slices"):
        draw_epoch(np.zeros(6, bool), SITES[:6], DataSettings(empty_slices=0.0), seed=0, epoch=0)


def test_an_epoch_of_a_given_size_has_the_share_of_each_site():
    # Of site a, slices 0 to 9 have a lesion and 10 to 19 do not; of b and c, all have one.
    sites = np.repeat(["a", "b", "c"], (20, 10, 30))
    with_target = ~np.isin(np.arange(60), range(10, 20))
    settings = DataSettings(empty_slices=0.25, epoch_slices=20_000, site_shares={"a": 0.6})
    drawn = draw_epoch(with_target, sites, settings, seed=0, epoch=0)
    counts = np.bincount(drawn, minlength=60) / 20_000
    assert counts[:20].sum() == pytest.approx(0.6, abs=0.02)
    # Ten slices of weight 1 and ten of weight 1/4: 12.5 together.
    assert counts[10:20].sum() == pytest.approx(0.6 * 2.5 / 12.5, abs=0.02)
    assert counts[20:30].sum() == pytest.approx(0.4 * 10 / 40, abs=0.02)


def test_a_site_without_slices_is_refused():
    settings = DataSettings(epoch_slices=4, site_shares={"Atlantis": 0.5})
    with pytest.raises(RecipeError, match="a site without scans: Atlantis"):
        draw_epoch(np.ones(100, bool), SITES, settings, seed=0, epoch=0)


def test_a_share_of_slices_without_lesion_says_that_there_is_none():
    settings = DataSettings(empty_slices=0, epoch_slices=4)
    with pytest.raises(RecipeError, match="none of 3 slices contains a target"):
        draw_epoch(np.zeros(3, bool), np.array(["a"] * 3), settings, seed=0, epoch=0)
