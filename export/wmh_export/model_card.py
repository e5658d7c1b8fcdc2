"""The model card: what a bundle is, written from its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wmh_runtime.bundle.manifest import Manifest, Quantization
from wmh_runtime.text import count_noun


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
    preprocessing, training = manifest.preprocessing, manifest.training
    side_mm = preprocessing.size_px * preprocessing.pixel_size_mm
    sections = [
        f"# Model card: {manifest.name}",
        manifest.intended_use,
        *([f"**{manifest.warning}**"] if manifest.warning else []),
        "## What it is",
        _table(
            ("model id", f"`{manifest.model_id}`"),
            ("input", f"{', '.join(manifest.channels).upper()}, {preprocessing.plane} slices"),
            (
                "slice",
                f"{preprocessing.size_px} × {preprocessing.size_px} pixels of"
                f" {preprocessing.pixel_size_mm:g} mm, a field of {side_mm:g} mm",
            ),
            ("parameters", f"{training.parameters:,}"),
            ("license", manifest.license),
        ),
        "## What it was trained on",
        f"{training.data}: {training.training_scans} scans for training"
        f" ({training.training_slices} slices), {training.validation_scans} for validation.",
        "## How its masks are cut",
        *(
            f"`{output.name}`: probability at least {output.threshold:g}, lesions of at least"
            f" {output.min_lesion_mm3:g} mm³, chosen on {manifest.calibration.scans} validation"
            f" scans, whose mean Dice is then {dice:.3f}."
            for output, dice in zip(
                manifest.outputs, manifest.calibration.choices[0].mean_dice, strict=True
            )
        ),
        "## How accurate it is",
        _accuracy(accuracy),
        "## Whether the graphs are the network",
        "Against the network as it was trained, on slices with lesions: largest difference of"
        " probability, lowest Dice of an output's masks, largest difference of an output's volume."
        " Emulated: computed in wider arithmetic, so that only the device it is for can prove it.",
        _parity_table(manifest),
        *_quantization(manifest.quantization),
        *(f"Left out: {reason}" for reason in manifest.refused),
    ]
    return "\n\n".join(sections) + "\n"


def _accuracy(accuracy: MeasuredAccuracy | None) -> str:
    if accuracy is None:
        return "Not measured yet. `wmh-bench accuracy` measures it."
    return (
        f"On {accuracy.data}: mean Dice {accuracy.mean_dice:.3f}, lowest"
        f" {accuracy.lowest_dice:.3f}. A global intensity threshold with component filter, tuned on"
        f" each of the same scans against the truth, reaches {accuracy.threshold_mean_dice:.3f}."
        f" Measured by `{accuracy.command}`."
    )


def _parity_table(manifest: Manifest) -> str:
    return "\n".join(
        [
            "| precision | views | executed by | slices | probability | mask Dice | volume |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {p.precision}{' (emulated)' * p.emulated} | {p.views} | {p.backend} |"
                f" {p.slices} of {p.data} | {p.max_abs_difference:.1e} | {p.mask_dice:.4f} |"
                f" {p.volume_percent:.2f} %{' (beyond its bound)' * bool(p.shortfall)} |"
                for graph in manifest.graphs
                for p in graph.parity
            ),
        ]
    )


def _quantization(made: Quantization | None) -> list[str]:
    if made is None:
        return []
    left_out = ", ".join(made.left_out) or "nothing"
    slices = " and ".join(f"{count} of {data}" for data, count in made.calibration_slices.items())
    (chosen, *_) = (trial for trial in made.trials if trial.left_out == made.left_out)
    also = " and on the scans that calibrated it" if "scans" in made.calibration_slices else ""
    return [
        f"INT8 was calibrated on slices, {slices}, by {made.quantizer}. Left in float32:"
        f" {left_out}, chosen in {count_noun(len(made.trials), 'trial')} on slices of heads that"
        f" neither the calibration nor the table above knows{also}"
        f" (mask Dice {chosen.mask_dice:.4f})."
    ]


def _table(*rows: Sequence[str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
