"""Plan cohorts of phantoms and write them as a data set."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_folder, make_writable_folder
from wmh_runtime.files.tables import NOT_AVAILABLE, read_table, write_table_atomically
from wmh_runtime.imageio.nifti_writer import write_generated
from wmh_runtime.phantom.head import LARGEST_LOAD_ML, Phantom, PhantomProperties, generate_phantom
from wmh_runtime.phantom.sites import SITES

DATA_SET_NAME = "Procedural FLAIR phantoms made by wmh-phantom"
_SEEDS_PER_COHORT = 1000  # cohort 7 has the heads 7000 to 7999, so cohorts share no head
_DAY = date(2000, 1, 1)  # of made-up studies
_MAX_WORKERS = 61  # Windows cannot wait for more processes


# Cohorts that training must not use, with their purpose. `wmh-phantom` refuses these seeds.
ACCURACY_SEED, PARITY_SEED, CALIBRATION_SEED, SEARCH_SEED = 900, 999, 998, 997
RESERVED_SEEDS = {
    ACCURACY_SEED: "measure accuracy",
    PARITY_SEED: "measure parity",
    CALIBRATION_SEED: "calibrate INT8",
    SEARCH_SEED: "choose the layers of INT8",
}


@dataclass(frozen=True)
class Plan:
    """One phantom to generate."""

    name: str
    seed: int
    site: str
    load_ml: float
    with_t1: bool = False  # also make a T1 of the same head
    as_dicom: bool = False  # scans are series of DICOM files, in folders

    def scan_path(self, folder: Path) -> Path:
        """Return the path of its scan."""
        return self._path(folder, "flair")

    def reference_path(self, folder: Path) -> Path:
        """Return the path of its lesion mask."""
        return folder / bids.REFERENCES / bids.mask_name(self.name, "wmh")

    def t1_path(self, folder: Path) -> Path:
        """Return the path of its T1."""
        return self._path(folder, "t1")

    def _path(self, folder: Path, channel: str) -> Path:
        image = folder / bids.scan_name(self.name, channel)
        return folder / "dicom" / image_stem(image) if self.as_dicom else image

    def paths(self, folder: Path) -> tuple[Path, ...]:
        """Return the paths of its scans and its lesion mask."""
        t1 = (self.t1_path(folder),) if self.with_t1 else ()
        return self.scan_path(folder), *t1, self.reference_path(folder)


def plan_cohort(
    subjects: int,
    seed: int,
    loads_ml: tuple[float, float],
    sites: Sequence[str] = tuple(SITES),
    *,
    with_t1: bool = False,
    as_dicom: bool = False,
) -> list[Plan]:
    """Plan a cohort: sites take turns; loads are evenly spaced in log scale and shuffled.

    Args:
        subjects: number of phantoms, 1 to 1000.
        seed: seed of the cohort. Cohorts with different seeds share no head.
        loads_ml: smallest and largest lesion load, above 0 and up to 60.
        sites: names of the sites.
        with_t1: also make a T1 of each head.
        as_dicom: write the scans as series of DICOM files, in the subfolder `dicom`.

    Raises:
        InputError: a value is out of range.
    """
    if not 1 <= subjects <= _SEEDS_PER_COHORT:
        raise InputError(f"got {subjects} subjects, expected 1 to {_SEEDS_PER_COHORT}")
    if not 0 < loads_ml[0] <= loads_ml[1] <= LARGEST_LOAD_ML:
        raise InputError(
            f"got lesion loads from {loads_ml[0]:g} to {loads_ml[1]:g} mL, expected 0 < smallest"
            f" ≤ largest ≤ {LARGEST_LOAD_ML:g}"
        )
    loads = np.random.default_rng(seed).permutation(np.geomspace(*loads_ml, subjects))
    return [
        Plan(
            name=f"sub-{_SEEDS_PER_COHORT * seed + i:04d}",
            seed=_SEEDS_PER_COHORT * seed + i,
            site=sites[i % len(sites)],
            load_ml=round(float(load), 2),
            with_t1=with_t1,
            as_dicom=as_dicom,
        )
        for i, load in enumerate(loads)
    ]


def write_cohort(
    plans: Sequence[Plan], folder: Path, *, workers: int, on_written: Callable[[], None]
) -> None:
    """Generate phantoms and write their scans, reference masks, sites and properties.

    Scans are written to `folder`, with their sites in its `participants.tsv`. Masks and a table
    of properties are written to its subfolder `derivatives/reference`.

    Args:
        plans: phantoms to generate.
        folder: output folder; created if needed.
        workers: number of processes.
        on_written: called after each phantom.

    Raises:
        InputError: a file already exists, or the folder cannot be written.
    """
    for path in (path for plan in plans for path in plan.paths(folder)):
        if path.exists():
            raise InputError("already exists", "Choose another folder or seed.", about=path)
    make_writable_folder(folder)
    _write_description(folder)
    _add_participants(plans, folder)
    properties = []
    count = min(workers, len(plans), _MAX_WORKERS)
    with Pool(count, _ignore_ctrl_c) as pool:  # on exit, the pool kills its processes
        for one in pool.imap(partial(write_phantom, folder=folder), plans):
            properties.append(one)
            on_written()
    rows = [{"name": plan.name, **asdict(one)} for plan, one in zip(plans, properties, strict=True)]
    table = f"{plans[0].name}_to_{plans[-1].name}_facts.tsv"
    write_table_atomically(folder / bids.REFERENCES / table, rows, delimiter="\t")


def _ignore_ctrl_c() -> None:
    """Ignore Ctrl-C in a worker: a terminal sends it to all processes; the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write_description(folder: Path) -> None:
    """Write `dataset_description.json`, unless it exists."""
    path = folder / bids.DESCRIPTION_NAME
    if not path.exists():
        description = {
            "Name": DATA_SET_NAME,
            "BIDSVersion": "1.10.0",
            "GeneratedBy": [{"Name": "wmh-phantom", "Version": version("wmh-lora")}],
        }
        write_text_atomically(path, json.dumps(description, indent=2) + "\n")


