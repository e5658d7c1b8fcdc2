"""The evaluation in words and tables: Markdown to read, rows for a spreadsheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

from wmh_runtime.evaluation.statistics import Average, Case, Evaluation, Group, VolumeAgreement
from wmh_runtime.text import count_noun

# Metric, as in evaluation.AVERAGED: its name for people, its unit, and its decimals.
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
    "Where prediction and reference are both empty, shares are 1 and AVD is 0 %. Where one of them"
    " is, Dice, IoU and lesion F1 are 0; an empty prediction has precision 1, an empty reference"
    " recall 1. H95 has no value where either is empty, AVD where the reference alone is; such"
    " cases are not averaged."
)
GROUPS_NAME = "groups.csv"
_FEW_CASES = 10
_FEW = "Of so few cases, intervals and limits of agreement are too narrow to rely on."
_NO_VALUE = "–"


@dataclass(frozen=True)
class Sources:
    """What was compared, and what could not be."""

    predictions: str
    references: str
    left_out: tuple[str, ...] = ()  # sentences, each about one file or several


def rows_of(cases: Sequence[Case]) -> list[dict[str, object]]:
    """Return a row for each case: name, site, load band and all metrics, NaN as an empty cell."""
    return [
        {
            **{"name": case.name, "site": case.site, "load_band_ml": case.load_band},
            **_cells(asdict(case.metrics)),
        }
        for case in cases
    ]


def rows_of_groups(evaluation: Evaluation) -> list[dict[str, object]]:
    """Return a row for all cases, each site and each load band, NaN as an empty cell.

    A metric's mean is under its name, the ends of its 95 % confidence interval under that with
    `_low` and `_high`.
    """
    groups = [
        ("all", evaluation.overall),
        *(("site", group) for group in evaluation.by_site),
        *(("load_band_ml", group) for group in evaluation.by_band),
    ]
    return [
        {"by": by, "group": group.name, "cases": group.count, **_cells(_figures(group))}
        for by, group in groups
    ]


def summary_text(
    evaluation: Evaluation, sources: Sources, pictures: Sequence[tuple[str, str]]
) -> str:
    """Write the report's Markdown.

    Args:
        evaluation: the figures.
        sources: what they are of.
        pictures: caption and file name of each.
    """
    count = evaluation.overall.count
    few = f" {_FEW}" if count < _FEW_CASES else ""
    parts = [
        "# Evaluation of WMH masks",
        f"{count_noun(count, 'case')}. Predictions: `{sources.predictions}`. References:"
        f" `{sources.references}`. wmh-lora {version('wmh-lora')}.",
        "## All cases",
        _overall(evaluation.overall),
        f"The interval is a bootstrap over persons.{few} {CONVENTION}",
        "## Volumes",
        _volumes(evaluation.volumes),
    ]
    if evaluation.by_site:
        parts += ["## By site", _groups("Site", evaluation.by_site)]
    parts += [
        "## By lesion load of the reference",
        _groups("Load (mL)", evaluation.by_band),
        f"Means, for Dice with its 95 % confidence interval; all others are in `{GROUPS_NAME}`.",
    ]
    for caption, name in pictures:
        parts += [f"## {caption}", f"![{caption}]({name})"]
    if sources.left_out:
        parts += ["## Left out", "\n".join(f"- {_cell(line)}" for line in sources.left_out)]
    return "\n\n".join(parts) + "\n"


def number(value: float, decimals: int) -> str:
    """Write a number for people: a true minus sign, a dash where it is NaN."""
    return _NO_VALUE if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def mean_and_interval(metric: str, average: Average) -> str:
    """Write a mean with its unit and interval, `0.812 [0.790, 0.833]`."""
    _, unit, decimals = METRICS[metric]
    mean = " ".join([number(average.mean, decimals), *([unit] if unit else [])])
    if math.isnan(average.low):
        return mean
    return f"{mean} [{number(average.low, decimals)}, {number(average.high, decimals)}]"


def _figures(group: Group) -> dict[str, float]:
    """Name every mean, the ends of its interval, and the agreement of volumes."""
    figures = {}
    for metric, average in group.averages.items():
        figures[metric] = average.mean
        figures[f"{metric}_low"], figures[f"{metric}_high"] = average.low, average.high
    return figures | {f"volume_{name}": value for name, value in asdict(group.volumes).items()}


def _cells(figures: Mapping[str, float]) -> dict[str, str]:
    return {name: "" if math.isnan(value) else f"{value:.6g}" for name, value in figures.items()}


def _overall(group: Group) -> str:
    rows = []
    for metric, (name, unit, decimals) in METRICS.items():
        average = group.averages[metric]
        rows.append(
            [
                name,
                mean_and_interval(metric, average),
                f"{number(average.median, decimals)} {unit}".strip(),
                str(average.counted),
                str(average.left_out or ""),
            ]
        )
    header = ["Metric", "Mean [95 % CI]", "Median", "Cases", "Without value"]
    return _table(header, rows, numeric_from=1)


def _volumes(volumes: VolumeAgreement) -> str:
    limits = f"{number(volumes.lower_limit_ml, 2)} to {number(volumes.upper_limit_ml, 2)}"
    rows = [
        ["R², about the line of identity", number(volumes.r_squared, 3)],
        ["Pearson's r", number(volumes.pearson_r, 3)],
        ["Bias, prediction − reference (mL)", number(volumes.bias_ml, 2)],
        ["Limits of agreement, bias ± 1.96 SD (mL)", limits],
    ]
    return _table(["Agreement", "Value"], rows, numeric_from=1)


def _groups(title: str, groups: Sequence[Group]) -> str:
    """One row a group; the interval for Dice alone, so that the table can be read."""
    header = [title, "Cases"]
    for metric in CHALLENGE:
        name, unit, _ = METRICS[metric]
        header.append(f"{name} ({unit})" if unit else name)
    header += ["Volume R²", "Volume bias (mL)"]
    rows = []
    for group in groups:
        averages = [group.averages[metric] for metric in CHALLENGE]
        means = [number(a.mean, METRICS[m][2]) for m, a in zip(CHALLENGE, averages, strict=True)]
        means[0] = mean_and_interval("dice", averages[0])
        volumes = [number(group.volumes.r_squared, 3), number(group.volumes.bias_ml, 2)]
        rows.append([group.name, str(group.count), *means, *volumes])
    return _table(header, rows, numeric_from=1)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numeric_from: int) -> str:
    """Write a Markdown table; columns from `numeric_from` on are set to the right."""
    rules = [":--" if column < numeric_from else "--:" for column in range(len(header))]
    lines = [header, rules, *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Write text so that a table's or a list's line stays one."""
    return " ".join(text.split()).replace("|", "\\|")
