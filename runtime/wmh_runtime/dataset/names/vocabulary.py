"""The words of file names that tell the contrast of an image, or that it is a mask.

They are the suffixes of BIDS; the names that vendors give to their sequences (Siemens, GE, Philips,
Canon/Toshiba, Fujifilm/Hitachi); and words that programs and published data sets use. All words are
in lower case.
"""

from __future__ import annotations

import re
from functools import cache

FLAIR = "FLAIR"
FLAIR_IN_WORD = "FLAIR within another word"
MASK = "mask"
AGENT = "contrast-enhanced"  # a contrast agent does not change what else a name says

# What may stand before and after "flair" in one word, in any number. No entry may consist of
# others: such a pattern takes forever to reject a long word.
_BEFORE_FLAIR = (
    r"(?:[23]d|t2|[mwrsu]|wip(?:p?cs)?|ax|sag|cor|tra|fast|iso|brain|cube|space|spc|vista|view|tse"
    r"|fse|se|ir|epi|gd|ce|hr|fs|reg|coreg|n[34]|bet|norm|pre|post|baseline|bl|fu)*"
)
_AFTER_FLAIR = (
    r"(?:\d|[23]d|w|brain|bet|ax|sag|cor|tra|iso|fs|post|pre|gd|ce|c|n[34]|reg|coreg|norm|mni|std|se"
    r"|tse|fse|image|img|s|new|orig|raw|final|pp|bl|fu)*"
)
_FLAIR_PATTERN = f"(?:[a-z]*[0-9]+)?{_BEFORE_FLAIR}flair{_AFTER_FLAIR}"  # P12FLAIR: a subject

_WEIGHTED = r"(?:[23]d|s|w|r|m|wip|ax|sag|cor|tra|hr|reg|inplane)*{0}(?:{1})*"
_AFTER_T1 = r"w|wi|weighted|ce|c|ca|gd|gad|km|post|pre|n|map|rho|mpr|fs|se|tse|ffe|iso|[23]d|brain"
_AFTER_T2 = r"w|wi|weighted|map|tse|fse|fs|spc|blade|iso|[23]d|brain|ffe"
_T1_PATTERN = _WEIGHTED.format("t1", _AFTER_T1)
_T2_PATTERN = _WEIGHTED.format("t2", _AFTER_T2)
T1_WORD = re.compile(_T1_PATTERN)
WEIGHTING = re.compile(f"{_T1_PATTERN}|{_T2_PATTERN}")

# The first pattern that matches a whole word decides.
_CONTRASTS = [
    (MASK, r"[smwr]*[cp][0-6][mr]*flair.*"),  # tissue maps of SPM and CAT12
    ("FLAIR*", r"flairstar"),
    ("non-FLAIR", r"nonflair"),
    (FLAIR, _FLAIR_PATTERN + r"|darkfluid|tirm|.*spcir|flr|t2flr|t2f"),
    ("T2*", r"(?:[23]d|ax|sag|cor|tra)?t2starw?(?:map)?|gre|megre|hemo|r2s(?:tar)?(?:map)?"),
    ("T1", _T1_PATTERN),
    ("T1", r".*mp2?rage.*|.*bravo|.*spgr|tfe|tfl|vibe|unit1|flash|irt1|r1map"),
    (AGENT, r"gd|gad|gado|gadolinium|postcontrast|ce"),
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
    (FLAIR_IN_WORD, r".*flair.*"),
]
_CONTRAST_OF_WORD = [(label, re.compile(pattern)) for label, pattern in _CONTRASTS]

# These words make a mask, wherever they are in a file name.
_MASK_WORD = re.compile(
    r".*mask(?:s|\d+)?|bianca|pve|l[gp]a|[pb]les|labels?(?:tr|ts)?|labelmap"
    r"|prob(?:s|map|ability|abilities)?|groundtruth|truth"
    r"|[smwr]*[cp][0-6]sub"  # tissue maps of a BIDS scan
)
# These only after the contrast, or without any: a study may have one of them in its name.
_MASK_WORD_AT_END = re.compile(
    r".*lesions?(?:map|load)?\d*|.*segmentations?\d*|segmented|.*segs?\d*|thr\d*"
    r"|bin(?:ary|arized)?|consensus|wmparc|aparc|ribbon|wm(?:h|l)s?|les|rois?|gt|results?"
    r"|annotations?"
)
# These only after the contrast.
_MAP_WORD = re.compile(
    r"[a-z]*wmhs?(?:map)?\d*|.*prob(?:s|map|seg|ability|abilities)?|gm|wm|csf|heatmap"
    r"|dist(?:ance)?(?:map)?|uncertainty|entropy"
)


@cache
def contrast_of_word(word: str) -> str | None:
    """Return the contrast that a word stands for, also FLAIR or a mask; None if for none."""
    return next((label for label, pattern in _CONTRAST_OF_WORD if pattern.fullmatch(word)), None)


def is_flair(word: str) -> bool:
    """Return whether a word stands for FLAIR, or may do so."""
    return contrast_of_word(word) in (FLAIR, FLAIR_IN_WORD)


def is_mask_word(word: str) -> bool:
    """Return whether a word makes a mask, wherever it is in a name."""
    return _MASK_WORD.fullmatch(word) is not None


def is_mask_word_at_end(word: str, *, after_contrast: bool) -> bool:
    """Return whether a word makes a mask after the contrast, or in a name without one."""
    words = (_MASK_WORD_AT_END, _MAP_WORD) if after_contrast else (_MASK_WORD_AT_END,)
    return any(pattern.fullmatch(word) for pattern in words)
