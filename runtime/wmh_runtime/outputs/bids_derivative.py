"""Make an output folder a BIDS derivative data set: its description, and the files BIDS ignores.

See bids-specification.readthedocs.io, "Derivatives".
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from wmh_runtime.dataset.bids import DESCRIPTION_NAME
from wmh_runtime.dataset.bids_dataset import IGNORE_NAME, BidsDataset, read_ignored
from wmh_runtime.dataset.case import INPUT_NAME
from wmh_runtime.files.atomic import write_json_atomically, write_text_atomically
from wmh_runtime.files.reading import read_json_object
from wmh_runtime.text import INTENDED_USE

_BIDS_VERSION = "1.10.0"
_PROGRAM = "wmh-lora"
README_NAME = "README.md"
# What BIDS has no names for: pictures, tables by region, and what is of the whole folder.
_NOT_OF_BIDS = (
    *(
        "*_qc.png",
        "*_slices.json",
        "*_viewer.html",
        "*_change.*",
        "*_regions.tsv",
        "*_regions.json",
    ),
    *(
        "/volumes.*",
        "/regions.*",
        "/changes.*",
        "/longitudinal",
        "/failures.*",
        "/skipped.*",
        "/errors.log",
    ),
    *("/report.html", "/report-*.html", "/reviews.tsv"),
)
_README = """\
# White matter hyperintensities

Results of wmh-lora {version} for the data set "{name}". For each scan:

| file | content |
|---|---|
| `*_label-WMH_mask.nii.gz`, `.json` | lesion mask on the grid of the scan; volume, lesions, warnings and settings |
| `*_label-WMH_qc.png` | slices with the lesions outlined: look at it before you use a volume |
| `*_space-orig_desc-lesions_dseg.nii.gz`, `.tsv` | each lesion with a number, and a table of the lesions |
| `*_space-orig_seg-*_dseg.nii.gz`, `.tsv` | regions, if they were asked for |
| `*_label-WMH_probseg.nii.gz` | probability of lesion, if it was asked for |
| `volumes.csv`, `volumes.json` | one row for each scan, and what the columns mean |

{intended_use}
"""  # noqa: E501 - rows of a table of Markdown


def write_description(out: Path, dataset: BidsDataset, link: str = "") -> str:
    """Write `dataset_description.json`, `.bidsignore` and a README; keep what users added.

    Args:
        out: output folder.
        dataset: that was segmented.
        link: URI of the data set; empty: as seen from the output folder.

    Returns:
        A warning if the folder is described by another program; else an empty text.

    Raises:
        InputError: a file cannot be written.
    """
    description = out / DESCRIPTION_NAME
    before = read_json_object(description) or {}  # with what the user added, such as authors
    links, programs = before.get("DatasetLinks"), before.get("GeneratedBy")
    programs = programs if isinstance(programs, list) else []
    if description.exists() and not any(map(_is_this_program, programs)):
        return (
            f"{DESCRIPTION_NAME} is of another program and is kept: the results in this folder"
            " are no BIDS derivative of their own"
        )
    content = before | {
        "Name": f"White matter hyperintensities of {dataset.name}",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": _PROGRAM, "Version": version(_PROGRAM)},
            *(one for one in programs if not _is_this_program(one)),
        ],
        "DatasetLinks": (links if isinstance(links, dict) else {})
        | {INPUT_NAME: link or _link(dataset.root, out)},
    }
    write_json_atomically(description, content)
    _add_ignored(out / IGNORE_NAME)
    if not (out / README_NAME).exists():
        readme = _README.format(
            version=version(_PROGRAM), name=dataset.name, intended_use=INTENDED_USE
        )
        write_text_atomically(out / README_NAME, readme)
    return ""


def _add_ignored(path: Path) -> None:
    """Add what BIDS has no names for to the ignored files; keep the lines of the user."""
    lines = read_ignored(path)
    if missing := [pattern for pattern in _NOT_OF_BIDS if pattern not in lines]:
        write_text_atomically(path, "\n".join([*lines, *missing]) + "\n")


def _is_this_program(program: object) -> bool:
    return isinstance(program, dict) and program.get("Name") == _PROGRAM


def _link(root: Path, out: Path) -> str:
    """Return the data set as seen from the output folder, so that both can be moved together.

    It is a URI, so odd characters are percent-encoded.
    """
    try:
        return quote(Path(os.path.relpath(root.resolve(), out.resolve())).as_posix())
    except ValueError:  # another drive of Windows
        return root.resolve().as_uri()
