"""What an MR series shows, from the parameters of its sequence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wmh_runtime.dataset.names.contrast import contrast_from_names
from wmh_runtime.dataset.names.pairs import ImageName
from wmh_runtime.dicom.frames import (
    image_type_of,
    numbers_of,
    parts_of_main_frame,
    value_of,
)
from wmh_runtime.dicom.image_type import is_derived, why_not_acquired, words_of_image_type
from wmh_runtime.dicom.series import Series

Contrast = Literal["flair", "t1"]

# FLAIR: an inversion nulls the fluid, and a long echo time makes lesions bright. Fluid is nulled
# after 1,500 to 2,900 ms, depending on the field strength and the repetition time.
_FLAIR_INVERSION_MS = (1500.0, 2900.0)
_FLAIR_MIN_ECHO_MS = 60.0
# T1, such as MP-RAGE: an inversion of about 1 s and a short echo time.
_T1_INVERSION_MS = (500.0, 1400.0)
_T1_MAX_ECHO_MS = 30.0

_DOUBLE_INVERSION = re.compile(r"(?<![a-z])dir(?![a-z])")
_PLUS_CONTRAST = re.compile(r"\+ ?(?:c|gd|km)(?![a-z])|(?<![a-z])(?:post|km)(?![a-z])")
_FLAIR_WORD = "FLAIR"


@dataclass(frozen=True)
class SequenceParameters:
    """The parameters that decide the contrast; None: not given."""

    echo_ms: float | None
    inversion_ms: float | None
    inversions: int  # how many times are given
    has_inversion: bool
    is_gradient_echo: bool
    image_type: tuple[str, ...]
    has_contrast_agent: bool
    is_diffusion: bool

    @classmethod
    def of(cls, series: Series) -> SequenceParameters:
        """Take them from the main frame of a series.

        Raises:
            Exception: a value has the wrong type; pydicom raises many.
        """
        parts = parts_of_main_frame(series.head)
        scanning = words_of_image_type(value_of(parts, "ScanningSequence"))
        inversions_ms = numbers_of(parts, "InversionTime", "InversionTimes")
        echoes_ms = numbers_of(parts, "EffectiveEchoTime", "EchoTime")
        return cls(
            echo_ms=echoes_ms[0] if echoes_ms else None,
            inversion_ms=inversions_ms[0] if inversions_ms else None,
            inversions=len(inversions_ms),
            has_inversion=bool(inversions_ms)
            or "IR" in scanning
            or value_of(parts, "InversionRecovery") == "YES",
            is_gradient_echo="GR" in scanning or value_of(parts, "EchoPulseSequence") == "GRADIENT",
            image_type=image_type_of(parts),
            has_contrast_agent=bool(value_of(parts, "ContrastBolusAgent")),
            is_diffusion=bool(numbers_of(parts, "DiffusionBValue")),
        )

    @property
    def text(self) -> str:
        """The parameters in words, such as "inversion time 2500 ms, echo time 120 ms"."""
        if self.inversion_ms is not None:
            inversion = f"inversion time {self.inversion_ms:.0f} ms"
        else:
            inversion = "inversion, its time not given" if self.has_inversion else "no inversion"
        echo = "not given" if self.echo_ms is None else f"{self.echo_ms:.0f} ms"
        return f"{inversion}, echo time {echo}"

    @property
    def is_derived(self) -> bool:
        """Whether the image was computed from others."""
        return is_derived(self.image_type)

    @property
    def why_not_acquired(self) -> str:
        """Why it is no acquired magnitude image; empty: it is one, or is derived."""
        diffusion = "a diffusion image" if self.is_diffusion else ""
        return why_not_acquired(self.image_type) or diffusion


@dataclass(frozen=True)
class Finding:
    """What a series shows."""

    contrast: Contrast | None  # None: neither FLAIR nor T1, or nothing that can be measured
    reason: str  # in words
    doubts: tuple[str, ...] = ()  # why it may be something else, or is not the first choice


def find_contrast(series: Series) -> Finding:
    """Say what a series shows, and why.

    Parameters of the sequence decide. The description counts only if there is no inversion time, or
    if it says FLAIR and the inversion time is unusual; then there is a doubt.

    Raises:
        Exception: a value has the wrong type; pydicom raises many.
    """
    modality = series.head.get("Modality")
    if modality != "MR":
        return Finding(None, f"of modality {modality or 'unknown'}")
    if not series.is_mr:
        return Finding(None, "no MR images")
    found = SequenceParameters.of(series)
    if found.why_not_acquired:
        return Finding(None, found.why_not_acquired)
    description = series.description.replace("/", " ").lower()
    named = contrast_from_names(Path(description)) or ""
    says_agent = bool(description) and ImageName.of(Path(description)).has_agent
    doubts = []
    if found.is_derived:
        doubts.append("it is derived from other images")
    if "SPINE" in str(series.head.get("BodyPartExamined") or "").upper():
        doubts.append("its body part is a spine")
    if found.has_contrast_agent or says_agent or _PLUS_CONTRAST.search(description):
        doubts.append("it was acquired with a contrast agent")
    if found.inversions > 1:
        doubts.append("it has two inversions")
    elif _DOUBLE_INVERSION.search(description) or named == "DIR or PSIR":
        doubts.append("its description says double inversion recovery")
    is_long = found.echo_ms is None or found.echo_ms >= _FLAIR_MIN_ECHO_MS
    if _is_between(found.inversion_ms, _FLAIR_INVERSION_MS) and found.echo_ms and is_long:
        return Finding("flair", found.text, tuple(doubts))
    if named == _FLAIR_WORD and is_long and not found.is_gradient_echo:
        doubts.append(f"only its description says FLAIR: {found.text}")
        return Finding("flair", "its description says FLAIR", tuple(doubts))
    is_short = found.echo_ms is not None and found.echo_ms <= _T1_MAX_ECHO_MS
    if is_short and (named == "T1" or _is_between(found.inversion_ms, _T1_INVERSION_MS)):
        return Finding("t1", found.text, tuple(doubts))
    too_short = ", which is too short for FLAIR" if named == _FLAIR_WORD and not is_long else ""
    return Finding(None, f"{found.text}{too_short}")


def _is_between(value: float | None, limits: tuple[float, float]) -> bool:
    return value is not None and limits[0] <= value <= limits[1]
