"""Which results an output folder has."""

from tests.runtime.report.results_folder import write_result
from wmh_runtime.outputs.folder_results import read_results


def test_results_of_all_subfolders_are_read_but_not_those_of_another_output_folder(tmp_path):
    write_result(tmp_path, "b_FLAIR.nii.gz")
    write_result(tmp_path, "a/deep/c_FLAIR.nii.gz")
    write_result(tmp_path / "second-run", "d_FLAIR.nii.gz")
    for folder in (tmp_path, tmp_path / "second-run"):
        (folder / "volumes.csv").touch()
    scans = [result.scan.as_posix() for result in read_results(tmp_path).results]
    assert scans == ["a/deep/c_FLAIR.nii.gz", "b_FLAIR.nii.gz"]
