import numpy as np
import pytest

from wmh_runtime.errors import RecipeError
from wmh_train.data.sampling import draw_epoch


def test_an_epoch_has_all_slices_with_lesion_and_a_share_of_the_others():
    with_lesion = np.arange(100) < 30
    epochs = [draw_epoch(with_lesion, 0.2, seed=1, epoch=epoch) for epoch in range(2)]
    for drawn in epochs:
        assert len(drawn) == len(set(drawn)) == 30 + 14  # a fifth of 70
        assert set(range(30)) <= set(drawn)
    assert set(epochs[0]) != set(epochs[1])
    assert not np.array_equal(epochs[0], np.sort(epochs[0]))
    np.testing.assert_array_equal(epochs[0], draw_epoch(with_lesion, 0.2, seed=1, epoch=0))


def test_an_epoch_without_slices_is_refused():
    with pytest.raises(RecipeError, match="no slice to train on: none of 6 slices"):
        draw_epoch(np.zeros(6, bool), 0.0, seed=0, epoch=0)
