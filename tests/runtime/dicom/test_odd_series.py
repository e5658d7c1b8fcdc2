"""Series as they come from archives: mixed, incomplete, in many archives."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.runtime.dicom.series_toys import (
    copy_of,
    enhanced,
    oblique_affine,
    only_series,
    person,
    shuffled,
    toy_series,
    write,
)
from wmh_runtime.dicom.contrast import find_contrast
from wmh_runtime.dicom.files import find_files
from wmh_runtime.dicom.scan_files import open_volume
from wmh_runtime.dicom.series import survey
from wmh_runtime.errors import InputError


def phase_of(image):
    phase = copy_of(image)
    phase.ImageType = ["ORIGINAL", "PRIMARY", "P"]
    return phase


@pytest.mark.parametrize("order", [1, -1])
def test_phase_images_in_a_series_do_not_decide_what_it_is(tmp_path, order):
    images = toy_series()
    write([phase_of(images[0]), *images][::order], tmp_path)
    series = only_series(tmp_path)
    assert find_contrast(series).contrast == "flair"
    volume, _ = open_volume(series)
    assert len(volume.stack.frames) == 4
    assert volume.warnings == ("series 5: 1 image that was not acquired left out",)


def test_a_series_with_as_many_phase_images_is_read(tmp_path):
    images = toy_series()
    write([*map(phase_of, images), *images], tmp_path)
    for of_any_kind in (False, True):  # also if it was asked for
        volume, _ = open_volume(only_series(tmp_path), of_any_kind=of_any_kind)
        assert len(volume.stack.frames) == 4


def test_every_second_slice_missing_is_a_warning(tmp_path):
    images = toy_series(shape=(7, 5, 8))
    write(images[::2], tmp_path)
    volume, _ = open_volume(only_series(tmp_path))
    assert volume.warnings == (
        "series 5: there are gaps between the numbers of its images: slices may be missing",
    )


def without_a_group(images):
    whole = enhanced(images)
    del whole.PerFrameFunctionalGroupsSequence[-1]
    return [whole]


def without_groups(images):
    whole = enhanced(images)
    del whole.PerFrameFunctionalGroupsSequence
    return [whole]


@pytest.mark.parametrize("change", [without_a_group, without_groups])
def test_frames_without_functional_groups_are_refused(tmp_path, change):
    write(change(toy_series()), tmp_path)
    with pytest.raises(InputError, match=r"series 5 has a header that cannot be read \(ValueError"):
        open_volume(only_series(tmp_path))


def test_the_parameters_of_shared_groups_count_whatever_private_groups_say(tmp_path):
    whole = enhanced(toy_series())
    for group in whole.PerFrameFunctionalGroupsSequence:
        private = group.private_block(0x2005, "VENDOR", create=True)
        private.add_new(0x0F, "SQ", [_zero_inversion()])
    write([whole], tmp_path)
    assert find_contrast(only_series(tmp_path)).contrast == "flair"


def _zero_inversion():
    item = Dataset()
    item.InversionTime = "0"
    return item


def test_two_inversions_are_in_doubt(tmp_path):
    whole = enhanced(toy_series())
    modifier = whole.SharedFunctionalGroupsSequence[0].MRModifierSequence[0]
    modifier.InversionTimes = [2600.0, 450.0]
    write([whole], tmp_path)
    assert find_contrast(only_series(tmp_path)).doubts == ("it has two inversions",)


@pytest.mark.parametrize("description", ["AX T2 FLAIR POST GAD", "Ax FLAIR +C", "t2_flair_km"])
def test_a_contrast_agent_in_the_description_is_in_doubt(tmp_path, description):
    images = toy_series()
    for image in images:
        image.SeriesDescription = description
    write(images, tmp_path)
    doubts = find_contrast(only_series(tmp_path)).doubts
    assert doubts == ("it was acquired with a contrast agent",)


def test_two_patients_with_the_same_uids_have_a_study_each(tmp_path):
    first, second = toy_series(who=person("P1")), toy_series(who=person("P2"))
    for image, other in zip(first, second, strict=True):
        other.StudyInstanceUID = image.StudyInstanceUID
        other.SeriesInstanceUID = image.SeriesInstanceUID
    write([*first, *second], tmp_path)
    studies = survey(find_files(tmp_path)).studies
    assert sorted(len(study.series[0].files) for study in studies) == [4, 4]


def test_another_frame_of_reference_is_another_stack(tmp_path):
    images = toy_series()
    for image in images[2:]:
        image.FrameOfReferenceUID = "1.2.3"
    write(images, tmp_path)
    with pytest.raises(InputError, match="series 5 has 2 stacks of images"):
        open_volume(only_series(tmp_path))


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_file_without_a_uid_is_damaged(tmp_path, name):
    images = toy_series()
    setattr(images[0], name, "")
    write(images[:1], tmp_path)
    found = survey(find_files(tmp_path))
    assert (found.studies, len(found.damaged)) == ((), 1)


def test_an_equal_image_beside_another_one_is_refused(tmp_path):
    images = toy_series(oblique_affine((0, 0, 0)))
    other = copy_of(images[1])
    x, y, z = other.ImagePositionPatient
    other.ImagePositionPatient = [float(x) + 50, y, z]
    write([*images, other], tmp_path)
    with pytest.raises(InputError, match="has images beside one another, such as image 2"):
        open_volume(only_series(tmp_path))


def test_many_archives_are_read_with_few_open_files(tmp_path):
    resource = pytest.importorskip("resource", reason="this system has no limits of open files")
    content = write(toy_series()[:1], tmp_path / "one") / "0001.dcm"
    for number in range(60):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as packed:
            packed.write(content, "a.dcm")
    content.unlink()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, limits[1]))
    try:
        found = survey(find_files(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(found.studies) == 1


def test_a_damaged_archive_in_a_folder_is_noted_and_the_others_are_read(tmp_path):
    write(toy_series(), tmp_path / "series")
    (tmp_path / "broken.zip").write_bytes(b"PK no archive")
    noted = []
    found = survey(find_files(tmp_path, None, noted.append))
    assert noted == [tmp_path / "broken.zip"]
    assert len(found.studies) == 1


def test_reformatted_images_are_read_if_they_were_asked_for(tmp_path):
    images = toy_series()
    for image in images:
        image.ImageType = ["DERIVED", "SECONDARY", "MPR"]
    write(shuffled(images), tmp_path)
    with pytest.raises(InputError, match="has no images that were acquired"):
        open_volume(only_series(tmp_path))
    volume, _ = open_volume(only_series(tmp_path), of_any_kind=True)
    assert np.isclose(volume.stack.affine[3, 3], 1)
    assert volume.stack.shape == (7, 5, 4)


@pytest.mark.parametrize("tag", [0x0020000D, 0x00100020, 0x00080008, 0x00200011, 0x0008103E])
def test_a_file_with_an_unknown_kind_of_value_is_damaged(tmp_path, tag):
    images = toy_series()
    write(images, tmp_path)
    path = sorted(tmp_path.rglob("*.dcm"))[0]
    group, element = tag >> 16, tag & 0xFFFF
    start = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    data = path.read_bytes()
    at = data.index(start) + len(start)
    path.write_bytes(data[:at] + b"U\xef" + data[at + 2 :])  # no such value representation
    found = survey(find_files(tmp_path))
    assert [file.path for file in found.damaged] == [path]
    assert [len(series.files) for study in found.studies for series in study.series] == [
        len(images) - 1
    ]
