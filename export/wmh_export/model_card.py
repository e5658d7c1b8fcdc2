"""Write the model card of a bundle from its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wmh_runtime.bundle.accuracy import MeasuredAccuracy
from wmh_runtime.bundle.calibration import LOWEST_PROBABILITY, Calibration
from wmh_runtime.bundle.manifest import Manifest, Quantization
from wmh_runtime.bundle.training_record import Teacher
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.postprocessing.regions import REGION_THRESHOLD
from wmh_runtime.preprocessing.slices.planes import planes_text
from wmh_runtime.text import count_noun, describe_counts


def model_card(manifest: Manifest) -> str:
    """Return the model card of a bundle, in Markdown."""
    preprocessing, training = manifest.preprocessing, manifest.training
    side_mm = preprocessing.size_px * preprocessing.pixel_size_mm
    sections = [
        f"# Model card: {manifest.name}",
        manifest.intended_use,
        *(f"**{warning}**" for warning in manifest.warnings),
        "## Model",
        _table(
            ("model id", f"`{manifest.model_id}`"),
            ("input", f"{manifest.input_text}, {planes_text(preprocessing.planes)}"),
            (
                "slice",
                f"{preprocessing.size_px} × {preprocessing.size_px} pixels of"
                f" {preprocessing.pixel_size_mm:g} mm, field of view {side_mm:g} mm",
            ),
            *_network_row(training.details),
            ("parameters", f"{training.parameters:,}"),
            ("license", manifest.license),
        ),
        "## Training data",
        f"{training.data}: {training.training_scans} scans for training"
        f"{describe_counts(training.training_sites)}, {training.training_slices} slices;"
        f"{_teacher(training.teacher)}{_new_heads(training.new_heads)}"
        f" {training.validation_scans} for validation{describe_counts(training.validation_sites)}.",
        *_stages(training.details.get("stages", [])),
        *_sources(manifest.attributions),
        *_thresholds(manifest.calibration),
        *_regions(manifest.regions),
        *_accuracy(manifest.accuracy, manifest.outputs),
        "## Parity with the trained network",
        "Each graph is compared with the trained network on slices of phantoms or scans. The table"
        " gives the largest difference in probability, the lowest mask Dice of an output, and the"
        " largest difference in volume of an output. Emulated: computed in a wider format; only a"
        " device that computes in this precision can confirm the result.",
        _parity_table(manifest),
        *_quantization(manifest.quantization),
        *(f"Not included: {reason}" for reason in manifest.skipped_precisions),
        *([manifest.notes.strip()] if manifest.notes else []),
    ]
    return "\n\n".join(sections) + "\n"


def _network_row(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the kind of network; bundles of earlier versions do not say it."""
    return [("network", str(details["network"]))] if "network" in details else []


def _teacher(teacher: Teacher | None) -> str:
    if teacher is None:
        return ""
    scans = count_noun(teacher.scans, "scan")
    return (
        f" of these, {scans} without masks, on which it learned the probabilities of"
        f" {teacher.name} (model id `{teacher.model_id}`, {teacher.precision}, views"
        f" {teacher.tta}). The license of that model may have terms for this one;"
    )


def _new_heads(count: int) -> str:
    return f" {count_noun(count, 'new synthetic head')} in each epoch;" if count else ""


