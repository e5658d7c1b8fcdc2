"""Pairs of images of one visit: which T1 belongs to which FLAIR, by their names.

Two images may be a pair if they are in one folder, where folders such as `FLAIR` and `T1` do not
count, and if their names agree in order in everything that is neither a contrast, a variant of the
acquisition (`acq-`, `rec-`, `ce-`, `run-`), nor a step of processing: subject, session, dates,
numbers. `run-` must not differ where both have it, and the space that the images are in must not
either. If a folder has one image of each contrast only, one of the names may say nothing.

Of several T1, the first of these rules decides that tells them apart:

    1. without contrast agent
    2. registered to the FLAIR, such as `T1_to_FLAIR`
    3. the same variant of the acquisition, such as `acq-3D`
    4. the fewest further words, such as `brain`

If none does, they are ambiguous.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.dataset.names.contrast import contrast_of_folder
from wmh_runtime.dataset.names.versions import is_processing_word
from wmh_runtime.dataset.names.vocabulary import (
    AGENT,
    T1_WORD,
    WEIGHTING,
    contrast_of_word,
    is_flair,
)
from wmh_runtime.dataset.names.words import without_target, words_of
from wmh_runtime.errors import InputError

_VARIANT = re.compile(r"(?:acq|rec|ce|run|space|desc|res|part|echo|dir)-.+")
_RUN, _SPACE, _CONTRAST_AGENT = "run-", "space-", "ce-"
_NATIVE_SPACES = ("space-flair", "space-orig")
_AGENT_WORD = re.compile(r"t1\w*(?:ce|gd|gad|km)|ce\d*")
_TECHNICAL = re.compile(
    r"[23]d|iso|ax(?:ial)?|sag(?:ittal)?|cor(?:onal)?|tra(?:nsversal)?|space|spc|cube|vista|view"
    r"|tse|fse|tfe|se|ir|fs|fast|hr|wip"
)


@dataclass(frozen=True)
class ImageName:
    """What the name of an image says of its visit."""

    path: Path
    folder: tuple[str, ...]
    visit: tuple[str, ...]  # subject, session, numbers, in order
    variant: frozenset[str]  # of the acquisition
    run: str
    space: str
    further: int  # words for steps of processing
    has_agent: bool
    is_registered: bool  # to FLAIR

    @classmethod
    def of(cls, path: Path) -> ImageName:
        """Read the name of an image, relative to the folder that is searched."""
        stem = image_stem(path).lower()
        pairs = [token for token in stem.split("_") if _is_bids(stem) and _is_entity(token)]
        variant = {token for token in pairs if _VARIANT.fullmatch(token)} - {*_NATIVE_SPACES}
        entities = [token for token in pairs if not _VARIANT.fullmatch(token)]
        rest = words_of("_".join(token for token in stem.split("_") if token not in pairs))
        words = without_target(rest)
        others = _without_contrast(words)
        kept = [one for one in others if not (is_processing_word(one) or _TECHNICAL.fullmatch(one))]
        return cls(
            path=path,
            folder=tuple(name for name in path.parts[:-1] if not contrast_of_folder(name.lower())),
            visit=(*entities, *kept),
            variant=frozenset(one for one in variant if not one.startswith((_RUN, _SPACE))),
            run="".join(one for one in variant if one.startswith(_RUN)),
            space="".join(one for one in variant if one.startswith(_SPACE)),
            further=len(others) - len(kept),
            has_agent=any(one.startswith(_CONTRAST_AGENT) for one in variant)
            or any(contrast_of_word(one) == AGENT or _AGENT_WORD.fullmatch(one) for one in words),
            is_registered=any(map(is_flair, rest)) and not any(map(is_flair, words)),
        )

    def may_belong_to(self, scan: ImageName) -> bool:
        """Return whether folder, run and space do not speak against a pair."""
        runs = {self.run, scan.run} - {""}
        return self.folder == scan.folder and self.space == scan.space and len(runs) < 2

    def contradicts(self, scan: ImageName) -> bool:
        """Return whether a BIDS entity, such as subject or session, has another value."""
        own, other = (
            dict(token.split("-", 1) for token in one.visit if "-" in token) for one in (self, scan)
        )
        return any(own[key] != other[key] for key in own.keys() & other.keys())

    def rank_for(self, scan: ImageName) -> tuple[bool, bool, bool, int, int]:
        """Return how well this image fits to a scan; the lowest is the best."""
        differing, other_run = len(self.variant ^ scan.variant), self.run != scan.run
        return self.has_agent, other_run, not self.is_registered, differing, self.further


def find_pairs(
    scans: Iterable[Path], others: Iterable[Path], *, is_explicit: bool = False
) -> dict[Path, Path]:
    """Find the image of another contrast that belongs to each scan.

    Args:
        scans: of one contrast, such as FLAIR; relative to one folder.
        others: of another one, such as T1; relative to the same folder.
        is_explicit: the user named the others, so one in the folder of one scan belongs to it,
            unless subject or session differ.

    Returns:
        Scan → other image. Scans without one are left out.

    Raises:
        InputError: two images fit equally well to a scan.
    """
    by_folder: defaultdict[tuple[str, ...], tuple[list[ImageName], list[ImageName]]]
    by_folder = defaultdict(lambda: ([], []))
    for index, paths in enumerate((scans, others)):
        for name in map(ImageName.of, paths):
            by_folder[name.folder][index].append(name)
    pairs: dict[Path, Path] = {}
    for its_scans, its_others in by_folder.values():
        is_single = len(its_scans) == len(its_others) == 1
        for scan in its_scans:
            fitting = [
                image
                for image in its_others
                if image.may_belong_to(scan)
                and (
                    image.visit == scan.visit
                    or (
                        is_single
                        and (is_explicit or not (image.visit and scan.visit))
                        and not image.contradicts(scan)
                    )
                )
            ]
            if fitting:
                pairs[scan.path] = _best(fitting, scan).path
    return pairs


def without_scan(images: Iterable[Path], scans: Iterable[Path]) -> list[Path]:
    """Return the images of visits that have no scan, such as the T1 of a visit without FLAIR.

    Images with contrast agent are left out: models do not know them.
    """
    visits = {(name.folder, name.visit) for name in map(ImageName.of, scans)}
    names = map(ImageName.of, images)
    return [
        name.path
        for name in names
        if (name.folder, name.visit) not in visits and not name.has_agent
    ]


def _is_bids(stem: str) -> bool:
    return stem.startswith("sub-")


def _is_entity(token: str) -> bool:
    """Return whether a part of a BIDS name is a key and a value, and no contrast: `dark-fluid`."""
    is_known = token.startswith("sub-") or _VARIANT.fullmatch(token) is not None
    return "-" in token and (is_known or not any(map(contrast_of_word, words_of(token))))


def _without_contrast(words: Sequence[str]) -> list[str]:
    """Return the words of a name that are not its contrast: `P1_T1_T1w` has the time point T1."""
    weightings = [i for i, word in enumerate(words) if WEIGHTING.fullmatch(word)]
    is_of_flair = any(map(is_flair, words))
    kept = []
    for i, word in enumerate(words):
        is_t1 = T1_WORD.fullmatch(word) is not None
        if is_t1 and (is_of_flair or i != weightings[-1]):
            kept.append(word)  # a time point
        elif contrast_of_word(word) is None:
            kept.append(word)
    return kept


def _best(fitting: Sequence[ImageName], scan: ImageName) -> ImageName:
    first, *others = sorted(fitting, key=lambda image: (image.rank_for(scan), image.path))
    if others and others[0].rank_for(scan) == first.rank_for(scan):
        problem = f"may belong to {first.path.name} or to {others[0].path.name}"
        advice = "Give a pattern that matches the right one, or list the pairs in a table."
        raise InputError(problem, advice, about=scan.path)
    return first
