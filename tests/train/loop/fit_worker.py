"""A training in a process of its own, which can be killed. Run by tests/train/test_resume.py."""

import os
import signal
import sys
from pathlib import Path

import torch

from tests.toys import fit_data, lora_recipe
from wmh_train import checkpoint
from wmh_train.loop.fit import FitListener, fit
from wmh_train.model.base import read_base


def recipe_in(precision):
    recipe = lora_recipe(epochs=3, slices_at_once=2)
    changed = recipe.optimizer.model_copy(update={"mixed_precision": precision})
    return recipe.model_copy(update={"optimizer": changed})


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_call(number, before):
    """Let a function be called some times; then die after `before`."""

    def wrap(function):
        calls = 0

        def counting(*arguments):
            nonlocal calls
            calls += 1
            if calls == number:
                before(*arguments)
                kill()
            return function(*arguments)

        return counting

    return wrap


class SignalledAtStep(FitListener):
    def __init__(self, step, number):
        self._step, self._number = step, number

    def step(self, report):
        if report.step == self._step:
            os.kill(os.getpid(), self._number)


def main(heads, base, out, cache, moment, precision, threads):
    torch.set_num_threads(int(threads))
    recipe = recipe_in(precision)
    listener = FitListener()
    if moment.isdigit():
        listener = SignalledAtStep(int(moment), signal.SIGKILL)
    elif moment.startswith("asked"):  # the main process alone
        listener = SignalledAtStep(int(moment.removeprefix("asked")), signal.SIGTERM)
    elif moment == "saving":  # half of the state is written
        wrap = kill_at_call(2, lambda _, path: Path(path).write_bytes(b"half"))
        torch.save = wrap(torch.save)
    elif moment == "publishing":  # the weights are new, the facts are old
        checkpoint.save_facts = kill_at_call(1, lambda *_: None)(checkpoint.save_facts)
    fit(
        recipe,
        fit_data(Path(heads), recipe),
        Path(out),
        read_base(Path(base)),
        listener,
        cache=Path(cache),
        save_every_s=0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
