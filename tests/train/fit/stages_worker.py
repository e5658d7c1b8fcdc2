"""Trainings in stages, in processes that are killed in the second stage. Run by test_stages.py.

Each line of the input has the arguments of one as JSON, see `fit_worker.serve`.
"""

from pathlib import Path

import torch

from tests.train.fit.test_stages import stage_data, staged_recipe
from tests.train.loop.fit_worker import kill, kill_at_call, serve
from wmh_train import checkpoint
from wmh_train.data.layouts import find_dataset
from wmh_train.fit import stages
from wmh_train.fit.fit import FitListener


class KillInSecondStage(FitListener):
    """Kills the process at a moment, once the second stage begins.

    Args:
        moment: "between" the stages; "saving" the state of the second epoch; "writing" a
            checkpoint; "copying" the last one; or the number of a step.
    """

    def __init__(self, moment):
        self._moment, self._is_second = moment, False

    def info(self, line):
        if not line.startswith("stage 2 of 2"):
            return
        self._is_second = True
        if self._moment == "between":
            kill()
        elif self._moment == "saving":  # half of the state is written
            wrap = kill_at_call(2, lambda _, path: Path(path).write_bytes(b"half"))
            torch.save = wrap(torch.save)
        elif self._moment == "writing":  # the weights are new, the metadata is old
            checkpoint.save_metadata = kill_at_call(1, lambda *_: None)(checkpoint.save_metadata)
        elif self._moment == "copying":
            stages.save_metadata = kill_at_call(1, lambda *_: None)(stages.save_metadata)

    def step(self, report):
        if self._is_second and str(report.step) == self._moment:
            kill()


def main(heads, out, cache, moment, threads):
    torch.set_num_threads(int(threads))
    scans = find_dataset(Path(heads), ["flair"], ["wmh"]).scans
    listener = KillInSecondStage(moment)
    arguments = (staged_recipe(), stage_data(scans), Path(out), None, listener)
    stages.fit_stages(*arguments, cache=Path(cache))


if __name__ == "__main__":
    serve(main)
