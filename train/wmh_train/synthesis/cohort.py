"""Write data sets of synthetic heads, in the layout that `wmh-train fit` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch

from wmh_runtime.dataset import bids
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_folder, make_writable_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.files.temporary import remove_temporary_files
from wmh_runtime.imageio.nifti_writer import write_generated
from wmh_train.recipe.synthesis import SynthesisSettings
from wmh_train.synthesis.anatomy import LabelMap, read_label_map
from wmh_train.synthesis.head import synthesise_head
from wmh_train.synthesis.lesions import RealMask, read_real_mask
from wmh_train.worker_processes import lost_process_as_error, open_pool

DATA_SET_NAME = "synthetic heads"
SITE = "synthetic"  # of all heads, for `data.site_shares` in a recipe
_PREFIX = "sub-"
_SUFFIXES = (".nii.gz", ".nii", ".mgz")


@dataclass(frozen=True)
class Sources:
    """Files that heads are made from."""

    label_maps: Sequence[Path]
    lesion_masks: Sequence[Path] = ()

    @cached_property
    def sha256(self) -> str:
        """A hash of the content of all files; OSError if a file cannot be read."""
        content = [sha256_file(path) for path in (*self.label_maps, *self.lesion_masks)]
        return hashlib.sha256("".join(content).encode()).hexdigest()


def find_images(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted.

    Raises:
        InputError: there is none.
    """
    images = sorted(path for path in folder.glob("*") if path.name.endswith(_SUFFIXES))
    if not images:
        raise InputError("contains no image", "Give a folder of .nii.gz files.", about=folder)
    return images


class HeadMaker:
    """Worker processes that make synthetic heads. Use it in a `with` statement.

    Args:
        sources: label maps and masks of real lesions in the space of the MNI template.
        settings: ranges.
        workers: number of processes.

    Raises:
        InputError: a source cannot be used.
    """

    def __init__(self, sources: Sources, settings: SynthesisSettings, workers: int) -> None:
        for path in sources.label_maps:
            read_label_map(path)
        for path in sources.lesion_masks:
            read_real_mask(path)
        self._sources = sources
        self._settings = settings
        self._pool = open_pool(workers, _read_sources, (sources,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes when each has finished its head."""
        self._pool.shutdown(cancel_futures=True)

    def write(self, folder: Path, *, heads: int, seed: int, on_written: Callable[[], None]) -> None:
        """Write the heads of a data set that are not there yet: scans, masks, and a description.

        Args:
            folder: of the data set; created if missing. What was stopped is continued.
            heads: how many the data set has in the end.
            seed: of the data set.
            on_written: called after each head, also if it was there.

        Raises:
            InputError: the folder has heads of other settings, seed or sources, a file cannot be
                written, or a process was ended from outside.
        """
        synthesis = self._settings.model_dump(mode="json") | {
            "seed": seed,
            "sources_sha256": self._sources.sha256,
        }
        _describe(folder, synthesis)
        present = sum(1 for _ in folder.glob(bids.scan_name(f"{_PREFIX}{seed}x*", "flair")))
        names = [head_name(seed, number) for number in range(max(heads, present))]
        rows = [{"participant_id": name, "site": SITE} for name in names]
        write_table_atomically(folder / bids.PARTICIPANTS_NAME, rows, delimiter="\t")
        # The scan is written last.
        missing = [
            number
            for number in range(heads)
            if not (folder / bids.scan_name(head_name(seed, number), "flair")).exists()
        ]
        for _ in range(heads - len(missing)):
            on_written()
        write = partial(_write_head, folder, self._settings, seed)
        process = "a process that makes heads"
        with lost_process_as_error(folder, process=process, memory="1 to 2 GB"):
            for _ in self._pool.map(write, missing):
                on_written()


def _describe(folder: Path, synthesis: dict[str, Any]) -> None:
    """Write the description of a data set; InputError if it is there with other contents."""
    path = folder / bids.DESCRIPTION_NAME
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if before is not None and before.get("Synthesis") != synthesis:
        problem = "has heads of other settings, another seed or other sources"
        raise InputError(problem, "Give another folder.", about=folder)
    make_writable_folder(folder)
    remove_temporary_files(folder)
    make_folder(folder / bids.REFERENCES)
    description = {
        "Name": DATA_SET_NAME,
        "BIDSVersion": "1.10.0",
        "GeneratedBy": [{"Name": "wmh-train synthesise", "Version": version("wmh-lora")}],
        "Synthesis": synthesis,
    }
    write_text_atomically(path, json.dumps(description, indent=2) + "\n")


def head_name(seed: int, number: int) -> str:
    """Return the BIDS name of a head."""
    return f"{_PREFIX}{seed}x{number:05d}"


_maps: list[LabelMap] = []
_masks: list[RealMask] = []


def _read_sources(sources: Sources) -> None:
    """Read the sources once in each process."""
    torch.set_num_threads(1)
    _maps[:] = map(read_label_map, sources.label_maps)
    _masks[:] = map(read_real_mask, sources.lesion_masks)


def _write_head(folder: Path, settings: SynthesisSettings, seed: int, number: int) -> None:
    name = head_name(seed, number)
    head = synthesise_head(_maps, _masks, settings, seed=seed, number=number)
    for output, mask in head.masks.items():
        path = folder / bids.REFERENCES / bids.mask_name(name, output)
        write_generated(mask, head.affine, path)
    write_generated(head.t1, head.affine, folder / bids.scan_name(name, "t1"))
    write_generated(head.flair, head.affine, folder / bids.scan_name(name, "flair"))
