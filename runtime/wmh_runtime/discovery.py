"""Which files of a folder are scans to segment, and which are passed over."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.atomic import is_partial
from wmh_runtime.errors import InputError

_SUFFIXES = (".nii.gz", ".nii")
_OUR_OUTPUT = re.compile(r"_label-[A-Za-z0-9]+_(mask|probseg)$")
_FLAIR = re.compile(r"flair", re.IGNORECASE)
_DERIVATIVES = "derivatives"  # BIDS: what was made from scans, reference masks for instance


@dataclass(frozen=True)
class Found:
    """A scan, and where it lies below the folder that was searched."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Discovery:
    """What a folder holds."""

    scans: tuple[Found, ...]  # in the order of their relative paths
    passed_over: dict[str, int]  # reason → how many NIfTI files


def stem_of(path: Path) -> str:
    """Return a NIfTI file's name without `.nii` or `.nii.gz`."""
    for suffix in _SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def discover(source: Path, exclude: Path) -> Discovery:
    """Find the scans of a folder and of the folders below it.

    Where some names say FLAIR, only those are taken. Never taken are our own outputs, hidden
    files, folders named `derivatives`, and what lies in `exclude`. A single file is taken as is.

    Args:
        source: a folder, or one file.
        exclude: the output folder, which may lie within the source.

    Raises:
        InputError: the source does not exist or holds no scan.
    """
    if source.is_file():
        return Discovery((Found(source, Path(source.name)),), {})
    if not source.is_dir():
        raise InputError(
            "does not exist", "Give a folder of NIfTI scans or one file.", about=source
        )
    excluded = exclude.resolve()
    candidates: list[Found] = []
    passed_over: Counter[str] = Counter()
    for path in sorted(source.rglob("*")):
        if not path.name.lower().endswith(_SUFFIXES) or is_partial(path):
            continue
        relative = path.relative_to(source)
        if path.resolve().is_relative_to(excluded) and excluded != source.resolve():
            continue
        reason = _reason_against(relative)
        if reason is None:
            candidates.append(Found(path, relative))
        else:
            passed_over[reason] += 1
    flairs = [found for found in candidates if _FLAIR.search(found.path.name)]
    if flairs and len(flairs) < len(candidates):
        passed_over["its name does not say FLAIR"] = len(candidates) - len(flairs)
    scans = flairs or candidates
    if not scans:
        told = "".join(f" ({count} passed over: {why})" for why, count in passed_over.items())
        raise InputError(
            f"holds no scan ending in .nii or .nii.gz{told}", "Check the folder.", about=source
        )
    return Discovery(tuple(scans), dict(passed_over))


def _reason_against(relative: Path) -> str | None:
    if any(part.startswith(".") for part in relative.parts):
        return "hidden"
    if _DERIVATIVES in relative.parts[:-1]:
        return "in a derivatives folder"
    if _OUR_OUTPUT.search(stem_of(relative)):
        return "an output of this program"
    return None
