"""How long something takes: warmed up, again and again for long enough, and what to doubt.

The conventions are those of NVIDIA's trtexec: a warm-up of 0.2 s, then 3 s and ten times at least,
percentiles, and a warning where the times vary by more than 2.5 %. What takes many seconds is timed
less often, and that is said.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from pydantic import Field

from wmh_runtime.schema import StrictModel

LEAST_S = 3.0
_WARM_UP_S = 0.2
_ENOUGH, _FEWEST, _MOST = 10, 5, 10_000
_TOO_LONG_S = 60.0  # in all, to go on until it is enough
_STEADY = 0.025


class Times(StrictModel):
    """What was timed, over and over. Milliseconds."""

    timed: int = Field(ge=1, description="how often")
    fastest_ms: float
    median_ms: float
    p90_ms: float | None = Field(description="null of fewer than 10 times")
    p95_ms: float | None = Field(description="null of fewer than 20 times")
    p99_ms: float | None = Field(description="null of fewer than 100 times")
    slowest_ms: float
    variation: float = Field(ge=0, description="standard deviation over mean; 0 of one time")

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Sum up at least one time."""
        spread_s = statistics.stdev(seconds) if len(seconds) > 1 else 0.0

        def percentile_ms(percent: int) -> float | None:
            if len(seconds) * (100 - percent) < 100:  # nothing lies beyond it
                return None
            return in_ms(float(np.percentile(seconds, percent)))

        return cls(
            timed=len(seconds),
            fastest_ms=in_ms(min(seconds)),
            median_ms=in_ms(statistics.median(seconds)),
            p90_ms=percentile_ms(90),
            p95_ms=percentile_ms(95),
            p99_ms=percentile_ms(99),
            slowest_ms=in_ms(max(seconds)),
            variation=round(spread_s / statistics.mean(seconds), 4),
        )

    @property
    def warnings(self) -> list[str]:
        """What to doubt of them, in words."""
        found = []
        if self.timed < _ENOUGH:
            found.append(f"timed only {self.timed} times")
        if self.variation > _STEADY:
            found.append(f"times vary by {self.variation:.1%}: something else is at work")
        return found


def for_long_enough(
    seconds_of: Callable[[int], list[float]], least_s: float = LEAST_S
) -> list[float]:
    """Time something until it lasted so long, and ten times at least.

    Args:
        seconds_of: does it so often and returns the seconds of each time. Its first time, which
            loads and chooses, is none of them, nor are those of the warm-up.
        least_s: in all.
    """
    seconds_of(1)
    warm_up = seconds_of(1)
    while sum(warm_up) < _WARM_UP_S and len(warm_up) < _MOST:
        warm_up += seconds_of(len(warm_up))
    seconds = seconds_of(how_often(statistics.median(warm_up), least_s))
    while sum(seconds) < least_s and len(seconds) < _MOST:
        seconds += seconds_of(how_often(statistics.median(seconds), least_s - sum(seconds), 1))
    return seconds


def how_often(one_s: float, least_s: float, fewest: int = _FEWEST) -> int:
    """Return how often to do something that takes `one_s` for it to last `least_s`.

    Args:
        one_s: seconds of one time.
        least_s: seconds of all.
        fewest: times; ten where that does not take a minute.
    """
    enough = max(fewest, min(_ENOUGH, int(_TOO_LONG_S / one_s))) if fewest > 1 else 1
    return min(_MOST, max(enough, math.ceil(least_s / one_s)))


def in_ms(seconds: float) -> float:
    """Return milliseconds of five digits."""
    return float(f"{1e3 * seconds:.5g}")
