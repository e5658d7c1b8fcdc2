"""Texts that several modules use."""

from __future__ import annotations

from collections.abc import Mapping


def count_noun(count: int, noun: str) -> str:
    """Write a count with its noun: 1 scan, 2 scans, no scans."""
    plural = "" if count == 1 or noun.endswith("series") else "s"
    return f"{count or 'no'} {noun}{plural}"


def describe_counts(counts: Mapping[str, int]) -> str:
    """Write counts after a space, such as " (Amsterdam 3, Utrecht 7)"; nothing without counts."""
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f" ({parts})" if parts else ""


def uncapitalize(sentence: str) -> str:
    """Return a sentence to use after a comma."""
    return sentence[:1].lower() + sentence[1:]


def as_utf8(text: str) -> str:
    """Return a text that UTF-8 can encode: other characters of file names become escapes."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def install_advice(extras: str) -> str:
    """Return the sentence that says how to install optional libraries.

    It works wherever this package is installed, from a folder or from a wheel.

    Args:
        extras: of this package that install them, separated by commas.
    """
    return f'Run: pip install "wmh-lora[{extras}]"'


SHORT_INTENDED_USE = "Research use only, not for diagnosis"  # in pictures
INTENDED_USE = "Research use only. Not a medical device; not for diagnosis or treatment decisions."
