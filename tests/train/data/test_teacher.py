"""Scans that are learned with the probabilities of another network, from its results."""

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_annotated_heads, write_head, write_toy_bundle
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.bundle.training_record import Teacher
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.errors import InputError, RecipeError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.reference_masks import read_probability
from wmh_runtime.outputs.paths import Extras
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_train.data.cache import open_cache
from wmh_train.data.cache_entry import scan_key
from wmh_train.data.layouts import find_dataset
from wmh_train.data.teacher import find_unlabelled, with_maps, without_known

# The pixel size of the heads, so nothing is resampled.
PREPROCESSING = Preprocessing(pixel_size_mm=4, size_px=32, clip_percentiles=(0, 100))
WITH_MAPS = FolderOptions(extras=Extras(probability=True))


@pytest.fixture
def folder(tmp_path):
    """Two heads without masks, of subjects 10 and 11."""
    for number in (10, 11):
        write_head(tmp_path / "new" / f"sub-{number}_FLAIR.nii.gz", lesions=2, seed=100 + number)
    return tmp_path / "new"


@pytest.fixture
def maps(folder, tmp_path):
    bundle = load_bundle(write_toy_bundle(tmp_path / "bundle"))
    segment_folder(folder, tmp_path / "maps", bundle, folder_options=WITH_MAPS)
    return tmp_path / "maps"


def taught(folder, maps):
    return with_maps(find_unlabelled(folder, ["flair"]), folder, maps, ["wmh"])


def test_scans_are_found_with_their_maps_and_the_model(folder, maps, tmp_path):
    found = taught(folder, maps)
    model_id = load_bundle(tmp_path / "bundle").manifest.model_id
    assert found.teacher == Teacher(
        name="toy", model_id=model_id, tta="full", precision="fp32", scans=2
    )
    assert [scan.name for scan in found.scans] == ["sub-10", "sub-11"]
    assert all(scan.is_taught for scan in found.scans)
    assert found.scans[0].references == (maps / "sub-10_label-WMH_probseg.nii.gz",)
    assert found.notes == ()


def test_targets_are_the_probabilities_of_the_map(folder, maps, tmp_path):
    found = taught(folder, maps)
    slices = open_cache(found.scans, PREPROCESSING, tmp_path / "cache")
    _, targets = slices.read(range(12))
    assert (targets.dtype, targets.shape) == (np.float32, (12, 1, 32, 32))
    for number, scan in enumerate(found.scans):
        scan_voxels = read_scan(scan.channels[0])
        probability = read_probability(scan.references[0], scan_voxels)
        in_slices = targets[6 * number : 6 * number + 6, 0]
        # Float16 has 11 bits. The sums are over the same pixels, in another order.
        assert in_slices.sum() == pytest.approx(probability.sum(), rel=1e-3)
        assert in_slices.max() == pytest.approx(probability.max(), abs=1e-3)
        assert (in_slices >= 0.75).sum() == (probability >= 0.75).sum() == 16
    # The toy network gives more than 0.5 to all that is brighter than the mean of the head.
    assert slices.with_target.tolist() == (targets >= 0.5).any(axis=(1, 2, 3)).tolist()


def test_slices_show_a_lesion_from_one_half(folder, maps, tmp_path):
    scan = taught(folder, maps).scans[0]
    image = nib.load(scan.references[0])
    half = np.zeros(image.shape, np.float32)
    half[..., 2], half[..., 3] = 0.49, 0.5
    nib.save(nib.Nifti1Image(half, image.affine), scan.references[0])
    slices = open_cache([scan], PREPROCESSING, tmp_path / "cache")
    assert slices.with_target.tolist() == [False] * 3 + [True] + [False] * 2


def test_masks_beside_maps_are_read_in_the_same_type(folder, maps, tmp_path):
    masked = find_dataset(write_annotated_heads(tmp_path / "data", 1), ["flair"], ["wmh"]).scans
    alone = open_cache(masked, PREPROCESSING, tmp_path / "cache")
    together = open_cache((*masked, *taught(folder, maps).scans), PREPROCESSING, tmp_path / "cache")
    labels, targets = (slices.read(range(6))[1] for slices in (alone, together))
    assert (labels.dtype, targets.dtype) == (np.uint8, np.float32)
    assert np.array_equal(labels, targets)
    assert together.read(range(18))[1].max() <= 1


def test_a_changed_map_is_another_entry_of_the_cache(folder, maps, tmp_path):
    scan = taught(folder, maps).scans[0]
    before = scan_key(scan, PREPROCESSING)
    assert scan_key(replace(scan, is_taught=False), PREPROCESSING) != before
    image = nib.load(scan.references[0])
    nib.save(nib.Nifti1Image(image.get_fdata() * 0.5, image.affine), scan.references[0])
    assert scan_key(scan, PREPROCESSING) != before
    _, targets = open_cache([scan], PREPROCESSING, tmp_path / "cache").read(range(6))
    assert 0.4 < targets.max() <= 0.5


