"""File names of BIDS and its derivatives. All names of scans and results are defined here.

For the scan `sub-1_FLAIR.nii.gz` and the output `wmh`:

    sub-1_label-WMH_mask.nii.gz      lesion mask
    sub-1_label-WMH_mask.json        its sidecar
    sub-1_label-WMH_probseg.nii.gz   probability map
    sub-1_label-WMH_qc.png           quality-control image
    sub-1_label-WMH_viewer.html      scan and mask in a page, to look at in a browser
    sub-1_label-WMH_slices.json      a few slices in layers, for the report
    sub-1_label-WMH_regions.tsv      lesions by region
    sub-1_label-WMH_seg.dcm          DICOM segmentation; also _probseg.dcm, the report _sr.dcm, and
                                     the picture _sc.dcm
    sub-1_space-orig_desc-lesions_dseg.nii.gz   each lesion with its number, and a table of them
    sub-1_space-orig_seg-brain_dseg.nii.gz   regions of the brain, with a table of their numbers
    sub-1_space-orig_seg-atlas_dseg.nii.gz   the user's own atlas on the grid of the scan, likewise
    sub-1_space-orig_seg-change_dseg.nii.gz  how lesions changed since the earlier visit, likewise
    derivatives/reference/           reference masks of annotated scans, under the same names
    derivatives/manual/              corrected masks, under the same names, to use instead
    participants.tsv                 subjects and their sites

For the subject `sub-1`, of whom several visits are compared, up to `ses-2`, in `longitudinal/`:

    sub-1_change.tsv                 one row for each lesion and interval
    sub-1_change.json                volumes, classes, registration, warnings
    sub-1_change.svg                 course of the volume
    sub-1_ses-2_change.png           slices of this visit and the earlier one side by side
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from wmh_runtime.dataset.image_formats import image_stem, is_image

DERIVATIVES = "derivatives"
REFERENCES = Path(DERIVATIVES) / "reference"
MANUAL = Path(DERIVATIVES) / "manual"
DESCRIPTION_NAME = "dataset_description.json"
PARTICIPANTS_NAME = "participants.tsv"
SIDECAR_SUFFIX = "_mask.json"
SLICES_SUFFIX = "_slices.json"

_IMAGE_SUFFIX = {"flair": "FLAIR", "t1": "T1w"}
_SEGMENTATION = "{}_space-orig_seg-{}_dseg.nii.gz"
_LESIONS = "{}_space-orig_desc-{}_dseg.nii.gz"
_MAIN_OUTPUT = "wmh"
_MASK = re.compile(r"._label-([a-z][a-z0-9]*)_mask$", re.IGNORECASE)
_SCAN_SUFFIX = re.compile(r"_(?:FLAIR|T1w)$", re.IGNORECASE)
_USABLE = re.compile(r"\w[\w.+-]*")  # no slash, no space, no hidden file
LONGITUDINAL = Path("longitudinal")  # folder of the files of subjects, in a folder of results
CHANGE_RECORD_SUFFIX = "_change.json"
CHANGE_SCHEME = "change"


def read_dataset_name(folder: Path) -> str | None:
    """Return the name of a data set from its description; None if there is none."""
    try:
        return str(json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))["Name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def bids_entities(path: Path) -> str:
    """Return the first part of the names of results: the scan's stem without its suffix."""
    return _SCAN_SUFFIX.sub("", image_stem(path))


def entities_of_channel(path: Path, channel: str) -> str | None:
    """Return the entities in the name of a channel's scan; None if it is not such a name."""
    suffix = f"_{_IMAGE_SUFFIX.get(channel, channel)}"
    stem = image_stem(path)
    return stem.removesuffix(suffix) if is_image(path) and stem.endswith(suffix) else None


def split_entities(name: str) -> frozenset[str]:
    """Split a name into its entities: `sub-1_ses-2` into `sub-1` and `ses-2`, without order."""
    return frozenset(name.split("_"))


def is_mask_of(path: Path, output: str) -> bool:
    """Return whether a name is that of a mask of an output; further entities are allowed."""
    *entities, suffix = image_stem(path).split("_")
    return is_image(path) and suffix == "mask" and _label(output) in entities


