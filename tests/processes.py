"""Waiting for what another process does, and doing without one."""

import time
from concurrent.futures import Future


def wait_until(is_true, seconds=60):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.1)


class NoPool:
    """What `open_pool` returns, for tests of other things: tasks run at once in this process."""

    def __init__(self, workers, prepare=None, arguments=()):
        if prepare is not None:
            prepare(*arguments)

    def submit(self, task, *arguments):
        future = Future()
        future.set_result(task(*arguments))
        return future

    def map(self, task, items):
        return [task(item) for item in items]

    def shutdown(self, **_):
        """There is nothing to end."""
