"""The folder layout of the WMH segmentation challenge (MICCAI 2017).

[training/|test/][SITE/[SCANNER/]]SUBJECT/
    orig/FLAIR.nii.gz    the scan as acquired
    pre/FLAIR.nii.gz     the same scan, bias-corrected; on the same grid
    wmh.nii.gz           reference mask, on the grid of both
"""

from __future__ import annotations

from pathlib import Path

AS_ACQUIRED = "orig"
BIAS_CORRECTED = "pre"
SCAN_FOLDERS = (AS_ACQUIRED, BIAS_CORRECTED)
REFERENCE_STEM = "wmh"
SCAN_STEM = "FLAIR"

_SPLITS = ("training", "test")


def channel_stem(channel: str) -> str:
    """Return the stem of the scan of a channel, such as `flair` or `t1`."""
    return channel.upper()


def subject_folder(folder: Path) -> Path:
    """Return the folder of a subject, from the folder of one of its files."""
    return folder.parent if folder.name in SCAN_FOLDERS else folder


def site_from_folders(folders: Path) -> str:
    """Return the site: the names of the folders above a subject's folder, "" without any.

    A first folder `training` or `test` does not belong to the site.
    """
    parts = folders.parts
    return "/".join(parts[1:] if parts and parts[0] in _SPLITS else parts)