def output_of_mask(path: Path) -> str | None:
    """Return the output, such as `wmh`, in the name of a mask; None if it is not such a name."""
    match = _MASK.search(image_stem(path)) if is_image(path) else None
    return match[1].lower() if match else None


def scan_name(entities: str, channel: str) -> str:
    """Return the name of the scan of a channel, such as `flair` or `t1`."""
    return f"{entities}_{_IMAGE_SUFFIX.get(channel, channel)}.nii.gz"


def mask_name(entities: str, output: str) -> str:
    """Return the name of the mask of an output, such as `wmh`."""
    return f"{entities}_{_label(output)}_mask.nii.gz"


def sidecar_name(entities: str, output: str) -> str:
    """Return the name of the sidecar of a mask."""
    return f"{entities}_{_label(output)}{SIDECAR_SUFFIX}"


def entities_of_sidecar(path: Path) -> Path:
    """Return the path of a sidecar without what comes after the entities of the scan."""
    return path.with_name(path.name.removesuffix(SIDECAR_SUFFIX).rpartition("_label-")[0])


def probability_name(entities: str, output: str) -> str:
    """Return the name of the probability map of an output."""
    return f"{entities}_{_label(output)}_probseg.nii.gz"


def qc_image_name(entities: str, output: str) -> str:
    """Return the name of the quality-control image of an output."""
    return f"{entities}_{_label(output)}_qc.png"


def slices_name(entities: str, output: str) -> str:
    """Return the name of the file with pictures of a few slices, in layers."""
    return f"{entities}_{_label(output)}{SLICES_SUFFIX}"


def viewer_name(entities: str, output: str) -> str:
    """Return the name of the page that shows scan and mask in three dimensions."""
    return f"{entities}_{_label(output)}_viewer.html"


def dicom_name(entities: str, output: str, kind: str) -> str:
    """Return the name of a DICOM result of a kind: `seg`, `probseg`, `sr` or `sc`."""
    return f"{entities}_{_label(output)}_{kind}.dcm"


def region_table_name(entities: str, output: str) -> str:
    """Return the name of the table of lesions by region."""
    return f"{entities}_{_label(output)}_regions.tsv"


def segmentation_name(entities: str, scheme: str) -> str:
    """Return the name of a segmentation of the brain, such as that of the scheme `brain`."""
    return _SEGMENTATION.format(entities, scheme)


def lesions_name(entities: str, output: str) -> str:
    """Return the name of the image in which each lesion has its number."""
    prefix = "" if output == _MAIN_OUTPUT else output
    return _LESIONS.format(entities, f"{prefix}lesions")


def is_usable(name: str) -> bool:
    """Return whether a subject or a visit can be part of a file name."""
    return _USABLE.fullmatch(name) is not None


def change_table_name(subject: str) -> str:
    """Return the name of the table of a subject's lesions over time."""
    return f"{subject}_change.tsv"


def change_record_name(subject: str) -> str:
    """Return the name of the JSON file of a subject's change."""
    return f"{subject}{CHANGE_RECORD_SUFFIX}"


def course_name(subject: str) -> str:
    """Return the name of the plot of a subject's volumes."""
    return f"{subject}_change.svg"


def change_picture_name(subject: str, later: str) -> str:
    """Return the name of the picture of an interval, by its later visit."""
    return f"{subject}_{session_of_label(later)}_change.png"


def session_of_label(label: str) -> str:
    """Return the session of a visit: `ses-2` for both `2` and `ses-2`."""
    return label if label.startswith("ses-") else f"ses-{label}"


def table_of_image(image: Path) -> Path:
    """Return the table that says what the numbers of an image are."""
    return image.with_name(f"{image_stem(image)}.tsv")


def sidecar_of(file: Path) -> Path:
    """Return the JSON file that describes an image or a table."""
    stem = image_stem(file) if is_image(file) else file.stem
    return file.with_name(f"{stem}.json")


def _label(output: str) -> str:
    return f"label-{output.upper()}"
