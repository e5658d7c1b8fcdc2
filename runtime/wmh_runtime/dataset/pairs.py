"""Pairs of images of one visit: which T1 belongs to which FLAIR, by their names.

Two images may be a pair if they are of one folder, where folders such as `FLAIR` and `T1` do not
count, and if no entity of BIDS that both have (`sub`, `ses`, `run`) differs, nor the space that
they are in. Of several T1, the first of these rules decides that tells them apart:

    1. without contrast agent
    2. registered to the FLAIR, such as `T1_to_FLAIR`
    3. the most words in common with the FLAIR, such as `acq-3D` or a number of the subject
    4. the fewest words more, such as `brain`

If none does, they are ambiguous. If the names have words that differ, and there are several images
of a contrast in the folder, they may be of several people: then they are no pair.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset.contrast import contrast_of_folder
from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.dataset.name_words import without_target, words_of
from wmh_runtime.dataset.vocabulary import AGENT, contrast_of_word, is_flair
from wmh_runtime.errors import InputError

_ENTITY = re.compile(r"(?<![a-z0-9])(sub|ses|run|space)-([a-z0-9]+)")
_NATIVE_SPACES = ("flair", "orig")
_AGENT_WORD = re.compile(r"t1\w*(?:ce|gd|gad|km)|ce\d*")


@dataclass(frozen=True)
class _Image:
    """What the name of an image says of its visit."""

    path: Path
    folder: tuple[str, ...]
    entities: dict[str, str]
    words: frozenset[str]  # besides the contrast
    has_agent: bool
    is_registered: bool  # to FLAIR

    @classmethod
    def of(cls, path: Path) -> _Image:
        stem = image_stem(path).lower()
        entities = dict(_ENTITY.findall(stem))
        if entities.get("space") in _NATIVE_SPACES:
            del entities["space"]
        all_words = words_of(stem)
        words = without_target(all_words)
        agents = [word for word in words if contrast_of_word(word) == AGENT]
        return cls(
            path,
            tuple(name for name in path.parts[:-1] if not contrast_of_folder(name.lower())),
            entities,
            frozenset(word for word in words if not contrast_of_word(word)),
            bool(agents) or any(map(_AGENT_WORD.fullmatch, words)),
            any(map(is_flair, all_words)) and not any(map(is_flair, words)),
        )

    def may_belong_to(self, scan: _Image) -> bool:
        """Return whether nothing in the names speaks against a pair."""
        both = self.entities.keys() & scan.entities.keys()
        is_same_space = self.entities.get("space") == scan.entities.get("space")
        return (
            self.folder == scan.folder
            and all(self.entities[key] == scan.entities[key] for key in both)
            and is_same_space
        )

    def rank_for(self, scan: _Image) -> tuple[bool, bool, int, int]:
        """Return how well this image fits to a scan; the lowest is the best."""
        common = self.words & scan.words
        further = self.words - scan.words
        return self.has_agent, not self.is_registered, -len(common), len(further)


def find_pairs(scans: Iterable[Path], others: Iterable[Path]) -> dict[Path, Path]:
    """Find the image of another contrast that belongs to each scan.

    Args:
        scans: of one contrast, such as FLAIR; relative to one folder.
        others: of another one, such as T1; relative to the same folder.

    Returns:
        Scan → other image. Scans without one are left out.

    Raises:
        InputError: two images fit equally well to a scan, or one image to two scans of different
            visits.
    """
    described = [_Image.of(path) for path in scans]
    by_folder: defaultdict[tuple[str, ...], list[_Image]] = defaultdict(list)
    for path in others:
        image = _Image.of(path)
        by_folder[image.folder].append(image)
    in_folder: defaultdict[tuple[str, ...], list[_Image]] = defaultdict(list)
    for scan in described:
        in_folder[scan.folder].append(scan)
    pairs: dict[Path, Path] = {}
    for folder, its_scans in in_folder.items():
        for scan in its_scans:
            fitting = [image for image in by_folder[folder] if image.may_belong_to(scan)]
            if len(its_scans) > 1:
                fitting = [image for image in fitting if _same_visit(image, scan)]
            if fitting:
                pairs[scan.path] = _best(fitting, scan).path
    return pairs


def _same_visit(image: _Image, scan: _Image) -> bool:
    """Return whether two names of a folder with several scans say that they are one visit.

    With `sub-`, the entities do. Otherwise all words of the scan must be in the name of the image:
    `P1_FLAIR` and `P1_T1_brain`, but not `P2_T1`.
    """
    if "sub" in scan.entities and "sub" in image.entities:
        return True
    return scan.words <= image.words


def _best(fitting: Sequence[_Image], scan: _Image) -> _Image:
    first, *others = sorted(fitting, key=lambda image: (image.rank_for(scan), image.path))
    if others and others[0].rank_for(scan) == first.rank_for(scan):
        problem = f"may belong to {first.path.name} or to {others[0].path.name}"
        advice = "Give a pattern that matches the right one, or list the pairs in a table."
        raise InputError(problem, advice, about=scan.path)
    return first
