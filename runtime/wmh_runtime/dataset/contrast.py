"""The contrast of an image, from the names of its file and folders.

All words that decide this are here. They are the suffixes of BIDS; the names that vendors give to
their sequences (Siemens, GE, Philips, Canon/Toshiba, Fujifilm/Hitachi); and words that programs and
published data sets use. A name is split into words at every character that is neither a letter nor
a digit; upper and lower case are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from wmh_runtime.dataset.image_formats import image_stem

FLAIR = "FLAIR"
MASK = "mask"

_AGENT = "contrast-enhanced"  # a contrast agent does not change what else a name says

# Terms of several words become one word, before a name is split.
_TERMS = [
    (re.compile(r"(?<![a-z])(?:dark|da|dk)[^a-z0-9]*(?:fluid|fl)(?![a-z])"), "_darkfluid_"),
    (re.compile(r"fluid[^a-z0-9]*attenuated"), "_darkfluid_"),
    (re.compile(r"flair(?:\*|[^a-z0-9]?star)"), "_flairstar_"),
    (re.compile(r"t2(?:\*|[^a-z0-9]?star)"), "_t2star_"),
    (re.compile(r"proton[^a-z0-9]*density"), "_pdw_"),
    (re.compile(r"post[^a-z0-9]*(?:contrast|gado?|gd)"), "_postcontrast_"),
    (re.compile(r"bias[^a-z0-9]*field"), "_biasfield_"),
]

# A registered image keeps its contrast: "T1_to_FLAIR" and "T12FLAIR" are T1.
_TARGET = (
    r"(?:3d)?(?:(?:t2[^a-z0-9]?)?flair|t[12]|mprage|pd|dwi|swi"
    r"|mni(?:152)?(?!\d)|std|standard|template)[a-z0-9]*"
)
_BEFORE_TARGET = (
    r"(?:(?<![a-z0-9])(?:into|onto|to|in|on)[^a-z0-9]+|(?<=t1|1w|2w|ir|ge|pd)(?:to|2)[^a-z0-9]*)"
)
REGISTRATION_TARGET = re.compile(_BEFORE_TARGET + _TARGET)

_BIDS_NAME = re.compile(r"sub-[a-z0-9+]+(?:_[a-z0-9]+-[a-z0-9+]+)*_(?P<suffix>[a-z0-9]+)")
_ENTITIES = re.compile(r"(?<![a-z0-9])(?:sub|ses|run|task|dir|res|echo|part)-[a-z0-9+]+")
_BIDS_SPACE = re.compile(r"(?<![a-z0-9])space-[a-z0-9+]+")
_SPACE = re.compile(r"(?<![a-z0-9])space-(?!flair|da|dk)[a-z0-9+]+")  # Siemens: t2_space-flair

_WEIGHTED = r"(?:[23]d|s|w|r|m|wip|ax|sag|cor|tra|hr|reg|inplane)*{0}(?:{1})*"
_AFTER_T1 = r"w|wi|weighted|ce|c|ca|gd|gad|km|post|pre|n|map|rho|mpr|fs|se|tse|ffe|iso|[23]d|brain"
_AFTER_T2 = r"w|wi|weighted|map|tse|fse|fs|spc|blade|iso|[23]d|brain|ffe"
_T1_PATTERN = _WEIGHTED.format("t1", _AFTER_T1)
_T2_PATTERN = _WEIGHTED.format("t2", _AFTER_T2)
_T1_WORD = re.compile(_T1_PATTERN)
_WEIGHTING = re.compile(f"{_T1_PATTERN}|{_T2_PATTERN}")

# The first pattern that matches a whole word decides.
_CONTRASTS = [
    (MASK, r"[mwr]*c[1-6][mr]*flair.*"),  # tissue maps of SPM
    ("FLAIR*", r"flairstar"),
    (FLAIR, r".*flair.*|darkfluid|tirm|.*spcir|flr|t2flr|t2f"),
    ("T2*", r"t2starw?(?:map)?|gre|megre|hemo|r2s(?:tar)?(?:map)?"),
    ("T1", _T1_PATTERN),
    ("T1", r".*mp2?rage.*|.*bravo|.*spgr|tfe|tfl|vibe|unit1|flash|irt1|r1map"),
    (_AGENT, r"gd|gad|gado|gadolinium|postcontrast|ce"),
    ("T2", _T2_PATTERN + r"|haste|ciss|fiesta|r2map|mese"),
    ("PD", r"pd|pdw|pdwi|pdmap|pdt2"),
    ("SWI", r"swi[a-z]?|swan|qsm|minip|chimap|venbold"),
    ("diffusion", r"(?:ep2d)?(?:dwi|dti|dki|noddi|diff|diffusion|dmri)\d*|tracew?|e?adc(?:map)?"),
    ("diffusion", r"(?:col)?fa|md|b(?:0|500|800|1000|2000|3000)"),
    ("perfusion", r"[p3]?d?c?asl|m0scan|pwi|perf|perfusion|dsc|dce|cbf|cbv|mtt|ttp|tmax"),
    ("angiography", r"(?:[a-z]*[23]d)?(?:mra)?tof(?:[23]d|mra)?|c?e?mra|mrv|angio[a-z]*|mip"),
    ("functional", r"bold|r?s?fmri|sbref|epi|ep2d|cmrr"),
    ("STIR", r"stir"),
    ("DIR or PSIR", r"3ddir|dir3d|psir"),
    ("magnetization transfer", r"mtr|mtrmap|mtsat|mts|mpm"),
    ("field map", r"fieldmap|fmap|b0map|b1map|tb1[a-z]*|phasediff|magnitude[12]?|biasfield"),
    ("deformation", r"\d*(?:inverse)?warp(?:field)?|jac|jacobian"),
    ("localizer", r"locali[sz]ers?|[a-z]*scout|survey|smartbrain|calibration|refscan"),
    ("spectroscopy", r"mrs|svs|csi"),
    ("CT", r"ct|cta|ctp|ctac"),
    ("PET", r"pet|fdg|pib|av45"),
]
_CONTRAST_OF_WORD = [(label, re.compile(pattern)) for label, pattern in _CONTRASTS]

# These words make a mask, wherever they are in a file name.
_MASK_WORD = re.compile(
    r".*mask(?:s|\d+)?|.*lesions?(?:map|load)?\d*|.*segmentations?\d*|segmented|.*segs?\d*"
    r"|bianca|pve|thr\d*|bin(?:ary|arized)?|l[gp]a|[pb]les|labels?(?:tr|ts)?"
    r"|labelmap|prob(?:s|map|ability|abilities)?|groundtruth|truth|consensus|wmparc|aparc|ribbon"
)
# These only after the contrast, or without any: a study may have one of them as its name.
_WEAK_MASK_WORD = re.compile(r"wm(?:h|l)s?|les|rois?|gt|results?|annotations?")

_MASK_FOLDER = re.compile(
    r"(?:(?:brain|lesion|flair|wmh?|manual|ground|expert)[^a-z0-9]*)*"
    r"(?:masks?|labels?(?:tr|ts)?|segmentations?|segs?|truth|annotations?|gt)"
)
_STUDIES = ("pd", "ce", "fa", "md", "ct", "pet", "wmh", "wml")  # before a number: PD_001
# In names of folders, these are groups, sites and steps of a study.
_NOT_IN_FOLDERS = (*_STUDIES, "gre", "mip", "csi", "diff", "perf", "survey", "calibration")


def contrast_from_names(relative: Path) -> str | None:
    """Return the contrast of an image, or that it is a mask, from its names.

    The suffix of a BIDS name decides. Otherwise, the last word for a contrast in the file name
    does; without one, that of the nearest folder. Everything in a folder named `masks` is a mask.

    Args:
        relative: path of the file, relative to the folder that is searched.

    Returns:
        `FLAIR`, `MASK`, another contrast such as `T1`, or None if the names do not say it.
    """
    if any(_is_mask_folder(folder) for folder in relative.parts[:-1]):
        return MASK
    contrast = _contrast_of_file(image_stem(relative).lower())
    for folder in reversed(relative.parts[:-1]):
        contrast = contrast or _contrast_of_folder(folder.lower())
    return contrast


def words_of(name: str) -> list[str]:
    """Split a name into words, in lower case, with each term as one word."""
    for pattern, word in _TERMS:
        name = pattern.sub(word, name.lower())
    return re.findall(r"[a-z0-9]+", name)


def is_flair(word: str) -> bool:
    """Return whether a word of a name, in lower case, stands for FLAIR."""
    return _contrast_of_word(word) == FLAIR


def _contrast_of_file(stem: str) -> str | None:
    bids_name = _BIDS_NAME.fullmatch(stem)
    if bids_name and (contrast := _contrast_of_words([bids_name["suffix"]])):
        return contrast
    return _contrast_of_words(_words(stem))


def _contrast_of_folder(name: str) -> str | None:
    return _last_contrast([word for word in _words(name) if word not in _NOT_IN_FOLDERS])[0]


def _words(name: str) -> list[str]:
    """Split a name into words, without what is no contrast of the image.

    That is: its subject, such as `sub-FLAIR1` or `PD_001`, its session, its run, and what it was
    registered to.
    """
    space = _BIDS_SPACE if name.startswith("sub-") else _SPACE
    words = words_of(REGISTRATION_TARGET.sub("", space.sub("", _ENTITIES.sub("", name))))
    pairs = zip(words, [*words[1:], ""], strict=False)
    return [word for word, next_ in pairs if not (word in _STUDIES and next_.isdigit())]


def _contrast_of_words(words: Sequence[str]) -> str | None:
    if any(map(_MASK_WORD.fullmatch, words)):
        return MASK
    contrast, position = _last_contrast(words)
    if any(map(_WEAK_MASK_WORD.fullmatch, words[position + 1 :])):
        return MASK
    return contrast


def _last_contrast(words: Sequence[str]) -> tuple[str | None, int]:
    """Return the contrast that the words mean, and the position of its last word."""
    found = [(label, i) for i, word in enumerate(words) if (label := _contrast_of_word(word))]
    found = [(label, i) for label, i in found if label != _AGENT] or found
    if any(label == FLAIR for label, _ in found):
        return _contrast_with_flair(words, *found[-1])
    return found[-1] if found else (None, -1)


def _contrast_with_flair(words: Sequence[str], last: str, position: int) -> tuple[str, int]:
    """Return the contrast of a name with FLAIR in it, from its last word for a contrast."""
    if last == "T2":
        return FLAIR, position
    weightings = [word for word in words[:position] if _WEIGHTING.fullmatch(word)]
    if last == FLAIR and weightings and _T1_WORD.fullmatch(weightings[-1]):
        return "T1 FLAIR", position
    return last, position


@cache
def _contrast_of_word(word: str) -> str | None:
    return next((label for label, pattern in _CONTRAST_OF_WORD if pattern.fullmatch(word)), None)


def _is_mask_folder(name: str) -> bool:
    return _MASK_FOLDER.fullmatch(name.lower()) is not None