def test_a_map_with_other_values_is_refused(folder, maps, tmp_path):
    scan = taught(folder, maps).scans[0]
    image = nib.load(scan.references[0])
    nib.save(nib.Nifti1Image(image.get_fdata() * 100, image.affine), scan.references[0])
    with pytest.raises(InputError, match="expected probabilities from 0 to 1"):
        open_cache([scan], PREPROCESSING, tmp_path / "cache")


def test_scans_without_map_are_left_out_with_a_note(folder, maps):
    (maps / "sub-10_label-WMH_probseg.nii.gz").unlink()
    found = taught(folder, maps)
    assert [scan.name for scan in found.scans] == ["sub-11"]
    assert found.notes == (
        "not learned: 1 unlabelled scan without probabilities of the teacher: sub-10",
    )
    (maps / "sub-11_label-WMH_mask.json").unlink()  # an interrupted run left the map only
    with pytest.raises(InputError, match=r"no probabilities of wmh .*2 unlabelled scans without"):
        taught(folder, maps)


def test_maps_of_several_models_are_refused(folder, maps):
    sidecar = maps / "sub-10_label-WMH_mask.json"
    sidecar.write_text(sidecar.read_text().replace('"bundle": "toy"', '"bundle": "other"'))
    with pytest.raises(InputError, match=r"several models or settings: other \(.* and toy \("):
        taught(folder, maps)


def test_a_map_of_another_image_of_the_same_name_is_not_used(folder, maps):
    write_head(folder / "sub-10_FLAIR.nii.gz", lesions=1, seed=7)
    found = taught(folder, maps)
    assert [scan.name for scan in found.scans] == ["sub-11"]
    assert found.notes == (
        "not learned: 1 unlabelled scan with another image than the one that was segmented: sub-10",
    )


def test_maps_are_found_in_the_folders_of_bids_and_of_the_challenge(tmp_path):
    bundle = load_bundle(write_toy_bundle(tmp_path / "bundle"))
    for layout, name in (
        ("bids", "sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii.gz"),
        ("challenge", "Utrecht/3/pre/FLAIR.nii.gz"),
    ):
        write_head(tmp_path / layout / name)
        segment_folder(
            tmp_path / layout, tmp_path / "out" / layout, bundle, folder_options=WITH_MAPS
        )
        found = taught(tmp_path / layout, tmp_path / "out" / layout)
        assert len(found.scans) == 1
        assert found.scans[0].references[0].is_file()


def test_a_table_is_refused(folder, maps, tmp_path):
    table = tmp_path / "scans.csv"
    table.write_text(f"flair\n{folder / 'sub-10_FLAIR.nii.gz'}\n")
    with pytest.raises(InputError, match="is not a folder"):
        taught(table, maps)


def test_the_same_image_and_held_out_persons_are_left_out(folder, tmp_path):
    """Otherwise the validation would judge what was learned."""
    data = write_annotated_heads(tmp_path / "data", 3)
    annotated = find_dataset(data, ["flair"], ["wmh"])
    found = find_unlabelled(folder, ["flair"])
    assert without_known(found, annotated, ["sub-00"]) == found
    shutil.copyfile(folder / "sub-10_FLAIR.nii.gz", data / "sub-01_FLAIR.nii.gz")
    same_image = without_known(found, annotated, ["sub-00"])
    assert [scan.name for scan in same_image.scans] == ["sub-11"]
    assert same_image.notes == (
        "not learned: 1 unlabelled scan also among the annotated ones: sub-10",
    )
    one, *others = annotated.scans
    of_same_person = replace(annotated, scans=(replace(one, subject="sub-11"), *others))
    with pytest.raises(RecipeError, match="no unlabelled scan is left of 2"):
        without_known(found, of_same_person, [one.name])
    # A person whose scans are in the training may have others.
    kept = without_known(found, of_same_person, ["sub-02"])
    assert [scan.name for scan in kept.scans] == ["sub-11"]


def test_two_images_of_one_name_are_refused(folder, tmp_path):
    annotated = find_dataset(write_annotated_heads(tmp_path / "data", 1), ["flair"], ["wmh"])
    found = find_unlabelled(folder, ["flair"])
    renamed = replace(found, scans=tuple(replace(scan, name="sub-00") for scan in found.scans[:1]))
    with pytest.raises(RecipeError, match="are both named sub-00"):
        without_known(renamed, annotated, [])


def test_masks_of_a_taught_scan_are_not_read(folder, maps):
    """A map is no mask: its fractions would be rounded."""
    scan = taught(folder, maps).scans[0]
    assert scan.load()[1] == []
    (rounded,) = replace(scan, is_taught=False).load()[1]
    assert rounded.lesion.any()
