"""Trainings in processes that can be killed. Run by test_resume.py.

With arguments, it is one training. Without, each line of the input has the arguments of one as
JSON. It runs in a fork, so that the libraries are imported only once; the exit status is printed.
"""

import json
import os
import signal
import sys
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
        child = os.fork()
        if not child:
            main(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    if arguments := sys.argv[1:]:
        main(*arguments)
    else:
        serve(main)
