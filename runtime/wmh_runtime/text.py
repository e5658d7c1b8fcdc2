"""Words that depend on a number."""

from __future__ import annotations


def count_noun(count: int, noun: str) -> str:
    """Say how many there are: 1 scan, 2 scans, no scans."""
    return f"{count or 'no'} {noun}{'s' * (count != 1)}"


INTENDED_USE = "Research use only. Not a medical device; not for diagnosis or treatment decisions."
