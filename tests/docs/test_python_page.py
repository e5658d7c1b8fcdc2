"""The code of docs/python.md runs as it is printed."""

import re
from pathlib import Path

import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from wmh_runtime.outputs.folder_results import read_results
from wmh_runtime.phantom.cohort import plan_cohort, write_phantom

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "python.md"


def code_of(page):
    """Return the Python code of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def run_page(page):
    """Run the only block of a page."""
    (block,) = code_of(page)
    exec(compile(block, str(page), "exec"), {})


@pytest.mark.exhaustive
def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (plan,) = plan_cohort(1, 7, (20, 20))
    with coarse_phantoms():
        write_phantom(plan, tmp_path / "scans")
    assert (tmp_path / "scans" / "sub-7000_FLAIR.nii.gz").exists()
    blocks = code_of(PAGE)
    assert len(blocks) == 6
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert re.search(r"\d+\.\d\d mL in \d+ lesions", printed)
    assert "1 done, 0 kept" in printed
    assert (tmp_path / "results-with-maps" / "sub-7000_label-WMH_probseg.nii.gz").exists()
    assert "image: " in printed  # the error names what it is about
    assert (tmp_path / "mask.nii.gz").exists()
    assert names["wmh"].volume_ml == names["segmentation"]["wmh"].volume_ml > 5
    report = tmp_path / "results" / "report.html"
    report.unlink()
    run_page(DOCS / "report.md")
    assert "sub-7000" in report.read_text(encoding="utf-8")
    run_page(DOCS / "change.md")
    assert (
        capsys.readouterr().out == "0 compared, 0 kept, 0 failed\n"
    )  # one visit only: nothing to compare
    (tmp_path / "scans" / "sub-7000_FLAIR.nii.gz").rename(tmp_path / "sub-1_FLAIR.nii.gz")
    run_page(DOCS / "image-quality.md")
    measured = capsys.readouterr().out.splitlines()
    (row,) = read_results(tmp_path / "results", {}).results
    assert [line.split()[0] for line in measured] == [one.name for one in row.sidecar.quality]
