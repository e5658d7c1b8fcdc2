"""What made the predictions: model, thresholds and warnings, from the sidecars beside the masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.imageio.nifti_reader import is_written_by_us
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.outputs.sidecar import Sidecar, is_as_written, read_sidecar
from wmh_runtime.text import count_noun

_VIEWS = {"full": "eight views", "adaptive": "adaptive views", "none": "one view"}
_THEN_CHANGED = ", then changed by hand"
_UNKNOWN = "not stated, since there is no JSON file of wmh-infer beside the mask"


@dataclass(frozen=True)
class Provenance:
    """What made the predictions of an evaluation."""

    settings: Mapping[str, Settings]  # name of the case → settings, if they alone made the mask
    models: tuple[str, ...]  # one line for each model with its settings, the most frequent first
    warnings: tuple[str, ...]  # each once, the most frequent first

    @property
    def notes(self) -> list[str]:
        """One line about the models, and one about warnings if there are any; for a plot."""
        models, warnings = (_first(lines) for lines in (self.models, self.warnings))
        return [f"Model: {models}", *([f"Warning: {warnings}"] if warnings else [])]


def read_provenance(masks: Mapping[str, Path]) -> Provenance:
    """Read the sidecars beside the masks; masks of other programs have none.

    Args:
        masks: name of the case → its mask; at least one.
    """
    sidecars = {name: _sidecar_of(mask) for name, mask in masks.items()}
    known = {name: sidecar for name, sidecar in sidecars.items() if sidecar is not None}
    unchanged = {name for name, sidecar in known.items() if is_as_written(masks[name], sidecar)}
    total = len(masks)
    models = Counter(
        _model(known[name].settings) + ("" if name in unchanged else _THEN_CHANGED)
        if name in known
        else _UNKNOWN
        for name in masks
    )
    warnings = Counter(
        text for sidecar in known.values() for text in {*sidecar.warnings, *sidecar.model_warnings}
    )
    return Provenance(
        settings={name: known[name].settings for name in masks if name in unchanged},
        models=_with_counts(models, total),
        warnings=_with_counts(warnings, total),
    )


def are_exchanged(predictions: Sequence[Path], references: Sequence[Path]) -> bool:
    """Return whether wmh-infer made the references, and none of the predictions."""

    def any_of(masks: Sequence[Path]) -> bool:
        return any(_sidecar_of(mask) is not None for mask in masks)

    return any_of(references) and not any_of(predictions)


def _sidecar_of(mask: Path) -> Sidecar | None:
    """Return the sidecar of a mask; None if the mask is not of wmh-infer, or has none."""
    stem = mask.name.removesuffix(".gz").removesuffix(".nii")
    return read_sidecar(mask.with_name(f"{stem}.json")) if is_written_by_us(mask) else None


def _model(settings: Settings) -> str:
    output = settings.output
    return (
        f"{settings.bundle} {settings.model_id[:8]}, threshold {output.threshold:g},"
        f" minimum lesion size {output.min_lesion_mm3:g} mm³, {_VIEWS[settings.tta]},"
        f" {settings.precision}"
    )


def _with_counts(texts: Counter[str], total: int) -> tuple[str, ...]:
    """Return each text, with the number of its masks if it is not that of all."""
    most_first = sorted(texts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        text if count == total else f"{text} ({count} of {count_noun(total, 'mask')})"
        for text, count in most_first
    )


def shortened(lines: Sequence[str], max_count: int) -> list[str]:
    """Return the first lines; if there are more, the last one says how many."""
    if len(lines) <= max_count:
        return [*lines]
    return [*lines[: max_count - 1], f"and {len(lines) - max_count + 1} more"]


def _first(lines: Sequence[str]) -> str:
    """Return the first of some lines, and how many more there are; empty if there are none."""
    if len(lines) < 2:
        return "".join(lines)
    return f"{lines[0]}, and {len(lines) - 1} more, see the summary"
