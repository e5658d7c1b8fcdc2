"""Versions of one scan: the scan as acquired, and images that programs made from it.

`FLAIR_brain`, `rFLAIR` and `FLAIR_to_T1` beside `FLAIR` are versions of it, and so is the
bias-corrected scan of the WMH challenge. Each subject has one result for one scan.

Before the word for FLAIR, a name tells the subject: `N4_FLAIR` and `PP_FLAIR` may be two people.
There, a word for a step of processing does not count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset import challenge
from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.dataset.names.vocabulary import is_flair
from wmh_runtime.dataset.names.words import without_target, words_of

_PROCESSING = re.compile(
    r"brain|bet|stripped|skull|skullstrip(?:ped)?|noskull|masked|defaced?|cropped|crop"
    r"|reg|registered|coreg(?:istered)?|resampled|resliced|rigid|affine|warped|aligned"
    r"|mni(?:152)?"
    r"|std|standard|norm|normali[sz]ed|zscore|n[34]|n4itk|bias|corr|corrected|biascorr(?:ected)?|bfc"
    r"|restored?|unbiased|denoised|smoothed|reoriented|reorient|ror|preproc|preprocessed|pp"
    r"|nd|dis[23]d|orig|raw|copy|prenorm"
)
_ENTITIES_OF_BIDS = re.compile(r"(?<=_)(?:space|desc|res)-[a-z0-9+]+")
_ENTITIES_OF_SCAN = re.compile(r"(?<=flair_)(?:space|desc)-[a-z0-9+]+")  # FLAIR_space-T1w
_PREFIX_OF_SCAN = re.compile(r"[mrwsu]{1,4}(?=(?:3d)?(?:t2)?flair)")  # of SPM: rFLAIR, wmT2FLAIR
_PREFIX_OF_FILE = re.compile(r"^[mrwsu]{1,4}(?=sub-)")  # of SPM: rsub-1_FLAIR
_VOXEL_SIZE = re.compile(r"\d+mm")  # of a processed image, if it is one: FLAIR_MNI_1mm


@dataclass(frozen=True)
class _Version:
    path: Path
    scan: tuple[Path, str]  # the folder, and what is left of the stem
    steps: int  # of processing, that the name tells


def is_processing_word(word: str) -> bool:
    """Return whether a word of a name, in lower case, stands for a step of processing."""
    return _PROCESSING.fullmatch(word) is not None


def find_processed_versions(paths: Iterable[Path]) -> dict[Path, Path]:
    """Find the images that are processed versions of another one.

    If a scan has only processed versions, the one with the fewest steps takes its place.

    Args:
        paths: images of one contrast, in one or several folders.

    Returns:
        Each processed version → the scan that takes its place.
    """
    groups: defaultdict[tuple[Path, str], list[_Version]] = defaultdict(list)
    for version in map(_version, paths):
        groups[version.scan].append(version)
    replaced: dict[Path, Path] = {}
    for group in groups.values():
        steps = {version.path: version.steps for version in group}
        first = min(steps, key=lambda path: (steps[path], len(path.name), path))
        replaced |= {path: first for path in steps if path != first and steps[path]}
    return replaced


def _version(path: Path) -> _Version:
    stem, folder, steps = image_stem(path), path.parent, 0
    if stem == challenge.SCAN_STEM and folder.name in challenge.SCAN_FOLDERS:
        steps = challenge.SCAN_FOLDERS.index(folder.name)
        folder = challenge.subject_folder(folder)
    stem, steps = _without_entities(stem.lower(), steps)
    all_words = words_of(stem)
    words = without_target(all_words)
    steps += words != all_words
    before, after = _split_at_flair(words)
    kept = [_PREFIX_OF_SCAN.sub("", word) for word in before]
    steps += kept != before
    kept += [word for word in after if not _PROCESSING.fullmatch(word)]
    steps += len(words) - len(kept)
    if steps:
        kept = [word for word in kept if not _VOXEL_SIZE.fullmatch(word)]
    return _Version(path, (folder, " ".join(kept)), steps)


def _without_entities(stem: str, steps: int) -> tuple[str, int]:
    """Return the stem without what names a version of a file, and the steps with these."""
    is_bids = _PREFIX_OF_FILE.sub("", stem, count=1).startswith("sub-")
    entities = _ENTITIES_OF_BIDS if is_bids else _ENTITIES_OF_SCAN
    for pattern in (_PREFIX_OF_FILE, entities):
        stem, count = pattern.subn("", stem)
        steps += count
    return stem, steps


def _split_at_flair(words: list[str]) -> tuple[list[str], list[str]]:
    """Split words after the first one for FLAIR; without one, the second part is empty."""
    first = next((i for i, word in enumerate(words) if is_flair(word)), len(words))
    return words[: first + 1], words[first + 1 :]
