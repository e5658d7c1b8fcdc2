"""The contrast of an image, from the names of its file and folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.dataset.names.vocabulary import (
    AGENT,
    FLAIR,
    FLAIR_IN_WORD,
    MASK,
    T1_WORD,
    WEIGHTING,
    contrast_of_word,
    is_flair,
    is_mask_word,
    is_mask_word_at_end,
)
from wmh_runtime.dataset.names.words import without_target, words_of

_T1_FLAIR = "T1 FLAIR"
IN_DOUBT = (_T1_FLAIR, FLAIR_IN_WORD)  # FLAIR or not: T1 may also be a time point

_BIDS_NAME = re.compile(r"sub-[a-z0-9+]+(?:_[a-z0-9]+-[a-z0-9+]+)*_(?P<suffix>[a-z0-9]+)")
_ENTITIES = re.compile(r"(?<![a-z0-9])(?:sub|ses|run|task|dir|res|echo|part|space)-[a-z0-9+]+")
_ENTITIES_ELSEWHERE = re.compile(  # not those of Siemens, such as t2_space-flair, or "Hi-Res-FLAIR"
    r"(?<![a-z0-9])(?:(?:sub|ses|run)-[a-z0-9+]+|space-(?!flair|da|dk)[a-z0-9+]+)"
)

_MASK_FOLDER = re.compile(
    r"(?:(?:brain|lesion|flair|wmh?|manual|ground|expert)[^a-z0-9]*)*"
    r"(?:masks?|labels?(?:tr|ts)?|segmentations?|segs?|truth|annotations?|gt)"
)
_STUDIES = ("pd", "ce", "fa", "md", "ct", "pet", "wmh", "wml", "msseg")  # before a number: PD_001
_TITLES = ("fa", "md")  # beside FLAIR: FLAIR_Smith_MD
# In names of folders, these are groups, sites and steps of a study.
_NOT_IN_FOLDERS = (*_STUDIES, "gre", "mip", "csi", "diff", "perf", "survey", "calibration")


def contrast_from_names(relative: Path) -> str | None:
    """Return the contrast of an image, or that it is a mask, from its names.

    The suffix of a BIDS name decides. Otherwise, the last word for a contrast in the file name
    does; without one, that of the nearest folder. Everything in a folder named `masks` is a mask.

    Args:
        relative: path of the file, relative to the folder that is searched.

    Returns:
        `FLAIR`, `MASK`, one of `IN_DOUBT`, another contrast such as `T1`, or None if the names do
        not say it.
    """
    if any(_is_mask_folder(folder) for folder in relative.parts[:-1]):
        return MASK
    contrast = _contrast_of_file(image_stem(relative).lower())
    for folder in reversed(relative.parts[:-1]):
        contrast = contrast or contrast_of_folder(folder.lower())
    return contrast


def _contrast_of_file(stem: str) -> str | None:
    bids_name = _BIDS_NAME.fullmatch(stem)
    if bids_name and (contrast := _contrast_of_words([bids_name["suffix"]])):
        return contrast
    return _contrast_of_words(_words(stem))


def contrast_of_folder(name: str) -> str | None:
    """Return the contrast that the name of a folder, in lower case, says; None if none."""
    return _last_contrast([word for word in _words(name) if word not in _NOT_IN_FOLDERS])[0]


def _words(name: str) -> list[str]:
    """Split a name into words, without what is no contrast of the image.

    That is: its subject, such as `sub-FLAIR1` or `PD_001`, its session, its run, and what it was
    registered to.
    """
    entities = _ENTITIES if name.startswith("sub-") else _ENTITIES_ELSEWHERE
    words = words_of(entities.sub("", name))
    pairs = zip(words, [*words[1:], ""], strict=False)
    return without_target(
        [word for word, next_ in pairs if not (word in _STUDIES and next_.isdigit())]
    )


def _contrast_of_words(words: Sequence[str]) -> str | None:
    contrast, position = _last_contrast(words)
    after = words[position + 1 :]
    if any(map(is_mask_word, words)) or any(
        is_mask_word_at_end(word, after_contrast=contrast is not None) for word in after
    ):
        return MASK
    return contrast


def _last_contrast(words: Sequence[str]) -> tuple[str | None, int]:
    """Return the contrast that the words mean, and the position of its last word."""
    found = [(label, i) for i, word in enumerate(words) if (label := contrast_of_word(word))]
    found = [(label, i) for label, i in found if label != AGENT] or found
    if any(is_flair(words[i]) for _, i in found):
        found = [(label, i) for label, i in found if words[i] not in _TITLES]
        return _contrast_with_flair(words, *found[-1])
    return found[-1] if found else (None, -1)


def _contrast_with_flair(words: Sequence[str], last: str, position: int) -> tuple[str, int]:
    """Return the contrast of a name with FLAIR in it, from its last word for a contrast."""
    if last == "T2":
        return FLAIR, position
    weightings = [word for word in words[:position] if WEIGHTING.fullmatch(word)]
    if last == FLAIR and weightings and T1_WORD.fullmatch(weightings[-1]):
        return _T1_FLAIR, position
    return last, position


def _is_mask_folder(name: str) -> bool:
    return _MASK_FOLDER.fullmatch(name.lower()) is not None
