"""A pool of processes without processes."""

from concurrent.futures import Future


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
