"""Subject and site of a scan, from file names, folders and `participants.tsv`.

Scans with the same subject name are of the same person, even if they are from several sites. If
two sites use the same subject numbers, the column `subject` of a table must tell them apart:
otherwise confidence intervals become too wide. The opposite error, one person with two subject
names, is worse: scans of that person can be in training and in test data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from wmh_runtime.dataset.bids import PARTICIPANTS_NAME, bids_entities
from wmh_runtime.dataset.challenge import SCAN_FOLDERS
from wmh_runtime.dataset.names.pairs import ImageName
from wmh_runtime.files.tables import MISSING_CELLS, read_table

_SUBJECT = re.compile(r"(?:^|[/_])[mrwsu]{0,4}(sub-[A-Za-z0-9]+)")  # also of SPM: rsub-1
_SESSION = re.compile(r"(?:^|[/_])(ses-[A-Za-z0-9]+)")
_RUN = re.compile(r"(?:^|[/_])(run-[A-Za-z0-9]+)")
_NOT_SUBJECTS = (*SCAN_FOLDERS, "anat")  # folders of a subject


def subject_from_name(name: str) -> str:
    """Return the subject in a scan's name: `sub-1` for `sub-1_ses-2`, `P1` for `P1_ses-2`.

    A name with neither `sub-` nor `_ses-` is the subject itself.
    """
    match = _SUBJECT.search(name)
    return match.group(1) if match else name.partition("_ses-")[0]


def subject_of_scan(relative: Path) -> str:
    """Return the subject of a scan, from its name and its folders.

    A name that says the contrast only, such as `FLAIR.nii.gz`, is in the folder of its subject.

    Args:
        relative: path of the scan, relative to the folder that is searched.
    """
    stem, folders = bids_entities(relative), relative.parent.as_posix()
    if found := _SUBJECT.search(stem) or _SUBJECT.search(folders):
        return found.group(1)
    name = ImageName.of(relative)
    own = [folder for folder in name.folder if folder not in _NOT_SUBJECTS]
    return own[-1] if own and not name.visit else subject_from_name(stem)


def session_from_name(name: str) -> str:
    """Return the session in a scan's name, such as `ses-2`; empty if there is none."""
    match = _SESSION.search(name)
    return match.group(1) if match else ""


def run_from_name(name: str) -> str:
    """Return the run in a scan's name, such as `run-2`; empty if there is none."""
    match = _RUN.search(name)
    return match.group(1) if match else ""


def read_sites(folders: Iterable[Path]) -> dict[str, str]:
    """Read the site of each participant from `participants.tsv`.

    The table has the columns `participant_id` and `site`. A participant may be named `01` there,
    and `sub-01` in the names of files.

    Args:
        folders: searched in this order; the first table found is used.

    Returns:
        Participant → site, also with `sub-` before the participant, without participants of
        unknown site. Empty if there is no table.

    Raises:
        InputError: the table cannot be read.
    """
    for folder in folders:
        table = folder / PARTICIPANTS_NAME
        if table.is_file():
            sites = {
                row["participant_id"]: row["site"]
                for row in read_table(table)
                if row.get("participant_id") and row.get("site", "") not in MISSING_CELLS
            }
            return {f"sub-{subject}": site for subject, site in sites.items()} | sites
    return {}
