"""Text and tables of the report: Markdown to read, rows for CSV files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from wmh_runtime.evaluation.markdown import bullet_list, escaped, table
from wmh_runtime.evaluation.provenance import Provenance, shortened
from wmh_runtime.evaluation.statistics import (
    Average,
    Evaluation,
    Group,
    ScoredCase,
    VolumeAgreement,
)
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.text import count_noun

# Metric from statistics.AVERAGED → displayed name, unit, decimals.
METRICS: dict[str, tuple[str, str, int]] = {
    "dice": ("Dice", "", 3),
    "h95_mm": ("H95", "mm", 2),
    "avd_percent": ("AVD", "%", 1),
    "lesion_recall": ("Lesion recall", "", 3),
    "lesion_f1": ("Lesion F1", "", 3),
    "lesion_precision": ("Lesion precision", "", 3),
    "precision": ("Voxel precision", "", 3),
    "recall": ("Voxel recall", "", 3),
    "iou": ("IoU", "", 3),
}
CHALLENGE = ("dice", "h95_mm", "avd_percent", "lesion_recall", "lesion_f1")
CONVENTION = (
    "If prediction and reference are both empty, AVD is 0 %, H95 is undefined and all other metrics"
    " are 1. If only one of them is empty, Dice, IoU and lesion F1 are 0; an empty prediction has"
    " precision 1, an empty reference has recall 1. H95 is undefined if either is empty, AVD if"
    " only the reference is empty. Undefined values are not averaged."
)
GROUPS_NAME = "groups.csv"
_FEW_CASES = 10
_FEW = "With so few cases, intervals and limits of agreement are too narrow to be reliable."
_ONE_SUBJECT = "Here is only one subject, and an interval needs two."
_NO_VALUE = "–"
_INCOMPLETE = (
    "**Some masks were not compared, see the end: the scores of the others may be biased.**"
)
_NEEDS_TWO_CASES = "needs 2 cases"
_NEEDS_TWO_VOLUMES = "needs 2 cases of different volume"
_MAX_LINES = 20  # of models, and of warnings


@dataclass(frozen=True)
class Sources:
    """What was compared, and what was not."""

    predictions: str
    references: str
    not_compared: tuple[str, ...] = ()  # one line each, about one or several files
    warnings: tuple[str, ...] = ()  # about the comparison itself
    output: str = "wmh"


def case_rows(
    cases: Sequence[ScoredCase], settings: Mapping[str, Settings]
) -> list[dict[str, object]]:
    """Return one row per case: what it is, all metrics, and what made the mask.

    Args:
        cases: with their metrics; NaN is an empty cell.
        settings: name of the case → settings of its mask; empty cells for other cases.
    """
    return [
        {
            **{"name": case.name, "subject": case.subject, "site": case.site},
            "load_band_ml": case.load_band,
            **_cells(asdict(case.metrics)),
            **_settings_cells(settings.get(case.name)),
        }
        for case in cases
    ]


def _settings_cells(settings: Settings | None) -> dict[str, object]:
    if settings is None:
        return dict.fromkeys(("model", "model_id", "threshold", "min_lesion_mm3"), "")
    output = settings.output
    return {
        "model": settings.bundle,
        "model_id": settings.model_id,
        "threshold": output.threshold,
        "min_lesion_mm3": output.min_lesion_mm3,
    }


def group_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """Return one row for all cases, one per site and one per load band; NaN is an empty cell.

    A column with the name of a metric has its mean. The columns with `_low` and `_high` have the
    limits of its 95 % confidence interval.
    """
    groups = [
        ("all", evaluation.overall),
        *(("site", group) for group in evaluation.by_site),
        *(("load_band_ml", group) for group in evaluation.by_band),
    ]
    return [
        {"by": by, "group": group.name, "cases": group.count, **_cells(_group_values(group))}
        for by, group in groups
    ]


def summary_text(
    evaluation: Evaluation,
    sources: Sources,
    made_by: Provenance,
    pictures: Sequence[tuple[str, str]],
) -> str:
    """Return the report as Markdown.

    Args:
        evaluation: the statistics.
        sources: what was compared.
        made_by: what made the predictions.
        pictures: caption and file name of each picture.
    """
    count = evaluation.overall.count
    few = f" {_FEW}" if count < _FEW_CASES else ""
    if math.isnan(evaluation.overall.averages["dice"].low):
        few = f" {_ONE_SUBJECT}"
    parts = [
        f"# Evaluation of {sources.output.upper()} masks",
        f"{count_noun(count, 'case')}. Predictions: `{sources.predictions}`. References:"
        f" `{sources.references}`. wmh-lora {version('wmh-lora')}.",
        *([_INCOMPLETE] if sources.not_compared else []),
        bullet_list(f"Model: {escaped(model)}" for model in shortened(made_by.models, _MAX_LINES)),
        *_warnings([*sources.warnings, *made_by.warnings]),
        "## All cases",
        _overall(evaluation.overall),
        f"The 95 % intervals are from a bootstrap over subjects.{few} {CONVENTION}",
        "## Volumes",
        _volumes(evaluation.volumes),
    ]
    if evaluation.by_site:
        parts += ["## By site", _groups("Site", evaluation.by_site)]
    parts += [
        "## By lesion load of the reference",
        _groups("Load (mL)", evaluation.by_band),
        f"Means; for Dice with the 95 % confidence interval. All intervals are in `{GROUPS_NAME}`."
        f" {_NO_VALUE} means undefined: R² needs two cases of different volume.",
    ]
    for caption, name in pictures:
        parts += [f"## {caption}", f"![{caption}]({name})"]
    if sources.not_compared:
        parts += ["## Not compared", bullet_list(map(escaped, sources.not_compared))]
    return "\n\n".join(parts) + "\n"


def _warnings(warnings: Sequence[str]) -> list[str]:
    """Return a list of the warnings, if there are any."""
    lines = [f"**Warning:** {escaped(line)}" for line in shortened(warnings, _MAX_LINES)]
    return [bullet_list(lines)] if lines else []


def format_correlation(value: float) -> str:
    """Format R² or Pearson's r; if it is undefined, say what is missing."""
    return _NEEDS_TWO_VOLUMES if math.isnan(value) else format_number(value, 3)


