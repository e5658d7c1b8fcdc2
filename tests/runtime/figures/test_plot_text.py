"""Names from outside in plots: drawn as text, whatever they contain."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wmh_runtime.figures.plot_style import figure, png
from wmh_runtime.figures.plot_text import plot_text

STRANGE_NAMES = [
    *(r"$\x$", r"$\frac{1$", "$", "$$", "_", "__init__", "^", "%", "{", "}", "\\", "&", "#"),
    *(
        "",
        " ",
        "\n",
        "a\nb",
        "\x00",
        "\u202eabc",
        "\udc80",
        "مستشفى",
        "בית",
        "脳",
        "🧠",
        "é",
        "e\u0301",
    ),
    *("x" * 5000, "_" * 500),
]


def drawn(name):
    """Draw a name as title, tick label, axis label and legend; return what the legend shows."""
    with figure(10, 3) as drawing:
        axes = drawing.add_subplot()
        axes.scatter([1], [1], label=plot_text(name))
        axes.set_title(plot_text(name))
        axes.set_xlabel(plot_text(name))
        axes.set_yticks([1], [plot_text(name)])
        legend = axes.legend()
        assert png(drawing).startswith(b"\x89PNG")
        return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_every_name_is_drawn_and_is_in_the_legend(name):
    """A warning, such as that of a character that the font lacks, would fail this test, too."""
    assert drawn(name) == [plot_text(name)]


@given(name=st.text())
@example(name="_ $ _")
def test_text_for_a_plot_is_one_short_line_that_no_legend_leaves_out(name):
    text = plot_text(name)
    assert 1 <= len(text) <= 41
    assert text.isprintable()
    assert not text.startswith("_")


@given(name=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_a_short_name_of_ascii_characters_is_not_changed(name):
    expected = " ".join(name.split())[:40]
    if expected == " ".join(name.split()) != "":
        assert plot_text(name).removeprefix(" ") == expected


def test_the_middle_of_a_long_name_is_left_out():
    assert plot_text("abcdefghij", max_length=5) == "ab…ij"
    assert plot_text("abcde", max_length=5) == "abcde"