def _add_participants(plans: Sequence[Plan], folder: Path) -> None:
    """Add subjects and sites to `participants.tsv`; rows of other subjects are kept."""
    path = folder / bids.PARTICIPANTS_NAME
    new = {plan.name: plan.site for plan in plans}
    rows = read_table(path) if path.exists() else []
    rows = [row for row in rows if row.get("participant_id") not in new]
    rows += [{"participant_id": name, "site": site} for name, site in new.items()]
    columns = dict.fromkeys(("participant_id", "site", *(name for row in rows for name in row)))
    filled = [{name: row.get(name) or NOT_AVAILABLE for name in columns} for row in rows]
    write_table_atomically(path, filled, delimiter="\t")


def write_phantom(plan: Plan, folder: Path) -> PhantomProperties:
    """Generate one phantom and write its scans and its reference mask."""
    phantom = generate_phantom(plan.seed, plan.site, plan.load_ml, with_t1=plan.with_t1)
    make_folder(folder / bids.REFERENCES)
    write_generated(phantom.lesions, phantom.affine, plan.reference_path(folder))
    if plan.as_dicom:
        _write_dicom(plan, phantom, folder)
        return phantom.properties
    if phantom.t1 is not None:
        write_generated(phantom.t1, phantom.affine, plan.t1_path(folder))
    write_generated(phantom.image, phantom.affine, plan.scan_path(folder))
    return phantom.properties


def _write_dicom(plan: Plan, phantom: Phantom, folder: Path) -> None:
    """Write the scans of a phantom as the series of one study."""
    from wmh_runtime.phantom.dicom_series import FLAIR, MPRAGE, Person, mr_series, write_series

    person = Person(f"Phantom^{plan.name}", plan.name, _DAY)
    write_series(
        mr_series(phantom.image, phantom.affine, FLAIR, person, number=1), plan.scan_path(folder)
    )
    if phantom.t1 is not None:
        write_series(
            mr_series(phantom.t1, phantom.affine, MPRAGE, person, number=2), plan.t1_path(folder)
        )
