"""What has to hold for claims, wherever they are kept."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from wmh_runtime.files.process import this_process

ELSEWHERE = this_process()._replace(host="far", space="00000000")


def wait_for_claim(claims, longest_s=10):
    """Look again and again, as a run that waits does."""
    until = time.monotonic() + longest_s
    while (claim := claims.try_claim("a")) is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    return claim


def require_one_owner(runs, rounds):
    """Let all runs, each in a thread, claim the same thing at the same time, again and again."""
    with ThreadPoolExecutor(len(runs)) as pool:
        for round_ in range(rounds):
            begin = threading.Barrier(len(runs))

            def attempt(run, name=f"scan {round_}", begin=begin):
                begin.wait()
                return run.try_claim(name)

            assert sum(one is not None for one in pool.map(attempt, runs)) == 1


def require_taken_when_still(first, waiting, longest_s=10):
    """Wait for the claim `a`, which `first` has, of `ELSEWHERE`; return the new claim."""
    assert waiting.try_claim("a") is None
    for _ in range(4):
        time.sleep(0.2)
        first.beat()  # it is alive
        assert waiting.try_claim("a") is None
    taken = wait_for_claim(waiting, longest_s)
    assert taken.is_held
    assert taken.previous_owner == ELSEWHERE
    assert not first.is_held
    first.beat()
    first.release()  # it does no harm to the new owner
    assert taken.is_held
    return taken
