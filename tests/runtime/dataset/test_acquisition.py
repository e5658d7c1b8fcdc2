"""Parameters of the scanner in the JSON file beside a scan."""

import json

import pytest

from wmh_runtime.dataset.acquisition import Acquisition, read_acquisition


def acquisition_of(folder, content):
    scan = folder / "sub-1_FLAIR.nii.gz"
    (folder / "sub-1_FLAIR.json").write_text(content)
    return read_acquisition(scan)


def test_only_what_both_say_and_differs_is_a_difference(tmp_path):
    one = acquisition_of(
        tmp_path,
        json.dumps(
            {
                "Manufacturer": "SIEMENS",
                "MagneticFieldStrength": 3,
                "EchoTime": 0.09,
                "RepetitionTime": 9,
                "ConversionSoftware": "any",
            }
        ),
    )
    other = Acquisition(
        Manufacturer="Siemens ",
        MagneticFieldStrength=2.89,
        EchoTime=0.125,
        InversionTime=2.5,
        MRAcquisitionType="3D",
    )
    assert list(one.differences(other)) == ["EchoTime 0.09 and 0.125"]
    assert list(other.differences(one)) == ["EchoTime 0.125 and 0.09"]
    assert list(one.differences(one)) == []


@pytest.mark.parametrize("content", ["", "[]", "no JSON", '{"EchoTime": [1, 2]}'])
def test_of_a_file_that_cannot_be_read_nothing_is_known(tmp_path, content):
    assert acquisition_of(tmp_path, content) == Acquisition()


def test_without_a_file_nothing_is_known(tmp_path):
    assert read_acquisition(tmp_path / "sub-1_FLAIR.nii.gz") == Acquisition()
