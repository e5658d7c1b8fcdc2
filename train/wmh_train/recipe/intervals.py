"""Types of settings that are intervals, shares or counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _check_order(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError("expected lowest ≤ highest")
    return value


def _check_range(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1]:
        raise ValueError("expected 0 ≤ lowest ≤ highest")
    return value


def _check_factors(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] == 0:
        raise ValueError("expected 0 < lowest ≤ highest")
    return value


PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[tuple[float, float], AfterValidator(_check_order)]
Range = Annotated[tuple[float, float], AfterValidator(_check_range)]
Factors = Annotated[Range, AfterValidator(_check_factors)]
