"""Split a file name into words, and find what the image was registered to.

A name is split at every character that is neither a letter nor a digit; upper and lower case are
the same. A registered image keeps its contrast: `T1_to_FLAIR`, `T12FLAIR`, `T1_reg_FLAIR` and
`T1_FLAIRspace` are T1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from wmh_runtime.dataset.names.vocabulary import (
    AGENT,
    FLAIR_IN_WORD,
    WEIGHTING,
    contrast_of_word,
    is_flair,
    is_mask_word,
    is_mask_word_at_end,
)

# Terms of several words become one word, before a name is split.
_TERMS = [
    (re.compile(r"(?<![a-z])(?:dark|da|dk)[^a-z0-9]*(?:fluid|fl)(?![a-z])"), "_darkfluid_"),
    (re.compile(r"fluid[^a-z0-9]*attenuated"), "_darkfluid_"),
    (re.compile(r"(?<![a-z])no[nt][^a-z0-9]*flair"), "_nonflair_"),
    (re.compile(r"flair(?:\*|[^a-z0-9]?star)"), "_flairstar_"),
    (re.compile(r"t1w?flair"), "_t1_flair"),
    (re.compile(r"t2(?:\*|[^a-z0-9]star)"), "_t2star_"),
    (re.compile(r"proton[^a-z0-9]*density"), "_pdw_"),
    (re.compile(r"post[^a-z0-9]*(?:contrast|gado?|gd)"), "_postcontrast_"),
    (re.compile(r"bias[^a-z0-9]*field"), "_biasfield_"),
    (
        re.compile(r"(?<![a-z])epi[^a-z0-9]*(?:dist(?:ortion)?[^a-z0-9]*)?corr(?:ect(?:ed|ion))?"),
        "_corr_",
    ),
    (re.compile(r"(?<![a-z])pet[^a-z0-9]*mri?(?![a-z])"), "_petmr_"),  # the scanner
    (re.compile(r"(?<![a-z])(?:no|without)[^a-z0-9]*(?:masks?|lesions?|seg)(?![a-z])"), "_"),
    (re.compile(r"(?:lesions?|wmh|seg)[^a-z0-9]*(?:protocol|study|trial|project)"), "_"),
]

_TO, _REG = "to", "reg"
_PREPOSITION = re.compile(r"to|into|onto|in|on")
_REGISTERED = re.compile(
    r"(?:co)?reg(?:istered)?(?:to|2)?|warped|aligned|rigid|affine|resliced|resampled|2"
)
_REGISTERED_TO_THIS = re.compile(r"(?:co)?reg(?:istered)?|warped|aligned|rigid|space")  # after it
_IN_WORD = re.compile(
    r"(?=((?:brain|bet)?(?:(?:co)?reg(?:istered)?(?:to|2)?|into|onto|to|2|on|in)))"
)
_TEMPLATE = re.compile(r"mni(?:152[a-z0-9]*|[a-z]+)?|std|standard|template")
_SPACE = re.compile(r"(.+)space")
_PREFIX = re.compile(r"[mwrsu]*[rw][mwrsu]*(?=[a-z]{3})")  # of SPM, of a registered image: rDWI


def words_of(name: str) -> list[str]:
    """Split a name into words, in lower case, with each term as one word."""
    for pattern, word in _TERMS:
        name = pattern.sub(word, name.lower())
    return re.findall(r"[a-z0-9]+", name)


def without_target(words: Sequence[str]) -> list[str]:
    """Leave out what an image was registered to, with the words that say so."""
    words = [part for word in words for part in _parts(word)]
    kept: list[str] = []
    while words:
        length = _length_of_target(kept, words)
        kept += words[:1] if not length else []
        words = words[length or 1 :]
    return kept


def _parts(word: str) -> list[str]:
    """Split `T1toFLAIR` into `t1`, `to` and `flair`; return other words as they are."""
    splits = [
        (word[: joint.start()], joint[1], word[joint.end(1) :])
        for joint in _IN_WORD.finditer(word)
        if _is_target(word[joint.end(1) :])
    ]
    for head, _, tail in splits:
        if _is_image(head):
            return [head, _TO, tail]
    if splits and not splits[0][0] and splits[0][1] not in ("2", "in", "on"):
        return [_REG, splits[0][2]]  # toFLAIR, regT1
    prefix = _PREFIX.match(word)
    if prefix and not contrast_of_word(word) and contrast_of_word(word[prefix.end() :]):
        return [word[prefix.end() :], _REG]
    return [word]


def _length_of_target(before: Sequence[str], words: Sequence[str]) -> int:
    """Return how many words, from the first one on, say what the image was registered to."""
    first, second, third = (*words, "", "", "")[:3]
    length = 3 if WEIGHTING.fullmatch(second) and is_flair(third) else 2  # "to T2 FLAIR"
    if _PREPOSITION.fullmatch(first) and _is_target(second):
        return length
    contrasts = [word for word in before if contrast_of_word(word) not in (None, AGENT)]
    if not contrasts:
        return 0
    if (space := _SPACE.fullmatch(first)) and _is_target(space[1]):
        return 1
    if _REGISTERED.fullmatch(first) and _is_target(second):
        return length
    is_one_term = is_flair(first) and all(map(_is_part_of_flair, contrasts))  # "T2 FLAIR"
    is_after = _is_target(first) and _REGISTERED_TO_THIS.fullmatch(second)
    return 2 if is_after and not is_one_term else 0


def _is_part_of_flair(word: str) -> bool:
    return is_flair(word) or WEIGHTING.fullmatch(word) is not None


def _is_target(word: str) -> bool:
    """Return whether a word stands for what an image may be registered to."""
    is_contrast = contrast_of_word(word) not in (None, AGENT, FLAIR_IN_WORD)
    return is_contrast or _TEMPLATE.fullmatch(word) is not None


def _is_image(word: str) -> bool:
    """Return whether a word stands for an image: a contrast, or a mask."""
    is_mask = is_mask_word(word) or is_mask_word_at_end(word, after_contrast=True)
    return is_mask or contrast_of_word(word) is not None
