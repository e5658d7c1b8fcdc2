"""File names of BIDS and its derivatives. All names of scans and results are defined here.

For the scan `sub-1_FLAIR.nii.gz` and the output `wmh`:

    sub-1_label-WMH_mask.nii.gz      lesion mask
    sub-1_label-WMH_mask.json        its sidecar
    sub-1_label-WMH_probseg.nii.gz   probability map
    sub-1_label-WMH_qc.png           quality-control image
    derivatives/reference/           reference masks of annotated scans, under the same names
    participants.tsv                 subjects and their sites
"""

from __future__ import annotations

import re
from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
DERIVATIVES = "derivatives"
REFERENCES = Path(DERIVATIVES) / "reference"
DESCRIPTION_NAME = "dataset_description.json"
PARTICIPANTS_NAME = "participants.tsv"
SIDECAR_SUFFIX = "_mask.json"

_IMAGE_SUFFIX = {"flair": "FLAIR", "t1": "T1w"}
_FLAIR_SUFFIX = re.compile(r"_FLAIR$", re.IGNORECASE)
_MASK = re.compile(r"_(mask|probseg|dseg|seg)$", re.IGNORECASE)
_OTHER_CONTRAST = re.compile(r"(?<![a-z0-9])(t1|t1w|t2|t2w|pd|pdw|dwi|adc|swi|bold)(?![a-z0-9])")


def is_nifti(path: Path) -> bool:
    """Return whether a file name is that of a NIfTI file."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def nifti_stem(path: Path) -> str:
    """Return a NIfTI file's name without `.nii` or `.nii.gz`."""
    for suffix in NIFTI_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def bids_entities(path: Path) -> str:
    """Return the first part of the names of results: the scan's stem without `_FLAIR`."""
    return _FLAIR_SUFFIX.sub("", nifti_stem(path))


def entities_of_channel(path: Path, channel: str) -> str | None:
    """Return the entities in the name of a channel's scan; None if it is not such a name."""
    suffix = f"_{_IMAGE_SUFFIX.get(channel, channel)}"
    stem = nifti_stem(path)
    return stem.removesuffix(suffix) if is_nifti(path) and stem.endswith(suffix) else None


def split_entities(name: str) -> frozenset[str]:
    """Split a name into its entities: `sub-1_ses-2` into `sub-1` and `ses-2`, without order."""
    return frozenset(name.split("_"))


def is_mask_of(path: Path, output: str) -> bool:
    """Return whether a name is that of a mask of an output; further entities are allowed."""
    *entities, suffix = nifti_stem(path).split("_")
    return is_nifti(path) and suffix == "mask" and _label(output) in entities


def is_mask(path: Path) -> bool:
    """Return whether a name is that of a mask or a probability map, written by any program."""
    return _MASK.search(nifti_stem(path)) is not None


def mentions_flair(relative: Path) -> bool:
    """Return whether the file name, or a folder name in the relative path, contains FLAIR."""
    return "flair" in relative.as_posix().lower()


def mentions_other_contrast(path: Path) -> bool:
    """Return whether a file name contains another contrast, such as T1, and not FLAIR."""
    name = nifti_stem(path).lower()
    return "flair" not in name and _OTHER_CONTRAST.search(name) is not None


def scan_name(entities: str, channel: str) -> str:
    """Return the name of the scan of a channel, such as `flair` or `t1`."""
    return f"{entities}_{_IMAGE_SUFFIX.get(channel, channel)}.nii.gz"


def mask_name(entities: str, output: str) -> str:
    """Return the name of the mask of an output, such as `wmh`."""
    return f"{entities}_{_label(output)}_mask.nii.gz"


def sidecar_name(entities: str, output: str) -> str:
    """Return the name of the sidecar of a mask."""
    return f"{entities}_{_label(output)}{SIDECAR_SUFFIX}"


def probability_name(entities: str, output: str) -> str:
    """Return the name of the probability map of an output."""
    return f"{entities}_{_label(output)}_probseg.nii.gz"


def qc_image_name(entities: str, output: str) -> str:
    """Return the name of the quality-control image of an output."""
    return f"{entities}_{_label(output)}_qc.png"


def _label(output: str) -> str:
    return f"label-{output.upper()}"
