"""Which results an output folder has."""

from pathlib import Path

from tests.runtime.report.results_folder import write_result
from wmh_runtime.outputs.folder_results import read_results


def test_results_of_all_subfolders_are_read_and_output_folders_among_them_are_named(tmp_path):
    write_result(tmp_path, "b_FLAIR.nii.gz")
    write_result(tmp_path, "a/deep/c_FLAIR.nii.gz")
    (tmp_path / "volumes.csv").touch()
    found = read_results(tmp_path)
    assert [result.scan.as_posix() for result in found.results] == [
        "a/deep/c_FLAIR.nii.gz",
        "b_FLAIR.nii.gz",
    ]
    assert found.other_folders == []
    (tmp_path / "a" / "volumes.csv").touch()
    found = read_results(tmp_path)
    assert (len(found.results), found.other_folders) == (2, [Path("a")])
