import math

import numpy as np
import pytest

from tests.runtime.evaluation.comparison.reports import scan, write_report
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.comparison.reports import read_reports


def test_only_scans_that_all_reports_have_are_joined(tmp_path):
    first = write_report(tmp_path / "a", [scan(name, dice=0.5) for name in ("3", "1", "2")])
    second = write_report(tmp_path / "b", [scan("1", dice=0.25), scan("3", dice=0.75), scan("9")])
    found = read_reports({"a": first, "b": second})
    assert [one.name for one in found.scans] == ["1", "3"]
    assert found.models == ("a", "b")
    assert found.values["dice"].tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert found.values["iou"][1] == pytest.approx([1 / 7, 0.6], abs=1e-6)
    assert found.left_out == {"a": 1, "b": 1}


def test_no_shared_scan_is_an_error(tmp_path):
    first = write_report(tmp_path / "a", [scan("1")])
    second = write_report(tmp_path / "b", [scan("2")])
    with pytest.raises(InputError, match=r"no scan is in all reports \(a, b\)"):
        read_reports({"a": first, "b": second})


def test_undefined_values_are_nan(tmp_path):
    first = write_report(tmp_path / "a", [scan("1", h95_mm=math.nan)])
    second = write_report(tmp_path / "b", [scan("1", h95_mm=2.5)])
    values = read_reports({"a": first, "b": second}).values["h95_mm"]
    assert np.isnan(values[0, 0])
    assert values[1, 0] == 2.5


def test_what_is_known_of_a_scan(tmp_path):
    """The site is that of the first report that has one; the subject need not be in the name."""
    first = write_report(tmp_path / "a", [scan("x", site="", subject="s", reference_ml=7)])
    second = write_report(tmp_path / "b", [scan("x", site="U", subject="s", reference_ml=7)])
    (found,) = read_reports({"a": first, "b": second}).scans
    assert (found.subject, found.site, found.load_band) == ("s", "U", "5 to 15")


def test_reports_of_earlier_versions_have_the_subject_in_the_name(tmp_path):
    cases = [scan("sub-1_ses-1"), scan("sub-1_ses-2"), scan("sub-2_ses-1")]
    folders = {
        name: write_report(tmp_path / name, cases, without=["subject"]) for name in ("a", "b")
    }
    found = read_reports(folders)
    assert found.subjects.tolist() == ["sub-1", "sub-1", "sub-2"]
    assert found.has_repeated_subjects


def test_one_scan_for_each_subject_is_no_repetition(tmp_path):
    folders = {
        name: write_report(tmp_path / name, [scan("sub-1"), scan("sub-2")]) for name in ("a", "b")
    }
    assert not read_reports(folders).has_repeated_subjects


def test_other_references_are_an_error(tmp_path):
    first = write_report(tmp_path / "a", [scan("1", reference_ml=2), scan("2", reference_ml=0)])
    second = write_report(tmp_path / "b", [scan("1", reference_ml=2.1), scan("2", reference_ml=0)])
    with pytest.raises(InputError, match="b: has other reference volumes than a: 1") as raised:
        read_reports({"a": first, "b": second})
    assert raised.value.about == second


def test_a_folder_without_a_report_is_named(tmp_path):
    report = write_report(tmp_path / "a", [scan("1")])
    with pytest.raises(InputError, match=r"contains no metrics\.csv\. Give a report folder"):
        read_reports({"a": report, "b": tmp_path / "b"})
    write_report(tmp_path / "b" / "label-WMH", [scan("1")])
    with pytest.raises(InputError, match="but reports of several outputs: label-WMH"):
        read_reports({"a": report, "b": tmp_path / "b"})


def test_a_table_that_is_none_of_a_report_is_named(tmp_path):
    report = write_report(tmp_path / "a", [scan("1")])
    without = write_report(tmp_path / "b", [scan("1")], without=["iou", "h95_mm"])
    with pytest.raises(InputError, match="has no column iou, h95_mm"):
        read_reports({"a": report, "b": without})
    (report / "metrics.csv").write_text("name,site,reference_ml,dice,iou,h95_mm\n1,A,3,high,1,1\n")
    with pytest.raises(InputError, match="has high as dice of 1"):
        read_reports({"a": report, "b": without})
    (report / "metrics.csv").write_text("name,site,reference_ml,dice,iou,h95_mm\n1,A,,1,1,1\n")
    with pytest.raises(InputError, match="has nothing as reference_ml of 1"):
        read_reports({"a": report, "b": without})
    row = "1,A,3,1,1,1\n"
    (report / "metrics.csv").write_text(f"name,site,reference_ml,dice,iou,h95_mm\n{row}{row}")
    with pytest.raises(InputError, match="names a scan twice"):
        read_reports({"a": report, "b": without})
    (report / "metrics.csv").write_text("name,site,reference_ml,dice,iou,h95_mm\n")
    with pytest.raises(InputError, match="has no rows"):
        read_reports({"a": report, "b": without})
