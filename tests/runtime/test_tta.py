import itertools

import numpy as np
import pytest

from wmh_runtime.tta import VIEWS

LETTER = np.array([[1, 2], [3, 4]])  # no symmetry leaves it as it is


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_view_is_undone_exactly(view):
    squares = np.random.default_rng(0).normal(size=(3, 2, 5, 5))
    np.testing.assert_array_equal(view.undo(view.apply(squares)), squares)


def test_the_eight_views_are_all_different():
    for one, other in itertools.combinations(VIEWS, 2):
        assert not np.array_equal(one.apply(LETTER), other.apply(LETTER)), (one.name, other.name)


def test_the_views_do_what_their_names_say():
    seen = {view.name: view.apply(LETTER).tolist() for view in VIEWS}
    assert seen == {
        "identity": [[1, 2], [3, 4]],
        "flip rows": [[3, 4], [1, 2]],
        "flip columns": [[2, 1], [4, 3]],
        "rotate 180°": [[4, 3], [2, 1]],
        "transpose": [[1, 3], [2, 4]],
        "rotate 90°": [[2, 4], [1, 3]],
        "rotate 270°": [[3, 1], [4, 2]],
        "antitranspose": [[4, 2], [3, 1]],
    }


def test_the_views_form_a_group():
    # Any view of any view is again one of the eight: nothing is missing.
    seen = {view.apply(LETTER).tobytes() for view in VIEWS}
    twice = {a.apply(b.apply(LETTER)).tobytes() for a in VIEWS for b in VIEWS}
    assert twice == seen
