"""The model card: what a bundle is, written from its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wmh_runtime.bundle import Manifest


@dataclass(frozen=True)
class MeasuredAccuracy:
    """What a measurement of accuracy found, for the card."""

    data: str  # what was segmented, a noun phrase
    mean_dice: float
    lowest_dice: float
    threshold_mean_dice: float  # of a global intensity threshold tuned on each case
    command: str  # that measures it again


def model_card(manifest: Manifest, accuracy: MeasuredAccuracy | None = None) -> str:
    """Write the card of a bundle in Markdown.

    Args:
        manifest: of the bundle.
        accuracy: None says that it has not been measured.
    """
    preparation, training = manifest.preparation, manifest.training
    side_mm = preparation.size_px * preparation.pixel_size_mm
    sections = [
        f"# Model card: {manifest.name}",
        manifest.intended_use,
        *([f"**{manifest.caution}**"] if manifest.caution else []),
        "## What it is",
        _table(
            ("model id", f"`{manifest.model_id}`"),
            ("input", f"{', '.join(manifest.channels).upper()}, {preparation.plane} slices"),
            (
                "slice",
                f"{preparation.size_px} × {preparation.size_px} pixels of"
                f" {preparation.pixel_size_mm:g} mm, a field of {side_mm:g} mm",
            ),
            ("parameters", f"{training.parameters:,}"),
            ("licence", manifest.licence),
        ),
        "## What it was trained on",
        f"{training.data}: {training.training_scans} scans for training"
        f" ({training.training_slices} slices), {training.validation_scans} for validation.",
        "## How its masks are cut",
        *(
            f"`{output.name}`: probability at least {output.threshold:g}, lesions of at least"
            f" {output.min_lesion_mm3:g} mm³, chosen on {manifest.calibration['scans']} validation"
            f" scans, whose mean Dice is then {dice:.3f}."
            for output, dice in zip(manifest.outputs, _calibrated_dice(manifest), strict=True)
        ),
        "## How accurate it is",
        _accuracy(accuracy),
        "## Whether the graphs are the network",
        "Largest difference of probability from PyTorch, and Dice of the masks, on"
        f" {manifest.graphs[0].parity.slices} phantom slices with lesions:",
        _table(
            *(
                (
                    f"{graph.views} view(s), {graph.precision}",
                    f"{graph.parity.max_abs_difference:.1e}, Dice {graph.parity.mask_dice:.4f}",
                )
                for graph in manifest.graphs
            )
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _calibrated_dice(manifest: Manifest) -> list[float]:
    """Return the mean Dice of each output that eight views reached in the calibration."""
    (dice,) = (c["mean_dice"] for c in manifest.calibration["choices"] if c["views"] == 8)
    return list(dice)


def _accuracy(accuracy: MeasuredAccuracy | None) -> str:
    if accuracy is None:
        return "Not measured yet. `wmh-bench accuracy` measures it."
    return (
        f"On {accuracy.data}: mean Dice {accuracy.mean_dice:.3f}, lowest"
        f" {accuracy.lowest_dice:.3f}. A global intensity threshold with component filter, tuned on"
        f" each of the same scans against the truth, reaches {accuracy.threshold_mean_dice:.3f}."
        f" Measured by `{accuracy.command}`."
    )


def _table(*rows: Sequence[str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
