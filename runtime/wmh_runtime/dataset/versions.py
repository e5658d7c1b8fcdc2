"""Versions of one scan: the scan as acquired, and images that programs made from it.

`FLAIR_brain`, `rFLAIR` and `FLAIR_to_T1` beside `FLAIR` are versions of it, and so is the
bias-corrected scan of the WMH challenge. Each subject has one result for one scan.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset import challenge
from wmh_runtime.dataset.contrast import REGISTRATION_TARGET, words_of
from wmh_runtime.dataset.image_formats import image_stem

_PROCESSING = re.compile(
    r"brain|bet|stripped|skull|skullstrip(?:ped)?|noskull|masked|defaced?|cropped|crop"
    r"|reg|registered|coreg(?:istered)?|resampled|resliced|rigid|affine|warped|aligned|mni\d*"
    r"|std|standard|norm|normali[sz]ed|zscore|n[34]|n4itk|bias|corr|corrected|biascorr(?:ected)?|bfc"
    r"|restored?|unbiased|denoised|smoothed|reoriented|reorient|ror|preproc|preprocessed|pp"
    r"|nd|dis[23]d|orig|raw|copy|prenorm"
)
_PROCESSING_ENTITIES = re.compile(r"(?<![a-z0-9])(?:space|desc|res)-[a-z0-9+]+")
_PREFIX_OF_SCAN = re.compile(r"[mrwsu]{1,4}(?=(?:3d)?(?:t2)?flair)")  # of SPM: rFLAIR, wmT2FLAIR
_PREFIX_OF_FILE = re.compile(r"[mrwsu]{1,4}(?=[a-z][a-z0-9]{2})")  # of SPM: rsub-1_FLAIR
_VOXEL_SIZE = re.compile(r"\d+mm")  # of a processed image, if it is one: FLAIR_MNI_1mm
_CODES = ("n3", "n4", "nd", "pp", "std", "corr", "raw")  # as the first word, these name a subject


@dataclass(frozen=True)
class _Version:
    path: Path
    scan: tuple[Path, str]  # the folder, and what is left of the stem
    steps: int  # of processing, that the name tells


def find_processed_versions(paths: Iterable[Path]) -> dict[Path, Path]:
    """Find the images that are processed versions of another one.

    If a scan has only processed versions, the one with the fewest steps takes its place.

    Args:
        paths: images of one contrast, in one or several folders.

    Returns:
        Each processed version → the scan that takes its place.
    """
    versions = [_version(path) for path in paths]
    scans = {version.scan for version in versions}
    groups: defaultdict[tuple[Path, str], list[_Version]] = defaultdict(list)
    for version in versions:
        groups[_scan_of_prefixed(version.scan, scans)].append(version)
    replaced: dict[Path, Path] = {}
    for scan, group in groups.items():
        steps = {v.path: v.steps + (v.scan != scan) for v in group}
        first = min(steps, key=lambda path: (steps[path], len(path.name), path))
        replaced |= {path: first for path in steps if path != first and steps[path]}
    return replaced


def _version(path: Path) -> _Version:
    stem, folder, steps = image_stem(path), path.parent, 0
    if stem == challenge.SCAN_STEM and folder.name in challenge.SCAN_FOLDERS:
        steps = challenge.SCAN_FOLDERS.index(folder.name)
        folder = challenge.subject_folder(folder)
    for pattern in (REGISTRATION_TARGET, _PROCESSING_ENTITIES):
        stem, count = pattern.subn("", stem.lower())
        steps += count
    words = words_of(stem)
    left = [word for i, word in enumerate(words) if not _is_step(word, is_first=i == 0)]
    kept = [_PREFIX_OF_SCAN.sub("", word) for word in left]
    steps += len(words) - len(kept) + (kept != left)
    if steps:
        kept = [word for word in kept if not _VOXEL_SIZE.fullmatch(word)]
    return _Version(path, (folder, " ".join(kept)), steps)


def _is_step(word: str, *, is_first: bool) -> bool:
    """Return whether a word of a name is a step of processing."""
    return bool(_PROCESSING.fullmatch(word)) and not (is_first and word in _CODES)


def _scan_of_prefixed(scan: tuple[Path, str], scans: set[tuple[Path, str]]) -> tuple[Path, str]:
    """Return the scan whose name follows the prefix that SPM puts before it, if it is there."""
    folder, name = scan
    longest = _PREFIX_OF_FILE.match(name)
    for length in range(1, longest.end() + 1 if longest else 0):
        if (folder, name[length:]) in scans:
            return folder, name[length:]
    return scan
