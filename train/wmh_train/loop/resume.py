"""The saved state of a training, in float32, so that it can be resumed without any difference.

This state is not a checkpoint. It contains the last step, not the best epoch, with the moments of
the optimizer, and it is removed when the training ends. It contains no random state, because all
random numbers are derived from the step.
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
from wmh_train.checkpoint import has_checkpoint

_FILE = "resume.pt"


@dataclass
class TrainingState:
    """All data that the next step depends on."""

    identity: str  # hash of recipe, data, split and pretrained weights; see CheckpointMetadata
    processes: int  # number of processes of the current run
    epoch: int = 0  # index of the epoch of the next step, from 0
    step: int = 0  # index of the next step within that epoch, from 0
    loss_sums: list[float] = field(default_factory=list)  # over the steps of that epoch so far
    best_score: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per finished epoch
    seconds: float = 0.0
    network: dict[str, Tensor] = field(default_factory=dict)  # trained parameters and buffers
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    # Settings that affect rounding: all different values so far. See `record_run`.
    ran_with: dict[str, list[int | str]] = field(default_factory=dict)

    def differences(self) -> list[str]:
        """Return the differences between all runs so far, such as "processes (2, 1)".

        If there are any, the result may differ from an uninterrupted training in the last bits.
        """
        return [
            f"{setting} ({', '.join(map(str, values))})"
            for setting, values in self.ran_with.items()
            if len(values) > 1
        ]

    def record_run(self) -> None:
        """Record the settings of the current run that affect rounding."""
        current: dict[str, int | str] = {
            "processes": self.processes,
            "threads": torch.get_num_threads(),
            "PyTorch": str(torch.__version__),
        }
        for setting, value in current.items():
            values = self.ran_with.setdefault(setting, [])
            if value not in values:
                values.append(value)


def has_begun(out: Path) -> bool:
    """Return whether a folder contains a training, finished or not."""
    return (out / _FILE).exists() or has_checkpoint(out)


class ResumeFile:
    """Saves and loads the state of one training, in its output folder.

    Args:
        folder: output folder of the training.
        every_s: seconds between two saves within an epoch.
    """

    def __init__(self, folder: Path, every_s: float) -> None:
        self.path = folder / _FILE
        self._every_s = every_s
        self._saved_at = time.monotonic()

    def load(self, identity: str, processes: int) -> TrainingState:
        """Return the saved state, or the initial state if there is none.

        Temporary files of killed processes are removed.

        Args:
            identity: identity of the training.
            processes: number of processes of this run.

        Raises:
            RecipeError: the state cannot be read, or belongs to another training.
        """
        remove_temporary_files(self.path.parent)
        state = (
            self._load_saved(identity) if self.path.exists() else TrainingState(identity, processes)
        )
        state.processes = processes
        state.record_run()
        return state

    def _load_saved(self, identity: str) -> TrainingState:
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            if "best_dice" in saved:  # of an earlier version
                saved["best_score"] = saved.pop("best_dice")
            state = TrainingState(**saved)
        except Exception as error:  # torch.load raises many types for a damaged file
            raise RecipeError(
                f"cannot be read ({type(error).__name__})",
                "Remove it to start again from the beginning.",
                about=self.path,
            ) from error
        if state.identity != identity:
            raise RecipeError(
                "contains an unfinished training with another recipe, data, or pretrained weights",
                "Use another folder, or remove this one to start again.",
                about=self.path.parent,
            )
        return state

    def is_due(self) -> bool:
        """Return whether `every_s` seconds have passed since the last save."""
        return time.monotonic() - self._saved_at >= self._every_s

    def save(self, state: TrainingState) -> None:
        """Save the state atomically."""
        with atomic_path(self.path) as path:
            torch.save(vars(state), path)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove the state after the training has finished."""
        remove(self.path)


def sha256_of_tensors(tensors: dict[str, Tensor]) -> str:
    """Return one hash of all names and values, to compare the results of two trainings."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
