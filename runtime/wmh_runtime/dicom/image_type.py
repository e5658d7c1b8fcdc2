"""The words of ImageType: which images were acquired, and which are something else."""

from __future__ import annotations

from collections.abc import Sequence

_NOT_ACQUIRED = {
    "LOCALIZER": "a localizer",
    "MPR": "reformatted",
    "REFORMATTED": "reformatted",
    "MIP": "a projection",
    "MINIP": "a projection",
    "PROJECTION IMAGE": "a projection",
    "SUBTRACT": "a subtraction",
    "SUBTRACTION": "a subtraction",
    "P": "a phase image",
    "PHASE": "a phase image",
    "PHASE MAP": "a phase image",
    "R": "the real part of an image",
    "REAL": "the real part of an image",
    "I": "the imaginary part of an image",
    "IMAGINARY": "the imaginary part of an image",
}
_DERIVED = "DERIVED"


def words_of_image_type(value: object) -> tuple[str, ...]:
    """Return the words of ImageType or FrameType in upper case."""
    if isinstance(value, str):
        return (value.upper(),)
    return tuple(str(word).upper() for word in value) if isinstance(value, Sequence) else ()


def why_not_acquired(words: Sequence[str]) -> str:
    """Return why an image is no acquired magnitude image; empty: it is one, or is derived."""
    return next((_NOT_ACQUIRED[word] for word in words if word in _NOT_ACQUIRED), "")


def is_derived(words: Sequence[str]) -> bool:
    """Return whether an image was computed from others."""
    return tuple(words[:1]) == (_DERIVED,)
