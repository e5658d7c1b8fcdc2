"""The user's own atlas for the scans of a run: where the image of each scan is, and its names."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_runtime.dataset.bids import bids_entities
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.subjects import session_from_name, subject_of_scan
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.atlas import ASEG_NAMES, read_atlas, read_matrix
from wmh_runtime.imageio.image_files import sha256_of_image
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.sidecar import AtlasInput
from wmh_runtime.postprocessing.parcellation import ATLAS_SCHEME, NO_REGION, Parcellation
from wmh_runtime.text import count_noun

_ASEG_WHITE_MATTER = {2, 41}  # in every aseg


@dataclass(frozen=True)
class Atlas:
    """An atlas for all scans, or one for each.

    Paths may contain `{subject}`, `{session}` and `{scan}`, such as `sub-1`, `ses-2` and
    `sub-1_ses-2`.
    """

    image: str
    names: Mapping[int, str] | None = None  # None: those of aseg if it is one, else the numbers
    transform: str = ""  # to the space of the scan; empty: it is in this space

    def image_of(self, case: Case) -> Path:
        """Return the path of the atlas of a scan."""
        return _path(self.image, case)

    def require_files(self, cases: Sequence[Case]) -> None:
        """Refuse scans without an atlas or its transform, all at once; InputError."""
        for field, template in (("atlas", self.image), ("atlas_transform", self.transform)):
            if not template:
                continue
            missing = [path for case in cases if not (path := _path(template, case)).is_file()]
            if missing:
                few = f"{len(missing)} of {count_noun(len(cases), 'scan')}"
                problem = f"is missing for {few}, such as {missing[0]}"
                advice = "Paths may contain {subject}, {session} and {scan}."
                raise InputError(problem, advice, about=field)

    def read(self, case: Case, grid: Scan) -> Parcellation:
        """Read the atlas of a scan, on the grid of the scan.

        Raises:
            InputError: the atlas or its transform cannot be used.
        """
        transform = read_matrix(_path(self.transform, case)) if self.transform else None
        numbers = read_atlas(self.image_of(case), grid, transform)
        present = [int(number) for number in np.unique(numbers) if number]
        if not present:
            problem = f"has no region in {grid.path.name}"
            advice = "Check that it is in the space of the scan, or give its transform."
            raise InputError(problem, advice, about=self.image_of(case))
        names = self.names
        if names is not None and not names.keys() & set(present):
            problem = f"has none of the numbers that names were given for, such as {min(names)}"
            raise InputError(problem, "Give the names of this atlas.", about=self.image_of(case))
        if names is None and _ASEG_WHITE_MATTER <= set(present) <= ASEG_NAMES.keys():
            names = ASEG_NAMES
        return Parcellation(ATLAS_SCHEME, numbers, _unique_names(present, names or {}))

    def inputs(self, case: Case) -> AtlasInput:
        """Say for the sidecar what the regions of a scan are from.

        Raises:
            OSError: a file cannot be read.
        """
        image = self.image_of(case)
        names = "" if self.names is None else repr(sorted(self.names.items()))
        transform = _path(self.transform, case).read_bytes() if self.transform else b""
        return AtlasInput(
            file=image.name,
            sha256=sha256_of_image(image),
            names_sha256=hashlib.sha256(names.encode()).hexdigest() if names else "",
            transform_sha256=hashlib.sha256(transform).hexdigest() if transform else "",
        )


def _unique_names(numbers: Sequence[int], names: Mapping[int, str]) -> dict[int, str]:
    """Name each number; a name that another one has too, or that means none, gets the number."""
    plain = [names.get(number, str(number)) for number in numbers]
    while len({*plain, NO_REGION}) <= len(plain):
        counts = Counter([*plain, NO_REGION])
        plain = [
            f"{name}-{number}" if counts[name] > 1 else name
            for number, name in zip(numbers, plain, strict=True)
        ]
    return dict(zip(numbers, plain, strict=True))


def _path(template: str, case: Case) -> Path:
    scan = bids_entities(case.relative)
    values = {
        "{subject}": subject_of_scan(case.relative),
        "{session}": session_from_name(case.relative.as_posix()),
        "{scan}": scan,
    }
    for placeholder, value in values.items():
        if placeholder in template and not value:
            problem = (
                f"needs the {placeholder[1:-1]}, which the names of {case.relative} do not say"
            )
            raise InputError(problem, "Use another placeholder.", about="atlas")
        template = template.replace(placeholder, value)
    return Path(template)
