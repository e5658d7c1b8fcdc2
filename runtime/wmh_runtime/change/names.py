"""Names of the files that a comparison of visits writes.

For the subject `sub-1` with the visits `ses-1` and `ses-2`:

    sub-1_change.tsv                           one row for each lesion and interval
    sub-1_change.json                          volumes, classes, registration, warnings
    sub-1_change.svg                           course of the volume
    sub-1_ses-2_change.png                     slices of both visits side by side
    sub-1_ses-2_space-orig_seg-change_dseg.nii.gz   classes on the grid of the later scan, with a
                                               table of their numbers
"""

from __future__ import annotations

import re

from wmh_runtime.dataset.bids import segmentation_name

_SCHEME = "change"
_USABLE = re.compile(r"\w[\w.+-]*")  # no slash, no space, no hidden file


def is_usable(name: str) -> bool:
    """Return whether a subject or a visit can be part of a file name."""
    return _USABLE.fullmatch(name) is not None


def change_table_name(subject: str) -> str:
    """Return the name of the table of lesions."""
    return f"{subject}_change.tsv"


def change_record_name(subject: str) -> str:
    """Return the name of the JSON file."""
    return f"{subject}_change.json"


def course_name(subject: str) -> str:
    """Return the name of the plot of the volume."""
    return f"{subject}_change.svg"


def change_picture_name(subject: str, later: str) -> str:
    """Return the name of the picture of an interval, by its later visit."""
    return f"{_entities(subject, later)}_change.png"


def class_map_name(subject: str, later: str) -> str:
    """Return the name of the label map of classes."""
    return segmentation_name(_entities(subject, later), _SCHEME)


def _entities(subject: str, visit: str) -> str:
    return f"{subject}_{visit}" if visit.startswith("ses-") else f"{subject}_ses-{visit}"
