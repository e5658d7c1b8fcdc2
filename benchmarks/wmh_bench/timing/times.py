"""Time repeated calls: warm-up, repetitions, percentiles, and warnings about doubtful times.

The conventions are those of NVIDIA's trtexec: 0.2 s of warm-up, then at least 3 s and at least ten
repetitions, and a warning if the times vary by more than 2.5 %. If ten repetitions would take more
than a minute, five are enough, with a warning.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from pydantic import Field

from wmh_runtime.schema import StrictModel

MIN_DURATION_S = 3.0
_WARM_UP_S = 0.2
_ENOUGH, _MIN_REPETITIONS, _MAX_REPETITIONS = 10, 5, 10_000
_TOO_LONG_S = 60.0  # if _ENOUGH repetitions take longer in total, fewer are accepted
_MAX_VARIATION = 0.025


class Times(StrictModel):
    """Statistics of repeated calls, in milliseconds."""

    repetitions: int = Field(ge=1)
    fastest_ms: float
    median_ms: float
    p90_ms: float | None = Field(description="null for fewer than 10 repetitions")
    p95_ms: float | None = Field(description="null for fewer than 20 repetitions")
    p99_ms: float | None = Field(description="null for fewer than 100 repetitions")
    slowest_ms: float
    variation: float = Field(
        ge=0, description="standard deviation / mean; 0 for a single repetition"
    )

    @classmethod
    def from_seconds(cls, seconds: Sequence[float]) -> Self:
        """Summarize the durations of at least one repetition."""
        deviation_s = statistics.stdev(seconds) if len(seconds) > 1 else 0.0

        def percentile_ms(percent: int) -> float | None:
            if len(seconds) * (100 - percent) < 100:  # no repetition is above this percentile
                return None
            return to_ms(float(np.percentile(seconds, percent)))

        return cls(
            repetitions=len(seconds),
            fastest_ms=to_ms(min(seconds)),
            median_ms=to_ms(statistics.median(seconds)),
            p90_ms=percentile_ms(90),
            p95_ms=percentile_ms(95),
            p99_ms=percentile_ms(99),
            slowest_ms=to_ms(max(seconds)),
            variation=round(deviation_s / statistics.mean(seconds), 4),
        )

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt these times."""
        warnings = []
        if self.repetitions < _ENOUGH:
            warnings.append(f"only {self.repetitions} repetitions")
        if self.variation > _MAX_VARIATION:
            warnings.append(f"times vary by {self.variation:.1%}: the machine is busy otherwise")
        return warnings


def time_repeatedly(
    run: Callable[[int], list[float]], min_duration_s: float = MIN_DURATION_S
) -> list[float]:
    """Repeat something for at least `min_duration_s` seconds and ten times.

    Args:
        run: repeats it the given number of times and returns the seconds of each repetition. The
            first call, which loads and compiles, and the warm-up are not in the result.
        min_duration_s: minimum total duration.
    """
    run(1)
    warm_up = run(1)
    while sum(warm_up) < _WARM_UP_S and len(warm_up) < _MAX_REPETITIONS:
        warm_up += run(len(warm_up))
    seconds = run(repetitions_for(statistics.median(warm_up), min_duration_s))
    while sum(seconds) < min_duration_s and len(seconds) < _MAX_REPETITIONS:
        left_s = min_duration_s - sum(seconds)
        seconds += run(repetitions_for(statistics.median(seconds), left_s, minimum=1))
    return seconds


def repetitions_for(each_s: float, min_duration_s: float, minimum: int = _MIN_REPETITIONS) -> int:
    """Return how many repetitions last at least `min_duration_s`.

    Args:
        each_s: seconds of one repetition.
        min_duration_s: minimum total duration.
        minimum: number of repetitions. If it is above 1, it is raised to ten where ten take less
            than a minute.
    """
    enough = max(minimum, min(_ENOUGH, int(_TOO_LONG_S / each_s))) if minimum > 1 else 1
    return min(_MAX_REPETITIONS, max(enough, math.ceil(min_duration_s / each_s)))


def to_ms(seconds: float) -> float:
    """Return milliseconds, rounded to five significant digits."""
    return float(f"{1e3 * seconds:.5g}")
