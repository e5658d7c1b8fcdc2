"""What made the predictions, in few lines."""

import pytest

from wmh_runtime.evaluation.provenance import Provenance, shortened


@pytest.mark.parametrize(
    ("models", "warnings", "notes"),
    [
        (("a",), (), ["Model: a"]),
        (("a",), ("b",), ["Model: a", "Warning: b"]),
        (
            ("a", "b", "c"),
            ("d", "e"),
            ["Model: a, and 2 more, see the summary", "Warning: d, and 1 more, see the summary"],
        ),
    ],
)
def test_the_notes_of_a_plot_are_two_lines_at_most(models, warnings, notes):
    assert Provenance({}, models, warnings).notes == notes


def test_a_long_list_ends_with_the_number_of_the_others():
    assert shortened(["a", "b", "c"], 3) == ["a", "b", "c"]
    assert shortened(["a", "b", "c", "d"], 3) == ["a", "b", "and 2 more"]
