"""Annotated scans on disk, their split, and their prepared slices in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime import bids
from wmh_runtime.errors import RecipeError
from wmh_runtime.prepare import prepare
from wmh_runtime.scan import Scan, read_scan, require_same_grid
from wmh_train.recipe import Recipe

_MASK_CUT = 0.5


@dataclass(frozen=True)
class Subject:
    """The files of one annotated scan."""

    name: str
    channels: tuple[Path, ...]
    references: tuple[Path, ...]


def find_subjects(folder: Path, channels: list[str], outputs: list[str]) -> list[Subject]:
    """Find the annotated scans of a folder, in the order of their names.

    Expected are `NAME_FLAIR.nii.gz` (`NAME_T1w.nii.gz`, …) for each channel, and for each output
    `derivatives/reference/NAME_label-WMH_mask.nii.gz`: what `wmh-phantom` writes.

    Raises:
        RecipeError: there are none, or a file of one is missing.
    """
    ending = bids.scan_name("", channels[0])
    names = sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))
    if not names:
        raise RecipeError(
            f"holds no *{ending}", "Make some with wmh-phantom, or check --data.", about=folder
        )
    references = folder / bids.REFERENCES
    subjects = [
        Subject(
            name,
            tuple(folder / bids.scan_name(name, channel) for channel in channels),
            tuple(references / bids.mask_name(name, output) for output in outputs),
        )
        for name in names
    ]
    for subject in subjects:
        for path in (*subject.channels, *subject.references):
            if not path.is_file():
                raise RecipeError("is missing", f"{subject.name} needs it.", about=path)
    return subjects


def describe(folder: Path) -> str:
    """Return what a data set calls itself: its BIDS name, or else its folder's."""
    try:
        return str(json.loads((folder / bids.DESCRIPTION_NAME).read_text(encoding="utf-8"))["Name"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.resolve().name


def load_subject(subject: Subject) -> tuple[list[Scan], list[NDArray[np.bool_]]]:
    """Read a subject's channels and reference masks.

    Raises:
        InputError: a file cannot be read, or a mask is on another grid than its scan.
    """
    scans = [read_scan(path) for path in subject.channels]
    references = [read_scan(path, allow_constant=True) for path in subject.references]
    for reference in references:
        require_same_grid(reference, scans[0])
    return scans, [reference.voxels >= _MASK_CUT for reference in references]


def split_subjects(
    subjects: Iterable[Subject], validation_share: float, seed: int
) -> tuple[list[Subject], list[Subject]]:
    """Split into training and validation, the same way in every process and on every machine.

    Subjects are ordered by the SHA-256 of seed and name; the first `validation_share` of them,
    at least one, validate.
    """

    def order(subject: Subject) -> bytes:
        return hashlib.sha256(f"{seed}:{subject.name}".encode()).digest()

    ordered = sorted(subjects, key=order)
    count = max(1, round(validation_share * len(ordered)))
    if count >= len(ordered):
        raise RecipeError(
            f"{len(ordered)} scan(s) cannot be split into training and validation",
            "Give at least two.",
        )
    return ordered[count:], ordered[:count]


@dataclass(frozen=True)
class Slices:
    """Prepared slices of many scans. float16 halves the memory and is finer than the noise."""

    images: NDArray[np.float16]  # (n, C, S, S)
    targets: NDArray[np.bool_]  # (n, K, S, S)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def with_lesion(self) -> NDArray[np.bool_]:
        """Which slices show a lesion, (n,)."""
        return np.asarray(self.targets.any(axis=(1, 2, 3)))


def prepare_slices(
    subjects: list[Subject], recipe: Recipe, on_subject: Callable[[], None] = lambda: None
) -> Slices:
    """Prepare the slices of many scans, those that show no head left out.

    Args:
        subjects: in any order.
        recipe: for the preparation.
        on_subject: called after each subject, for progress.

    Raises:
        InputError: a file cannot be read or shows no head.
    """
    images, targets = [], []
    for subject in subjects:
        scans, references = load_subject(subject)
        prepared = prepare(scans, recipe.preparation)
        squares = [prepared.restoration.squares(reference) for reference in references]
        images.append(prepared.slices.astype(np.float16))
        targets.append(np.stack(squares, axis=1) >= _MASK_CUT)
        on_subject()
    return Slices(np.concatenate(images), np.concatenate(targets))


def draw_epoch(
    with_lesion: NDArray[np.bool_], empty_slices: float, *, seed: int, epoch: int
) -> NDArray[np.int_]:
    """Draw which slices an epoch learns from, in which order: all with lesion, some without.

    Every epoch draws those without anew, and as many.

    Args:
        with_lesion: (n,).
        empty_slices: share of the slices without lesion, in [0, 1].
        seed: of the training.
        epoch: counted from 0.

    Returns:
        Places of slices, each at most once.

    Raises:
        RecipeError: there is none to learn from.
    """
    draws = np.random.default_rng([seed, epoch])
    empty = draws.permutation(np.flatnonzero(~with_lesion))
    drawn = empty[: round(empty_slices * len(empty))]
    order = draws.permutation(np.concatenate([np.flatnonzero(with_lesion), drawn]))
    if not len(order):
        raise RecipeError(
            f"none of {len(with_lesion)} slices is learned from, since none shows a lesion",
            "Check the reference masks, or raise data.empty_slices.",
        )
    return order
