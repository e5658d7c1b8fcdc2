"""Graceful shutdown: the first signal is noted, a quick repetition of it is not a second one."""

import signal

import pytest

from wmh_runtime.cohort import shutdown as shutdown_module
from wmh_runtime.cohort.shutdown import GracefulShutdown


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    fake = Clock()
    monkeypatch.setattr(shutdown_module, "time", fake)
    return fake


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_reported_once(clock, number):
    reports = []
    with GracefulShutdown(lambda: reports.append("request")) as shutdown:
        assert not shutdown.requested
        signal.raise_signal(number)
        assert shutdown.requested
        clock.now += 0.09  # `timeout` signals the process, then its group
        signal.raise_signal(number)
    assert reports == ["request"]


def test_a_second_signal_is_reported_and_interrupts(clock):
    reports = []
    with GracefulShutdown(on_abort=lambda: reports.append("abort")) as shutdown:
        signal.raise_signal(signal.SIGTERM)
        clock.now += 0.11
        assert reports == []
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert shutdown.requested
    assert reports == ["abort"]


def test_the_previous_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with GracefulShutdown():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
