"""Names of files, as BIDS and its derivatives have them. Every name this project gives is here.

For the scan `sub-1_FLAIR.nii.gz` and the output `wmh`:

    sub-1_label-WMH_mask.nii.gz      lesion mask
    sub-1_label-WMH_mask.json        its record
    sub-1_label-WMH_probseg.nii.gz   probability map
    sub-1_label-WMH_qc.png           quality-control picture
    derivatives/reference/           reference masks of annotated scans, under the same names
    participants.tsv                 who was scanned, and at which site
"""

from __future__ import annotations

import re
from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
DERIVATIVES = "derivatives"
REFERENCES = Path(DERIVATIVES) / "reference"
DESCRIPTION_NAME = "dataset_description.json"
PARTICIPANTS_NAME = "participants.tsv"
RECORD_SUFFIX = "_mask.json"

_IMAGE_SUFFIX = {"flair": "FLAIR", "t1": "T1w"}
_FLAIR_SUFFIX = re.compile(r"_FLAIR$", re.IGNORECASE)
_MASK = re.compile(r"_(mask|probseg|dseg|seg)$", re.IGNORECASE)
_OTHER_CONTRAST = re.compile(r"(?<![a-z0-9])(t1|t1w|t2|t2w|pd|pdw|dwi|adc|swi|bold)(?![a-z0-9])")


def is_nifti(path: Path) -> bool:
    """Say whether a name is that of a NIfTI file."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def nifti_stem(path: Path) -> str:
    """Return a NIfTI file's name without `.nii` or `.nii.gz`."""
    for suffix in NIFTI_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def bids_entities(path: Path) -> str:
    """Return what names of results begin with: a scan's stem without `_FLAIR`."""
    return _FLAIR_SUFFIX.sub("", nifti_stem(path))


def entities_of_channel(path: Path, channel: str) -> str | None:
    """Return what the name of a channel's scan begins with; None where it is no such name."""
    ending = f"_{_IMAGE_SUFFIX.get(channel, channel)}"
    stem = nifti_stem(path)
    return stem.removesuffix(ending) if is_nifti(path) and stem.endswith(ending) else None


def split_entities(name: str) -> frozenset[str]:
    """Take a name apart: `sub-1_ses-2` is `sub-1` and `ses-2`, in any order."""
    return frozenset(name.split("_"))


def is_mask_of(path: Path, output: str) -> bool:
    """Say whether a name is that of a mask of an output, whatever else it says."""
    *entities, suffix = nifti_stem(path).split("_")
    return is_nifti(path) and suffix == "mask" and _label(output) in entities


def is_mask(path: Path) -> bool:
    """Say whether a name is that of a mask or a probability map, ours or anybody's."""
    return _MASK.search(nifti_stem(path)) is not None


def mentions_flair(relative: Path) -> bool:
    """Say whether a name, or that of a folder on the way to it, mentions FLAIR."""
    return "flair" in relative.as_posix().lower()


def mentions_other_contrast(path: Path) -> bool:
    """Say whether a file's name mentions another contrast, T1 for instance, and not FLAIR."""
    name = nifti_stem(path).lower()
    return "flair" not in name and _OTHER_CONTRAST.search(name) is not None


def scan_name(entities: str, channel: str) -> str:
    """Name the scan of a channel, `flair` or `t1` for instance."""
    return f"{entities}_{_IMAGE_SUFFIX.get(channel, channel)}.nii.gz"


def mask_name(entities: str, output: str) -> str:
    """Name the mask of an output, `wmh` for instance."""
    return f"{entities}_{_label(output)}_mask.nii.gz"


def record_name(entities: str, output: str) -> str:
    """Name the record beside a mask."""
    return f"{entities}_{_label(output)}{RECORD_SUFFIX}"


def probability_name(entities: str, output: str) -> str:
    """Name the probability map of an output."""
    return f"{entities}_{_label(output)}_probseg.nii.gz"


def picture_name(entities: str, output: str) -> str:
    """Name the quality-control picture of an output."""
    return f"{entities}_{_label(output)}_qc.png"


def _label(output: str) -> str:
    return f"label-{output.upper()}"
