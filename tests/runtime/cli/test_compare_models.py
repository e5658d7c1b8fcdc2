import csv
import math

import numpy as np
import pytest
from PIL import Image

from tests.runtime.evaluation.comparison.reports import scan, write_report
from tests.toys import write_annotated_heads
from wmh_runtime.cli.launcher import evaluate

COUNT = 12
FILES = {
    "anova.csv",
    "comparison.csv",
    "comparison.png",
    "paired.csv",
    "pairwise.csv",
    "summary.md",
}


@pytest.fixture
def reports(tmp_path):
    """Three models on twelve scans of two sites: "good" is better than "bad" by 0.1 or more.

    "new" is as good as "good" within ±0.03, and lacks the last scan.
    """
    steps = np.arange(COUNT) / 100
    dice = {
        "bad": 0.4 + steps,
        "good": 0.5 + 2 * steps,
        "new": 0.5 + 2 * steps + [0.01, -0.01, 0.02, -0.02, 0.03, -0.03] * 2,
    }
    folders = []
    for name, values in dice.items():
        cases = [
            scan(f"sub-{i:02}", "AB"[i % 2], dice=float(value), reference_ml=1 + i % 3)
            for i, value in enumerate(values)
        ]
        folders.append(write_report(tmp_path / name, cases[: COUNT - (name == "new")]))
    return folders


@pytest.fixture
def compare(tmp_path, run_command):
    def compare(*arguments):
        return run_command(evaluate, "compare", *arguments, "--out", tmp_path / "comparison")

    return compare


