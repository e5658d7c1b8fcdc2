"""What is made of seconds."""

import pytest

from wmh_bench.timing.times import Times, for_long_enough, how_often


def test_percentiles_and_variation_of_known_times():
    # 1 to 101 ms: the k-th percentile of 101 evenly spaced values is k + 1 ms. Their standard
    # deviation is √((101² − 1) / 12 · 101 / 100) = 29.3 ms, their mean 51 ms.
    times = Times.of([ms / 1e3 for ms in range(1, 102)])
    assert (times.fastest_ms, times.median_ms, times.slowest_ms) == (1, 51, 101)
    assert (times.p90_ms, times.p95_ms, times.p99_ms) == (91, 96, 100)
    assert times.variation == pytest.approx(29.3 / 51, abs=1e-3)


def test_one_time_varies_by_nothing():
    assert Times.of([0.5]).variation == 0


@pytest.mark.parametrize(
    ("timed", "known"),
    [(9, []), (10, [90]), (19, [90]), (20, [90, 95]), (99, [90, 95]), (100, [90, 95, 99])],
)
def test_a_percentile_needs_a_time_beyond_it(timed, known):
    times = Times.of([0.1] * timed)
    found = {90: times.p90_ms, 95: times.p95_ms, 99: times.p99_ms}
    assert [percent for percent, ms in found.items() if ms is not None] == known


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        ([1.0] * 10, []),
        ([1.0] * 9, ["timed only 9 times"]),
        # Mean 1.05, standard deviation 0.0527: 5 %.
        ([1.0, 1.1] * 5, ["times vary by 5.0%"]),
        ([1.0, 1.04] * 5, []),  # 2.1 %, which trtexec accepts
    ],
)
def test_what_is_to_be_doubted_is_said(seconds, says):
    warnings = Times.of(seconds).warnings
    assert len(warnings) == len(says)
    assert all(warning.startswith(start) for warning, start in zip(warnings, says, strict=True))


@pytest.mark.parametrize(
    ("one_s", "least_s", "count"),
    [
        (0.1, 3, 30),  # 3 s of 0.1 s
        (1, 3, 10),  # ten times at least
        (8, 3, 7),  # but no more than a minute in all, 60 / 8
        (100, 3, 5),  # and five times whatever it takes
        (1e-6, 3, 10_000),  # and ten thousand times at most
    ],
)
def test_how_often_something_is_timed(one_s, least_s, count):
    assert how_often(one_s, least_s) == count


class Timed:
    """Takes as long as it is told, the first time longer."""

    def __init__(self, first_s, then_s):
        self.first_s, self.then_s, self.asked = first_s, then_s, []

    def __call__(self, count):
        self.asked.append(count)
        seconds = [self.then_s] * count
        if len(self.asked) == 1:
            seconds[0] = self.first_s
        return seconds


def test_what_is_fast_is_warmed_up_before_it_is_timed():
    # A first; 0.05, 0.1 and 0.2 s of warm-up by doubling; then 1 s of 0.05 s.
    timed = Timed(0.05, 0.05)
    assert for_long_enough(timed, least_s=1) == [0.05] * 20
    assert timed.asked == [1, 1, 1, 2, 20]


def test_what_loads_at_first_is_warmed_up_all_the_same():
    timed = Timed(30, 0.05)
    assert for_long_enough(timed, least_s=1) == [0.05] * 20
    assert timed.asked == [1, 1, 1, 2, 20]


def test_what_is_slow_is_warm_after_once():
    timed = Timed(2, 2)
    assert for_long_enough(timed, least_s=1) == [2] * 10
    assert timed.asked == [1, 1, 10]


def test_what_becomes_faster_is_timed_until_it_lasted_long_enough():
    asked = []

    def seconds_of(count):
        asked.append(count)
        return [0.25 if sum(asked) <= 2 else 0.0625] * count

    # Warm at 0.25 s a time, so 12 times for 3 s; they take 0.75 s, and 36 more are needed.
    assert len(for_long_enough(seconds_of, least_s=3)) == 48
    assert asked == [1, 1, 12, 36]
