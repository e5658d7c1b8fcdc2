"""A measure of image quality, and its judgement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class QualityMeasure:
    """One measure of a scan."""

    name: str  # in snake case
    value: float | None  # None: cannot be measured in this image
    unit: str  # empty without
    lowest: float | None  # bounds of what is not flagged; None: no bound
    highest: float | None
    warning: str  # one sentence with number, bound and what to do; empty: not flagged

    @property
    def is_flagged(self) -> bool:
        """Whether the value is beyond a bound."""
        return bool(self.warning)


@dataclass(frozen=True)
class Criterion:
    """The bounds of a measure, and what is said about a value beyond them."""

    name: str
    description: str
    unit: str
    finding: str  # begins the sentence, with the place of {value}, and of {side} if there is one
    advice: str  # ends it
    lowest: float | None = None
    highest: float | None = None

    def judge(self, value: float | None, side: str = "") -> QualityMeasure:
        """Compare a value with the bounds.

        Args:
            value: None: cannot be measured.
            side: of the image that the value is of, for the sentence.
        """
        expected = ""
        if value is not None and self.highest is not None and value > self.highest:
            expected = f"at most {self._text(self.highest)}"
        elif value is not None and self.lowest is not None and value < self.lowest:
            expected = f"at least {self._text(self.lowest)}"
        warning = ""
        if value is not None and expected:
            finding = self.finding.format(value=self._text(value), side=side)
            warning = f"{finding}, expected {expected}: {self.advice}"
        return QualityMeasure(self.name, value, self.unit, self.lowest, self.highest, warning)

    def _text(self, value: float) -> str:
        return f"{value:.1f}".replace("-", "−") + f" {self.unit}"