def rows_of(tmp_path, table):
    with (tmp_path / "comparison" / table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_three_reports_are_compared(tmp_path, reports, compare):
    status, said, errors = compare(*reports)
    assert status == 0
    assert errors.splitlines() == [
        "warning: bad: 1 scan left out that another report lacks",
        "warning: good: 1 scan left out that another report lacks",
    ]
    assert "3 models on 11 scans that all reports have" in said
    assert {path.name for path in (tmp_path / "comparison").iterdir()} == FILES
    with Image.open(tmp_path / "comparison" / "comparison.png") as picture:
        picture.load()
    # Differences of bad − good: −0.1 − 0.01 · i for i from 0 to 10, with the mean −0.15.
    row = rows_of(tmp_path, "paired.csv")[0]
    assert (row["metric"], row["first"], row["second"], row["n"]) == ("dice", "bad", "good", "11")
    assert float(row["difference"]) == pytest.approx(-0.15)
    assert float(row["difference_low"]) < -0.15 < float(row["difference_high"]) < -0.1
    assert float(row["p"]) == pytest.approx(2 / 2**11, rel=1e-4)
    assert float(row["p_holm"]) == pytest.approx(3 * 2 / 2**11, rel=1e-4)
    assert [row[name] for name in ("first_better", "second_better", "equal")] == ["0", "11", "0"]
    significant = {
        (row["metric"], row["first"], row["second"]): row["significant"]
        for row in rows_of(tmp_path, "paired.csv")
    }
    assert significant["dice", "bad", "good"] == "yes"
    assert significant["dice", "good", "new"] == "no"
    assert significant["h95_mm", "bad", "good"] == ""  # no difference in any scan
    line = "F-measure, bad − good: −0.150 ["
    assert line in said
    summary = (tmp_path / "comparison" / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# Comparison of 3 models\n\n11 scans of 11 subjects, which all")
    assert "p = 0.003; bad better in 0, worse in 11, equal in 0 of 11 scans\n" in summary
    assert f"- good: `{reports[1]}`; 1 scan left out that another report lacks" in summary
    assert "no variance in any group: H95 by model; H95 by site (bad, good, new)" in summary
    assert "\n- F-measure: bad (0.450), good (0.600), t(20) = " in summary  # of two samples
    assert "\n- F-measure: good (" not in summary  # which is not significantly different from new
    assert "![Metrics of each model](comparison.png)" in summary


def test_tables_have_all_tests(tmp_path, reports, compare):
    assert compare(*reports[:2])[0] == 0
    anova = {
        (row["metric"], row["by"], row["model"]): row for row in rows_of(tmp_path, "anova.csv")
    }
    by = [("model", "")]
    by += [(factor, name) for factor in ("site", "load_band_ml") for name in ("bad", "good")]
    assert list(anova) == [(metric, *one) for metric in ("dice", "iou", "h95_mm") for one in by]
    row = anova["dice", "model", ""]
    assert (row["df_between"], row["df_within"]) == ("1", "22")
    assert anova["h95_mm", "model", ""]["notes"] == "not computed: no variance in any group"
    assert anova["h95_mm", "model", ""]["f"] == ""
    # Dice of bad: 0.4 to 0.51 and of good 0.5 to 0.72, in steps of 0.01 and 0.02.
    (pair,) = [
        row
        for row in rows_of(tmp_path, "pairwise.csv")
        if (row["metric"], row["by"]) == ("dice", "model")
    ]
    sums_of_squares = 143 * (0.01**2 + 0.02**2)  # 143: that of 0 to 11
    t = (0.455 - 0.61) / np.sqrt(sums_of_squares / 22 * 2 / 12)
    assert float(pair["t"]) == pytest.approx(t, rel=1e-5)
    assert pair["p_holm"] == pair["p"]
    assert float(row["f"]) == pytest.approx(t**2, rel=1e-5)
    found = {
        (row["model"], row["by"], row["group"]): row
        for row in rows_of(tmp_path, "comparison.csv")
        if row["metric"] == "dice"
    }
    every = found["bad", "all", "all"]
    assert (every["n"], every["left_out"]) == ("12", "0")
    assert float(every["mean"]) == float(every["median"]) == pytest.approx(0.455)
    assert float(every["sd"]) == pytest.approx(0.01 * np.sqrt(143 / 11), rel=1e-5)
    assert float(found["bad", "site", "A"]["mean"]) == pytest.approx(0.45)
    assert ("bad", "load_band_ml", "2 to 5") in found


def test_a_column_of_a_table_is_a_factor(tmp_path, reports, compare):
    table = tmp_path / "participants.tsv"
    lines = [f"sub-{i:02}\t{'AD' if i > 5 else 'CN'}\tF" for i in range(COUNT)]
    table.write_text("\n".join(["participant_id\tstage\tsex", *lines]) + "\n")
    options = ("--participants", table, "--factor", "stage", "--factor", "sex")
    status, said, _ = compare(*reports[:2], *options)
    assert status == 0
    assert "skipped sex: only one level, F (12 scans)\n" in said
    (stage,) = [
        row
        for row in rows_of(tmp_path, "pairwise.csv")
        if (row["metric"], row["by"], row["model"]) == ("dice", "stage", "bad")
    ]
    assert (stage["first"], stage["second"], stage["significant"]) == ("AD", "CN", "yes")
    assert float(stage["mean_first"]) - float(stage["mean_second"]) == pytest.approx(0.06)
    summary = (tmp_path / "comparison" / "summary.md").read_text(encoding="utf-8")
    assert r"- F-measure, bad: AD (0.485), CN (0.425), t(10) = 5.55, p \< 0.001" in summary
    assert "## Factors not tested\n\n- sex: only one level, F (12 scans)\n" in summary


def test_scans_of_one_subject_are_said_to_be_taken_as_independent(tmp_path, compare):
    cases = [scan(f"sub-{i // 2}_ses-{i % 2}", subject=f"sub-{i // 2}") for i in range(6)]
    folders = [write_report(tmp_path / name, cases) for name in ("a", "b")]
    assert compare(*folders)[0] == 0
    summary = (tmp_path / "comparison" / "summary.md").read_text(encoding="utf-8")
    assert "6 scans of 3 subjects" in summary
    assert "t-tests treat scans as independent" in summary
    assert "None of the differences is significant after correction." in summary


def test_a_report_can_have_another_name(tmp_path, reports, compare):
    status, said, _ = compare(f"first={reports[0]}", f"second={reports[0]}")
    assert status == 0
    assert "no significant difference of models" in said
    assert {row["model"] for row in rows_of(tmp_path, "comparison.csv")} == {"first", "second"}
    status, _, errors = compare(reports[0], reports[0])
    assert status == 2
    assert "bad: is the name of two models" in errors
    assert errors.endswith("Give NAME=FOLDER.\n")


def test_a_folder_may_have_an_equals_sign(tmp_path, reports, compare):
    other = reports[0].rename(tmp_path / "lr=0.1")
    assert compare(other, reports[1])[0] == 0
    assert rows_of(tmp_path, "comparison.csv")[0]["model"] == "lr=0.1"


def test_scans_in_which_a_model_found_nothing_are_counted(tmp_path, compare):
    found = [scan(f"sub-{i}", dice=0.5, h95_mm=5.0 + i % 2) for i in range(8)]
    missed = [scan(f"sub-{i}", dice=0.0, h95_mm=math.nan) for i in range(6)]
    folders = [
        write_report(tmp_path / "all", found),
        write_report(tmp_path / "few", [*missed, *found[6:]]),
    ]
    assert compare(*folders)[0] == 0
    summary = (tmp_path / "comparison" / "summary.md").read_text(encoding="utf-8")
    assert "| 5.50 ± 0.71 (2 of 8) |" in summary
    assert (
        "means are over different scans: of 8 scans, there is no value of all in 0, few in 6"
        in (summary)
    )


def test_one_report_is_not_enough(tmp_path, reports, compare):
    status, _, errors = compare(reports[0])
    assert status == 2
    assert errors == (
        "error: 1 report to compare. Give at least two: wmh-eval compare first=REPORT"
        " second=REPORT --out comparison\n"
    )
    assert not (tmp_path / "comparison").exists()


def test_a_report_is_not_replaced(tmp_path, reports, run_command):
    status, _, errors = run_command(evaluate, "compare", *reports, "--out", reports[1])
    assert status == 2
    assert "would replace files of a report" in errors
    assert [path.name for path in reports[1].iterdir()] == ["metrics.csv"]


def test_a_table_without_a_column_and_a_column_without_a_table(tmp_path, reports, compare):
    status, _, errors = compare(*reports, "--participants", tmp_path / "participants.tsv")
    assert (status, "Name a column with --factor." in errors) == (2, True)
    status, _, errors = compare(*reports, "--factor", "stage")
    assert (status, "there is no table of participants for stage" in errors) == (2, True)


def test_the_help_of_evaluation_names_the_comparison(run_command):
    status, said, _ = run_command(evaluate, "--help")
    assert (status, "wmh-eval compare" in said) == (0, True)
    status, said, _ = run_command(evaluate, "compare", "--help")
    assert (status, "compare [OPTIONS]" in said) == (0, True)


def test_masks_are_evaluated_and_then_compared(tmp_path, run_command, compare):
    """References against themselves twice: every difference is 0."""
    write_annotated_heads(tmp_path / "heads", 3)
    references = tmp_path / "heads" / "derivatives" / "reference"
    (tmp_path / "results").mkdir()
    for mask in references.iterdir():
        (tmp_path / "results" / mask.name).write_bytes(mask.read_bytes())
    for name in ("a", "b"):
        command = (tmp_path / "results", references, "--out", tmp_path / name)
        assert run_command(evaluate, *command)[0] == 0
    status, said, errors = compare(tmp_path / "a", tmp_path / "b")
    assert (status, errors) == (0, "")
    assert "a: F-measure 1.000 ± 0.000, IoU 1.000 ± 0.000, H95 (mm) 0.00 ± 0.00" in said
    assert {row["equal"] for row in rows_of(tmp_path, "paired.csv")} == {"3"}
