"""The methods of a consensus."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    """How the masks of several raters are combined."""

    STAPLE = "staple"
    MAJORITY = "majority"
    UNION = "union"
