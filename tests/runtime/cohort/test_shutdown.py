"""Requests to end: the first is noted, what repeats it is not a second one."""

import signal

import pytest

from wmh_runtime.cohort import shutdown
from wmh_runtime.cohort.shutdown import GracefulShutdown


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    fake = Clock()
    monkeypatch.setattr(shutdown, "time", fake)
    return fake


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_request_is_noted_and_told_once(clock, number):
    told = []
    with GracefulShutdown(lambda: told.append(1)) as heard:
        assert not heard.requested
        signal.raise_signal(number)
        assert heard.requested
        clock.now += 0.09  # `timeout` signals the process, then its group
        signal.raise_signal(number)
    assert told == [1]


def test_a_second_request_interrupts(clock):
    with GracefulShutdown() as heard:
        signal.raise_signal(signal.SIGTERM)
        clock.now += 0.11
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert heard.requested


def test_afterwards_signals_are_left_to_whom_they_were_left_to_before():
    before = signal.getsignal(signal.SIGTERM)
    with GracefulShutdown():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
