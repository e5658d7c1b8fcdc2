"""Trainings in processes that can be killed. Run by test_resume.py.

Each line of the input has the number of processes and the arguments of a training, as JSON. It runs
in forks, so that the libraries are imported only once; the exit status is printed.
"""

import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch

from tests.training_toys import fit_data, lora_recipe
from wmh_train import checkpoint
from wmh_train.fit.fit import FitListener, fit
from wmh_train.model.pretrained import read_pretrained


def recipe_in(precision):
    recipe = lora_recipe(epochs=3, micro_batch_size=2)
    changed = recipe.optimizer.model_copy(update={"mixed_precision": precision})
    return recipe.model_copy(update={"optimizer": changed})


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_call(number, before):
    """Replace a function: at call number `number`, run `before` and kill the process."""

    def wrap(function):
        calls = 0

        def counted(*arguments):
            nonlocal calls
            calls += 1
            if calls == number:
                before(*arguments)
                kill()
            return function(*arguments)

        return counted

    return wrap


class SignalAtStep(FitListener):
    def __init__(self, step, number):
        self._step, self._number = step, number

    def step(self, report):
        if report.step == self._step:
            os.kill(os.getpid(), self._number)


def main(heads, pretrained, out, cache, moment, precision, threads):
    torch.set_num_threads(int(threads))
    recipe = recipe_in(precision)
    listener = FitListener()
    if moment.isdigit():
        listener = SignalAtStep(int(moment), signal.SIGKILL)
    elif moment.startswith("stop"):  # only the main process gets the signal
        listener = SignalAtStep(int(moment.removeprefix("stop")), signal.SIGTERM)
    elif moment == "saving":  # half of the state is written
        wrap = kill_at_call(2, lambda _, path: Path(path).write_bytes(b"half"))
        torch.save = wrap(torch.save)
    elif moment == "writing":  # the weights are new, the metadata is old
        checkpoint.save_metadata = kill_at_call(1, lambda *_: None)(checkpoint.save_metadata)
    fit(
        recipe,
        fit_data(Path(heads), recipe),
        Path(out),
        read_pretrained(Path(pretrained)),
        listener,
        cache=Path(cache),
        save_every_s=0,
    )


def serve(main):
    for line in sys.stdin:
        processes, *arguments = json.loads(line)
        children = fork(processes, main, arguments)
        print(wait_for_all(children), flush=True)  # noqa: T201


def fork(processes, main, arguments):
    """Start processes that train together, as `torch.distributed.run` does; return their ids."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    children = []
    for rank in range(processes):
        if child := os.fork():
            children.append(child)
            continue
        if processes > 1:
            os.environ |= {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            }
        try:
            main(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return children


def wait_for_all(children):
    """Return 0, or the exit status of the first process that fails; the others are killed then."""
    running, result = set(children), 0
    while running:
        child, status = os.wait()
        running.remove(child)
        if status and not result:
            result = os.waitstatus_to_exitcode(status)
            for other in running:
                os.kill(other, signal.SIGKILL)
    return result


if __name__ == "__main__":
    serve(main)