def format_limits(volumes: VolumeAgreement) -> str:
    """Format limits of agreement in mL: `−0.94 to 0.51 mL`; say what is missing."""
    if math.isnan(volumes.lower_limit_ml):
        return _NEEDS_TWO_CASES
    lower = format_number(volumes.lower_limit_ml, 2)
    upper = format_number(volumes.upper_limit_ml, 2)
    return f"{lower} to {upper} mL"


def format_number(value: float, decimals: int) -> str:
    """Format a number for readers: with a minus sign (not a hyphen), NaN as a dash."""
    return _NO_VALUE if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def mean_and_interval(metric: str, average: Average) -> str:
    """Format a mean with its unit and interval: `0.812 [0.790, 0.833]`."""
    _, unit, decimals = METRICS[metric]
    mean = " ".join([format_number(average.mean, decimals), *([unit] if unit else [])])
    if math.isnan(average.low):
        return mean
    low, high = (format_number(limit, decimals) for limit in (average.low, average.high))
    return f"{mean} [{low}, {high}]"


def _group_values(group: Group) -> dict[str, float]:
    """Return means, limits of their intervals, and the agreement of volumes, by column name."""
    values = {}
    for metric, average in group.averages.items():
        values[metric] = average.mean
        values[f"{metric}_low"], values[f"{metric}_high"] = average.low, average.high
    return values | {f"volume_{name}": value for name, value in asdict(group.volumes).items()}


def _cells(values: Mapping[str, float]) -> dict[str, str]:
    return {name: "" if math.isnan(value) else f"{value:.6g}" for name, value in values.items()}


def _overall(group: Group) -> str:
    rows = []
    for metric, (name, unit, decimals) in METRICS.items():
        average = group.averages[metric]
        rows.append(
            [
                name,
                mean_and_interval(metric, average),
                f"{format_number(average.median, decimals)} {unit}".strip(),
                str(average.with_value),
                str(average.without_value or ""),
            ]
        )
    header = ["Metric", "Mean [95 % CI]", "Median", "Cases", "Undefined"]
    return table(header, rows, numeric_from=1)


def _volumes(volumes: VolumeAgreement) -> str:
    rows = [
        ["R² (line of identity)", format_correlation(volumes.r_squared)],
        ["Pearson's r", format_correlation(volumes.pearson_r)],
        ["Bias, prediction − reference", f"{format_number(volumes.bias_ml, 2)} mL"],
        ["Limits of agreement, bias ± 1.96 SD", format_limits(volumes)],
    ]
    return table(["Agreement", "Value"], rows, numeric_from=1)


def _groups(title: str, groups: Sequence[Group]) -> str:
    """Return a table with one row per group; only Dice has its interval, to keep it readable."""
    header = [title, "Cases"]
    for metric in CHALLENGE:
        name, unit, _ = METRICS[metric]
        header.append(f"{name} ({unit})" if unit else name)
    header += ["Volume R²", "Volume bias (mL)"]
    rows = []
    for group in groups:
        averages = [group.averages[metric] for metric in CHALLENGE]
        means = [
            format_number(average.mean, METRICS[metric][2])
            for metric, average in zip(CHALLENGE, averages, strict=True)
        ]
        means[0] = mean_and_interval("dice", averages[0])
        r_squared = format_number(group.volumes.r_squared, 3)
        bias_ml = format_number(group.volumes.bias_ml, 2)
        rows.append([escaped(group.name), str(group.count), *means, r_squared, bias_ml])
    return table(header, rows, numeric_from=1)
