"""Markdown of summaries: tables, lists, and text from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# An underscore within a word is no markup, and occurs in most file names.
_MARKUP = re.compile(r"[\\`*{}\[\]<>$|~#&]|(?<![^\W_])_|_(?![^\W_])")


def bullet_list(lines: Iterable[str]) -> str:
    """Return a list with an item for each line."""
    return "\n".join(f"- {line}" for line in lines)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric_from: int) -> str:
    """Return a Markdown table; columns from `numeric_from` on are right-aligned."""
    rules = [":--" if column < numeric_from else "--:" for column in range(len(header))]
    lines = [header, rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Return text from outside, such as a site's name, as one line that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
