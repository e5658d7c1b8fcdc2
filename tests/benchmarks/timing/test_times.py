"""Times of repeated calls."""

import pytest

from wmh_bench.timing.times import Times, repetitions_for, time_repeatedly


def test_percentiles_and_variation_of_known_times():
    # 1 to 101 ms: the k-th percentile of 101 evenly spaced values is k + 1 ms. Their standard
    # deviation is √((101² − 1) / 12 · 101 / 100) = 29.3 ms, their mean 51 ms.
    times = Times.from_seconds([ms / 1e3 for ms in range(1, 102)])
    assert (times.fastest_ms, times.median_ms, times.slowest_ms) == (1, 51, 101)
    assert (times.p90_ms, times.p95_ms, times.p99_ms) == (91, 96, 100)
    assert times.variation == pytest.approx(29.3 / 51, abs=1e-3)


def test_a_single_repetition_has_no_variation():
    assert Times.from_seconds([0.5]).variation == 0


@pytest.mark.parametrize(
    ("repetitions", "known"),
    [(9, []), (10, [90]), (19, [90]), (20, [90, 95]), (99, [90, 95]), (100, [90, 95, 99])],
)
def test_a_percentile_needs_a_repetition_above_it(repetitions, known):
    times = Times.from_seconds([0.1] * repetitions)
    percentiles_ms = {90: times.p90_ms, 95: times.p95_ms, 99: times.p99_ms}
    assert [percent for percent, ms in percentiles_ms.items() if ms is not None] == known


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([1.0] * 10, []),
        ([1.0] * 9, ["only 9 repetitions"]),
        # Mean 1.05, standard deviation 0.0527: 5 %.
        ([1.0, 1.1] * 5, ["times vary by 5.0%"]),
        ([1.0, 1.04] * 5, []),  # 2.1 %: trtexec accepts it
    ],
)
def test_doubtful_times_have_warnings(seconds, expected):
    warnings = Times.from_seconds(seconds).warnings
    assert len(warnings) == len(expected)
    assert all(warning.startswith(start) for warning, start in zip(warnings, expected, strict=True))


@pytest.mark.parametrize(
    ("each_s", "min_duration_s", "count"),
    [
        (0.1, 3, 30),  # 3 s of 0.1 s
        (1, 3, 10),  # at least ten
        (8, 3, 7),  # but at most a minute in total, 60 / 8
        (100, 3, 5),  # and at least five, however long they take
        (1e-6, 3, 10_000),  # and at most ten thousand
    ],
)
def test_number_of_repetitions(each_s, min_duration_s, count):
    assert repetitions_for(each_s, min_duration_s) == count


class FakeRun:
    """Returns a fixed duration for every repetition, and another one for the first."""

    def __init__(self, first_s, then_s):
        self.first_s, self.then_s, self.counts = first_s, then_s, []

    def __call__(self, count):
        self.counts.append(count)
        seconds = [self.then_s] * count
        if len(self.counts) == 1:
            seconds[0] = self.first_s
        return seconds


def test_short_repetitions_are_warmed_up_first():
    # The first; 0.05, 0.05 and 0.1 s of warm-up, doubled each time; then 1 s of 0.05 s.
    run = FakeRun(0.05, 0.05)
    assert time_repeatedly(run, min_duration_s=1) == [0.05] * 20
    assert run.counts == [1, 1, 1, 2, 20]


def test_a_long_first_repetition_is_not_a_warm_up():
    run = FakeRun(30, 0.05)
    assert time_repeatedly(run, min_duration_s=1) == [0.05] * 20
    assert run.counts == [1, 1, 1, 2, 20]


def test_a_long_repetition_is_warm_after_one():
    run = FakeRun(2, 2)
    assert time_repeatedly(run, min_duration_s=1) == [2] * 10
    assert run.counts == [1, 1, 10]


def test_repetitions_that_become_shorter_are_continued_until_the_minimum_duration():
    counts = []

    def run(count):
        counts.append(count)
        return [0.25 if sum(counts) <= 2 else 0.0625] * count

    # The warm-up takes 0.25 s, so 12 repetitions for 3 s; they take 0.75 s, 36 more are needed.
    assert len(time_repeatedly(run, min_duration_s=3)) == 48
    assert counts == [1, 1, 12, 36]
