"""Time to the first slice, time and memory of a run."""

import json

from benchmarks.dev.cli import main
from tests.toys import write_head, write_toy_bundle


def test_a_run_is_measured_at_its_first_use_and_later(run_command, tmp_path):
    scan, bundle = write_head(tmp_path / "a_FLAIR.nii.gz"), write_toy_bundle(tmp_path / "bundle")
    results = tmp_path / "results.json"
    options = ("--bundle", bundle, "--turns", 2, "--results", results)
    status, out, err = run_command(main, "start-up", scan, *options)
    assert status == 0, err
    assert "first use: first slice after " in out
    measured = json.loads(results.read_text())
    assert measured["voxels"] == [24, 30, 6]
    runs = [measured["first_use"], *measured["later"]]
    assert len(runs) == 3
    assert all(0 < run["first_slice_s"] < run["seconds"] for run in runs)
    assert all(50 < run["peak_memory_mb"] < 2000 for run in runs)