def _stages(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of the stages of a training, if it had any."""
    if not stages:
        return []
    titles = (
        "stage",
        "masks",
        "scans",
        "validation scans",
        "frozen layers",
        "Dice with such masks",
    )
    rows = [
        (
            str(one["name"]),
            str(one["data"]),
            str(one["training_scans"]),
            str(one["validation_scans"]),
            str(one["frozen_layers"]),
            f"{one['validation']['mean']:.3f}",
        )
        for one in stages
    ]
    return [
        "Trained in stages, each from the best epoch of the one before. The numbers above are of"
        " the last stage.",
        _markdown_rows([titles, ["---"] * len(titles), *rows]),
    ]


def _sources(attributions: Sequence[str]) -> list[str]:
    lines = [f"- {attribution}" for attribution in attributions]
    return ["## Sources", "\n".join(lines)] if lines else []


def _thresholds(calibration: Calibration) -> list[str]:
    if not calibration.outputs:
        return []
    lines = [
        f"`{output.name}`: probability at least {output.threshold:g}, lesions of at least"
        f" {output.min_lesion_mm3:g} mm³. Calibrated on {calibration.scans} validation scans, with"
        f" a mean Dice of {dice:.3f}."
        for output, dice in zip(
            calibration.outputs, calibration.operating_points[0].mean_dice, strict=True
        )
    ]
    return ["## Thresholds", *lines, *_reliability(calibration)]


def _reliability(calibration: Calibration) -> list[str]:
    """Return a table for each output: among voxels of some probability, how many are lesion."""
    sections = []
    for output, bins, error in zip(
        calibration.outputs, calibration.reliability, calibration.calibration_errors, strict=False
    ):
        columns = [
            ["probability", *(f"{one.mean_probability:.2f}" for one in bins)],
            ["---"] * (len(bins) + 1),
            ["share of lesion", *(f"{one.lesion_share:.2f}" for one in bins)],
        ]
        sections += [
            f"Calibration of `{output.name}`: the expected calibration error is {error:.3f}, over"
            " the voxels of the validation scans with a probability of at least"
            f" {LOWEST_PROBABILITY:g}.",
            _markdown_rows(columns),
        ]
    return sections


def _regions(regions: Sequence[str]) -> list[str]:
    if not regions:
        return []
    text = f"{', '.join(regions)}: the most probable one, with at least {REGION_THRESHOLD:g}."
    return ["## Regions", text]


def _accuracy(accuracy: MeasuredAccuracy | None, outputs: Sequence[Output]) -> list[str]:
    if not outputs:
        return []
    return ["## Accuracy", _mean_accuracy(accuracy), *_accuracy_by_load(accuracy)]


def _mean_accuracy(accuracy: MeasuredAccuracy | None) -> str:
    if accuracy is None:
        return "Not measured yet. `wmh-bench accuracy BUNDLE --card` measures it."
    text = (
        f"On {accuracy.data}: mean Dice {accuracy.mean_dice:.3f}, lowest"
        f" {accuracy.lowest_dice:.3f}. Measured with `wmh-bench accuracy`."
    )
    if accuracy.threshold_mean_dice is not None:
        text += (
            " A global intensity threshold with a filter for small components, tuned on each of"
            f" these scans with its reference mask, reaches {accuracy.threshold_mean_dice:.3f}."
        )
    return text


_COLUMNS = {  # of the accuracy by load: title and format
    "load": ("load, mL", ""),
    "scans": ("scans", "d"),
    "dice": ("Dice", ".3f"),
    "h95_mm": ("H95, mm", ".1f"),
    "avd_percent": ("AVD, %", ".0f"),
    "lesion_recall": ("lesion recall", ".3f"),
    "lesion_precision": ("lesion precision", ".3f"),
    "lesion_f1": ("lesion F1", ".3f"),
    "volume_bias_ml": ("volume bias, mL", "+.2f"),
}


def _accuracy_by_load(accuracy: MeasuredAccuracy | None) -> list[str]:
    if accuracy is None or not accuracy.by_load:
        return []
    rows = [
        [title for title, _ in _COLUMNS.values()],
        ["---"] * len(_COLUMNS),
        *(
            [
                "" if (value := getattr(row, name)) is None else format(value, form)
                for name, (_, form) in _COLUMNS.items()
            ]
            for row in accuracy.by_load
        ),
    ]
    return [_markdown_rows(rows)]


def _markdown_rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _parity_table(manifest: Manifest) -> str:
    titles = ("precision", "views", "executed by", "slices", "probability", "mask Dice", "volume")
    measured = [(graph, parity) for graph in manifest.graphs for parity in graph.parity]
    rows = [
        (
            f"{parity.precision}{' for CUDA' if graph.provider else ''}"
            f"{' (emulated)' if parity.emulated else ''}",
            f"{parity.views}",
            f"{parity.backend}",
            f"{parity.slices} of {parity.data}",
            f"{parity.max_abs_difference:.1e}",
            f"{parity.mask_dice:.4f}",
            f"{parity.volume_percent:.2f} %{' (beyond its tolerance)' if parity.violation else ''}",
        )
        for graph, parity in measured
    ]
    return _markdown_rows([titles, ["---"] * len(titles), *rows])


def _quantization(quantization: Quantization | None) -> list[str]:
    if quantization is None:
        return []
    float32_groups = ", ".join(quantization.float32_groups) or "nothing"
    slices = " and ".join(
        f"{count} of {data}" for data, count in quantization.calibration_slices.items()
    )
    (chosen, *_) = (
        trial
        for trial in quantization.trials
        if trial.float32_groups == quantization.float32_groups
    )
    scans = " and on the calibration scans" if "scans" in quantization.calibration_slices else ""
    return [
        f"INT8 was calibrated on slices, {slices}, by {quantization.quantizer}. Left in float32:"
        f" {float32_groups}. This was chosen in {count_noun(len(quantization.trials), 'trial')} on"
        f" slices of other phantoms than those of the calibration and of the table above{scans}"
        f" (mask Dice {chosen.mask_dice:.4f})."
    ]


def _table(*rows: Sequence[str]) -> str:
    return _markdown_rows([("", ""), ("---", "---"), *rows])
