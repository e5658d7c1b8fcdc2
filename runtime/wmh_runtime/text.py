"""Texts that several modules use."""

from __future__ import annotations


def count_noun(count: int, noun: str) -> str:
    """Write a count with its noun: 1 scan, 2 scans, no scans."""
    plural = "" if count == 1 else "s"
    return f"{count or 'no'} {noun}{plural}"


INTENDED_USE = "Research use only. Not a medical device; not for diagnosis or treatment decisions."
