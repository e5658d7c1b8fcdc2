"""The code of docs/python.md runs as it is printed."""

import re
from pathlib import Path

import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from wmh_runtime.phantom.cohort import plan_cohort, write_phantom

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "python.md"


def code_of(page):
    """Return the Python code of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.exhaustive
def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (plan,) = plan_cohort(1, 7, (20, 20))
    with coarse_phantoms():
        write_phantom(plan, tmp_path / "scans")
    assert (tmp_path / "scans" / "sub-7000_FLAIR.nii.gz").exists()
    blocks = code_of(PAGE)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert re.search(r"\d+\.\d\d mL in \d+ lesions", printed)
    assert "1 done, 0 kept" in printed
    assert "image: " in printed  # the error names what it is about
    assert (tmp_path / "mask.nii.gz").exists()
    assert names["wmh"].volume_ml == names["segmentation"]["wmh"].volume_ml > 5
    report = tmp_path / "results" / "report.html"
    report.unlink()
    (block,) = code_of(DOCS / "report.md")
    exec(compile(block, "report.md", "exec"), {})
    assert "sub-7000" in report.read_text(encoding="utf-8")
