"""Text on pictures: every character is drawn, and every line fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.figures.text import (
    SUPERSCRIPTS,
    drawable,
    has_glyph,
    shorten_middle,
    text_width,
    wrap_lines,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 mm³ · 12 µL", "3 mm³ · 12 uL"),
        ("0.9 × 3", "0.9 x 3"),
        ("a\tb\nc", "a b c"),
        ("José", "Jose"),
        ("Jose\u0301", "Jose"),
        ("脳", "?"),
        ("\udc80", "?"),  # how Python represents an undecodable byte in a file name
    ],
)
def test_characters_that_the_font_lacks_are_replaced(text: str, expected: str) -> None:
    assert drawable(text) == expected
    assert all(has_glyph(SUPERSCRIPTS.get(letter, letter)) for letter in expected)


def test_a_superscript_is_narrower_than_a_digit() -> None:
    assert 0 < text_width("mm³", 40) - text_width("mm", 40) < text_width("3", 40)


def test_long_names_keep_both_ends() -> None:
    name = "sub-0123456789_ses-0123456789_FLAIR"
    short = shorten_middle(name, 20, 200)
    assert text_width(short, 20) <= 200
    head, tail = short.split("…")
    assert name.startswith(head)
    assert name.endswith(tail)
    assert abs(len(head) - len(tail)) <= 1
    assert shorten_middle(name, 20, 2000) == name


def test_pieces_are_wrapped_in_order() -> None:
    width = text_width("aa · aa", 20)
    assert wrap_lines(["aa", "aa", "aa"], " · ", 20, width) == ["aa · aa", "aa"]
    assert wrap_lines([], " ", 20, width) == []


@given(text=st.text())
def test_every_text_is_drawable_and_fits(text: str) -> None:
    assert all(has_glyph(SUPERSCRIPTS.get(letter, letter)) for letter in drawable(text))
    assert text_width(shorten_middle(text, 20, 100), 20) <= 100
