"""Where a training stands, in float32, so that a killed one goes on as if never killed.

The state is no checkpoint to use: it holds the last step, not the best epoch, with the
optimizer's moments, and it is removed when the training ends. Random numbers are not in it, since
every draw follows from the step.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wmh_runtime.errors import RecipeError
from wmh_runtime.files.atomic import atomic_path, remove
from wmh_runtime.files.temporary import remove_temporary_files

_FILE = "resume.pt"


@dataclass
class TrainingState:
    """Everything that the next step depends on."""

    identity: str  # of recipe, data, split and base: another training must not go on from it
    processes: int  # that do the next step
    epoch: int = 0  # counted from 0, of the next step
    step: int = 0  # within that epoch
    loss_sums: list[float] = field(default_factory=list)  # over the steps of that epoch
    best_dice: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)  # a row for each epoch
    seconds: float = 0.0
    network: dict[str, Tensor] = field(default_factory=dict)  # trained parameters and buffers
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    # Beside the identity, what the order of additions depends on: every value so far.
    ran_with: dict[str, list[int | str]] = field(default_factory=dict)

    def differences(self) -> list[str]:
        """Say in what its runs differ, this one included, such as "processes (2, 1)".

        Where they do, the result is not bit for bit that of an uninterrupted training.
        """
        return [
            f"{what} ({', '.join(map(str, values))})"
            for what, values in self.ran_with.items()
            if len(values) > 1
        ]

    def note_run(self) -> None:
        """Note what this process runs with."""
        now: dict[str, int | str] = {
            "processes": self.processes,
            "threads": torch.get_num_threads(),
            "PyTorch": str(torch.__version__),
        }
        for what, value in now.items():
            values = self.ran_with.setdefault(what, [])
            if value not in values:
                values.append(value)


class StateKeeper:
    """Keeps the state of one training in its folder.

    Args:
        folder: of the training.
        every_s: how long to wait between two savings within an epoch.
    """

    def __init__(self, folder: Path, every_s: float) -> None:
        self.path = folder / _FILE
        self._every_s = every_s
        self._saved_at = time.monotonic()

    def load(self, identity: str, processes: int) -> TrainingState:
        """Return the state to go on from: the saved one, or that of a beginning.

        What killed processes left half saved is removed.

        Args:
            identity: of the training.
            processes: that do it from here on.

        Raises:
            RecipeError: it cannot be read, or belongs to another training.
        """
        remove_temporary_files(self.path.parent)
        state = self._saved(identity) if self.path.exists() else TrainingState(identity, processes)
        state.processes = processes
        state.note_run()
        return state

    def _saved(self, identity: str) -> TrainingState:
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            state = TrainingState(**saved)
        except Exception as error:  # a damaged pickle raises anything
            raise RecipeError(
                f"cannot be read ({type(error).__name__})",
                "Remove it to begin anew.",
                about=self.path,
            ) from error
        if state.identity != identity:
            raise RecipeError(
                "holds an unfinished training of another recipe, data, split or base",
                "Choose another folder, or remove it to begin anew.",
                about=self.path.parent,
            )
        return state

    def is_due(self) -> bool:
        """Say whether it is time to save."""
        return time.monotonic() - self._saved_at >= self._every_s

    def save(self, state: TrainingState) -> None:
        """Save the state, whole or not at all."""
        with atomic_path(self.path) as path:
            torch.save(vars(state), path)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove the state of a training that has ended."""
        remove(self.path)


def sha256_of_tensors(tensors: dict[str, Tensor]) -> str:
    """Return one hash of names and values, to tell whether two trainings ended alike."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
