"""Parameters of the scanner in the JSON files of a scan."""

import json

import pytest

from wmh_runtime.change.acquisition import Acquisition, acquisition_files, read_acquisition

NAME = "sub-1_ses-2_FLAIR"


def acquisition_of(folder, **content):
    (folder / f"{NAME}.json").write_text(json.dumps(content))
    return read_acquisition(folder / f"{NAME}.nii.gz")


def test_only_what_both_say_and_differs_is_a_difference(tmp_path):
    one = acquisition_of(
        tmp_path,
        Manufacturer="SIEMENS",
        MagneticFieldStrength=3,
        EchoTime=0.09,
        RepetitionTime=9,
        ConversionSoftware="any",
    )
    other = acquisition_of(
        tmp_path,
        Manufacturer="Siemens ",
        MagneticFieldStrength=2.89,
        EchoTime=0.125,
        InversionTime=2.5,
        MRAcquisitionType="3D",
    )
    assert list(one.differences(other)) == ["EchoTime 0.09 and 0.125"]
    assert list(other.differences(one)) == ["EchoTime 0.125 and 0.09"]
    assert list(one.differences(one)) == []


def test_an_unusual_value_does_not_hide_the_others(tmp_path):
    found = acquisition_of(
        tmp_path,
        ManufacturersModelName=750,
        MagneticFieldStrength="3T",
        EchoTime=[0.09, 0.1],
        RepetitionTime="9",
        InversionTime=float("nan"),
        EchoTrainLength=10,
        Manufacturer=True,
    )
    acquisition_of(tmp_path, MagneticFieldStrength=10**400)
    assert found == Acquisition({"ManufacturersModelName": "750"}, {"RepetitionTime": 9.0})


@pytest.mark.parametrize(
    "content", ["", "[]", '[["EchoTime", 0.1]]', "no JSON", '{"EchoTime": 0.1,', "[" * 100_000]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / f"{NAME}.json"
    path.write_text(content)
    assert read_acquisition(tmp_path / f"{NAME}.nii.gz") == Acquisition(unreadable=(path,))


def test_without_a_file_nothing_is_known(tmp_path):
    assert read_acquisition(tmp_path / f"{NAME}.nii.gz") == Acquisition()


def test_files_above_count_if_their_names_fit_and_the_nearest_counts_most(tmp_path):
    (tmp_path / "FLAIR.json").write_text('{"EchoTime": 0.3}')  # above the data set
    top = tmp_path / "bids"
    folder = top / "sub-1" / "ses-2" / "anat"
    folder.mkdir(parents=True)
    (top / "dataset_description.json").write_text("{}")
    for path, seconds in (
        (top / "FLAIR.json", 0.1),
        (top / "T1w.json", 0.2),
        (top / "sub-1" / "sub-1_FLAIR.json", 0.11),
        (top / "sub-1" / "sub-1_ses-2_FLAIR.json", 0.12),
        (top / "sub-1" / "sub-1_ses-1_FLAIR.json", 0.13),
        (folder / "sub-1_FLAIR.json", 0.125),
    ):
        path.write_text(json.dumps({"EchoTime": seconds, str(seconds): 1}))
    scan = folder / f"{NAME}.nii.gz"
    names = [path.relative_to(top).as_posix() for path in acquisition_files(scan)]
    assert names == [
        "FLAIR.json",
        "sub-1/sub-1_FLAIR.json",
        "sub-1/sub-1_ses-2_FLAIR.json",
        "sub-1/ses-2/anat/sub-1_FLAIR.json",
    ]
    (top / "FLAIR.json").write_text('{"EchoTime": 0.1, "RepetitionTime": 8}')
    assert read_acquisition(scan).numbers == {"EchoTime": 0.125, "RepetitionTime": 8}
    (folder / f"{NAME}.json").write_text('{"EchoTime": 0.14}')
    assert read_acquisition(scan).numbers["EchoTime"] == 0.14
