"""The summary of a comparison of models, as Markdown."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from wmh_runtime.evaluation.comparison.analysis import ALL, Comparison, Description, Family
from wmh_runtime.evaluation.comparison.factors import Factor
from wmh_runtime.evaluation.comparison.hypothesis_tests import ALPHA, Anova, TTest
from wmh_runtime.evaluation.comparison.measures import MEASURES, Measure
from wmh_runtime.evaluation.comparison.paired import PairedDifference
from wmh_runtime.evaluation.markdown import bullet_list, escaped, table
from wmh_runtime.evaluation.provenance import shortened
from wmh_runtime.evaluation.report.summary import format_number
from wmh_runtime.text import count_noun

_MAX_LINES = 30
_MAX_NAMES = 6  # of models for which an assumption does not hold
_LEAST_P = 0.001
_NONE = (
    "None of the differences is significant after correction. This does not show that the models"
    " are equal."
)
_PAIRED = (
    "Differences are first − second, with a 95 % bootstrap interval over subjects. p is that of"
    " Wilcoxon's signed-rank test, after Holm's correction over the pairs of a metric. It is not"
    " corrected for the number of metrics."
)
_REPEATED = (
    "Some subjects have several scans. The intervals take this into account. Wilcoxon's test, the"
    " analysis of variance and the t-tests treat scans as independent: their p-values may be too"
    " small."
)
_TWO_SAMPLE = (
    "One-way analysis of variance, and two-sample t-tests with pooled variance, all in"
    " `pairwise.csv`. They treat the scans of each model as other scans. They are here for"
    " comparison with published tables; for the same scans, look at the differences above."
)
_BY_FACTOR = (
    "All pairs of levels are in `pairwise.csv`. **Bold**: p below 0.05 in the analysis of variance,"
    " not corrected for the number of models, metrics and factors. Levels have different scans, so"
    " a difference may come from the patients."
)


def summary_text(comparison: Comparison, reports: Mapping[str, Path], figure: str) -> str:
    """Return the summary as Markdown.

    Args:
        comparison: all statistics.
        reports: name of the model → folder of its report.
        figure: name of the file with the box plots.
    """
    scores = comparison.scores
    subjects = count_noun(len({*scores.subjects}), "subject")
    significant = significant_differences(comparison)
    parts = [
        f"# Comparison of {len(scores.models)} models",
        f"{count_noun(len(scores.scans), 'scan')} of {subjects}, which all reports have."
        f" wmh-lora {version('wmh-lora')}.",
        bullet_list(_model_line(comparison, name, reports[name]) for name in scores.models),
        "## Significant differences between models",
        bullet_list(map(escaped, shortened(significant, _MAX_LINES))) if significant else _NONE,
        "## Metrics",
        _descriptions(comparison),
        "Mean ± standard deviation. The F-measure of voxels is their Dice coefficient. H95 is"
        " undefined if a mask is empty. Undefined values are left out, here and in all tests: where"
        " some are, the number of scans with a value is in brackets, and a model that finds nothing"
        " in the other scans may look better than it is.",
        "## Differences on the same scans",
        _paired(comparison),
        _PAIRED + (f" {_REPEATED}" if scores.has_repeated_subjects else ""),
        "## Tests between models as if they had other scans",
        _anovas("Metric", [(one.measure.name, [one]) for one in comparison.by_model]),
        _t_tests(comparison.by_model, "models"),
        _TWO_SAMPLE,
    ]
    for factor in comparison.factors.used:
        parts += _factor(comparison, factor)
    if comparison.factors.used:
        parts.append(_BY_FACTOR)
    if comparison.factors.skipped:
        parts += ["## Factors not tested", bullet_list(map(escaped, comparison.factors.skipped))]
    notes = _notes(comparison)
    parts += [
        "## Assumptions that do not hold, and tests that were not computed",
        bullet_list(notes) if notes else "None.",
        "Those of single t-tests are in `pairwise.csv`. Unequal variances: p below 0.05 in the test"
        " of Brown and Forsythe. Mixed-effects models are not computed.",
        "## Box plots",
        f"![Metrics of each model]({figure})",
    ]
    return "\n\n".join(parts) + "\n"


def significant_differences(comparison: Comparison) -> list[str]:
    """Return a line for each pair of models that differs on the same scans, after correction."""
    return [
        f"{measure.name}, {one.first} − {one.second}: {_difference(measure, one)},"
        f" {format_p(one.p_holm)}; {_counts(one)}"
        for measure, differences in comparison.paired.items()
        for one in differences
        if one.is_significant
    ]


def format_p(p: float) -> str:
    """Format a p-value: `p = 0.012`, `p < 0.001`."""
    return f"p < {_LEAST_P:g}" if p < _LEAST_P else f"p = {format_number(p, 3)}"


def mean_and_sd(one: Description) -> str:
    """Format a mean with its standard deviation: `0.812 ± 0.090`, or `… (18 of 20)` scans."""
    decimals = one.measure.decimals
    text = f"{format_number(one.mean, decimals)} ± {format_number(one.sd, decimals)}"
    return f"{text} ({one.count} of {one.count + one.left_out})" if one.left_out else text


def _model_line(comparison: Comparison, name: str, folder: Path) -> str:
    left_out = comparison.scores.left_out[name]
    more = f"; {count_noun(left_out, 'scan')} left out that another report lacks"
    return f"{escaped(name)}: `{folder}`" + (more if left_out else "")


def _descriptions(comparison: Comparison) -> str:
    rows = []
    for model in comparison.scores.models:
        found = [one for one in comparison.descriptions if (one.model, one.by) == (model, ALL)]
        rows.append([escaped(model), *map(mean_and_sd, found)])
    header = ["Model", *(measure.title for measure in MEASURES)]
    return table(header, rows, numeric_from=1)


def _difference(measure: Measure, one: PairedDifference) -> str:
    """Format a difference with its interval: `0.034 mm [0.020, 0.048]`."""
    mean, low, high = (format_number(x, measure.decimals) for x in (one.mean, one.low, one.high))
    interval = "" if math.isnan(one.low) else f" [{low}, {high}]"
    return " ".join([mean, *([measure.unit] if measure.unit else [])]) + interval


def _counts(one: PairedDifference) -> str:
    better, worse, equal = one.first_better, one.second_better, one.equal
    return (
        f"{one.first} better in {better}, worse in {worse}, equal in {equal} of {one.count} scans"
    )


def _paired(comparison: Comparison) -> str:
    rows = [
        [
            measure.name,
            f"{escaped(one.first)} − {escaped(one.second)}",
            _difference(measure, one),
            *map(str, (one.count, one.first_better, one.second_better, one.equal)),
            *_p_cells(one.p_holm),
        ]
        for measure, differences in comparison.paired.items()
        for one in differences
    ]
    header = ["Metric", "Models", "Mean difference [95 % CI]", "Scans", "First better"]
    return table(
        [*header, "Second better", "Equal", "p (Holm)", "Significant"], rows, numeric_from=2
    )


def _p_cells(p: float) -> list[str]:
    """Return a p-value, and whether it is significant; dashes for a test that was not computed."""
    number = format_p(p).removeprefix("p = ").removeprefix("p ")
    return [number, "–" if math.isnan(p) else "yes" if p < ALPHA else "no"]


def _anovas(title: str, rows: Sequence[tuple[str, Sequence[Family]]]) -> str:
    """Return a table of analyses of variance: one row for each name, with its families."""
    columns = [one.measure.name for one in rows[0][1]]
    header = [title, *(columns if len(columns) > 1 else ["Analysis of variance"])]
    lines = [[escaped(name), *(_anova(one.anova) for one in families)] for name, families in rows]
    return table(header, lines, numeric_from=1)


def _anova(anova: Anova) -> str:
    if math.isnan(anova.p):
        return "not computed"
    degrees = f"{anova.df_between:g}, {anova.df_within:g}"
    text = f"F({degrees}) = {format_number(anova.f, 2)}, {format_p(anova.p)}"
    return f"**{text}**" if anova.is_significant else text


def _t_tests(families: Sequence[Family], groups: str) -> str:
    """List the significant t-tests; without any, say that no two groups differ."""
    lines = [
        _t_test(family, test)
        for family in families
        for test in family.t_tests
        if test.is_significant
    ]
    if not lines:
        return f"No two {groups} differ significantly in a t-test after Holm's correction."
    found = bullet_list(map(escaped, shortened(lines, _MAX_LINES)))
    return f"Two {groups} that differ in a t-test after Holm's correction:\n\n{found}"


def _t_test(family: Family, test: TTest) -> str:
    first, second = (format_number(mean, family.measure.decimals) for mean in test.means)
    what = family.measure.name + (f", {family.model}" if family.model else "")
    return (
        f"{what}: {test.first} ({first}), {test.second} ({second}),"
        f" t({test.df:g}) = {format_number(test.t, 2)}, {format_p(test.p_holm)}"
    )


def _factor(comparison: Comparison, factor: Factor) -> list[str]:
    """Return the section of a factor: its analyses of variance, and which levels differ."""
    families = comparison.by_factor(factor)
    rows = [
        (model, [one for one in families if one.model == model])
        for model in comparison.scores.models
    ]
    unknown = f"{count_noun(factor.unknown, 'scan')} of unknown level left out."
    return [
        f"## By {escaped(factor.title)}",
        _anovas("Model", rows),
        *([unknown] if factor.unknown else []),
        _t_tests(families, "levels"),
    ]


def _notes(comparison: Comparison) -> list[str]:
    """Return each note of analyses of variance and paired tests, with the tests it is about."""
    models: defaultdict[tuple[str, str], list[str]] = defaultdict(list)  # (note, test) → models
    titles = {factor.name: factor.title for factor in comparison.factors.used}
    for family in comparison.families:
        by = titles[family.by] if family.model else "model"
        for note in family.anova.notes:
            models[note, f"{family.measure.name} by {by}"].append(family.model)
    for measure, differences in comparison.paired.items():
        for one in differences:
            for note in one.notes:
                models[note, f"{measure.name} on the same scans"].append(
                    f"{one.first} − {one.second}"
                )
    places: defaultdict[str, list[str]] = defaultdict(list)
    for (note, test), names in models.items():
        named = ", ".join(shortened([name for name in names if name], _MAX_NAMES))
        places[note].append(f"{test} ({named})" if named else test)
    return [escaped(f"{note}: {'; '.join(where)}") for note, where in places.items()]
