import hashlib

import nibabel as nib
import numpy as np
import pytest

from tests.toys import small_recipe, write_annotated_heads, write_head
from wmh_runtime.errors import InputError, RecipeError
from wmh_train.datasets import (
    Subject,
    describe,
    draw_epoch,
    find_subjects,
    load_subject,
    prepare_slices,
    split_subjects,
)


def subjects(count):
    return [Subject(f"sub-{number}", (), ()) for number in range(count)]


def test_the_split_is_that_of_the_hash_of_seed_and_name():
    training, validation = split_subjects(subjects(10), 0.3, seed=5)
    by_hash = sorted(range(10), key=lambda n: hashlib.sha256(f"5:sub-{n}".encode()).hexdigest())
    assert [s.name for s in validation] == [f"sub-{n}" for n in by_hash[:3]]
    assert len(training) == 7
    assert not set(training) & set(validation)


def test_the_split_does_not_depend_on_the_order_and_follows_the_seed():
    _, validation = split_subjects(subjects(20), 0.3, seed=5)
    assert split_subjects(subjects(20)[::-1], 0.3, seed=5)[1] == validation
    assert split_subjects(subjects(20), 0.3, seed=6)[1] != validation


def test_one_scan_cannot_be_split():
    with pytest.raises(RecipeError, match="1 scan"):
        split_subjects(subjects(1), 0.3, seed=0)


def test_subjects_are_found_with_their_channels_and_references(tmp_path):
    write_annotated_heads(tmp_path, 2, channels=("FLAIR", "T1w"), outputs=("WMH", "STROKE"))
    first, second = find_subjects(tmp_path, ["flair", "t1"], ["wmh", "stroke"])
    assert (first.name, second.name) == ("sub-00", "sub-01")
    assert [path.name for path in first.channels] == ["sub-00_FLAIR.nii.gz", "sub-00_T1w.nii.gz"]
    scans, references = load_subject(second)
    assert [reference.sum() for reference in references] == [16, 16]  # two cubes of 8 voxels
    assert len(scans) == 2


def test_a_missing_reference_is_named(tmp_path):
    write_annotated_heads(tmp_path, 2)
    (tmp_path / "derivatives" / "reference" / "sub-01_label-WMH_mask.nii.gz").unlink()
    with pytest.raises(RecipeError, match=r"sub-01_label-WMH_mask\.nii\.gz: is missing"):
        find_subjects(tmp_path, ["flair"], ["wmh"])


def test_an_empty_folder_says_how_to_fill_it(tmp_path):
    with pytest.raises(RecipeError, match="wmh-phantom"):
        find_subjects(tmp_path, ["flair"], ["wmh"])


def test_a_mask_on_another_grid_is_refused(tmp_path):
    write_annotated_heads(tmp_path, 1)
    (subject,) = find_subjects(tmp_path, ["flair"], ["wmh"])
    mask = nib.load(subject.references[0])
    moved = mask.affine.copy()
    moved[0, 3] += 1
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), moved), subject.references[0])
    with pytest.raises(InputError, match=r"lies up to 1\.0 mm away from sub-00_FLAIR"):
        load_subject(subject)


def test_every_slice_of_every_head_is_prepared(tmp_path):
    # Each head has 6 slices, two of them with lesion.
    write_annotated_heads(tmp_path, 3)
    slices = prepare_slices(find_subjects(tmp_path, ["flair"], ["wmh"]), small_recipe())
    assert slices.images.shape == (18, 1, 64, 64)
    assert slices.images.dtype == np.float16
    # A cube is 2 × 2 pixels of 4 mm, as in the scan; heads hold one, two and three of them.
    sizes = slices.targets.sum(axis=(1, 2, 3))
    assert sizes[slices.with_lesion].tolist() == [4, 4, 8, 8, 12, 12]
    assert slices.with_lesion.sum() == 6


def test_an_epoch_draws_all_slices_with_lesion_and_a_share_of_the_others():
    with_lesion = np.arange(100) < 30
    epochs = [draw_epoch(with_lesion, 0.2, seed=1, epoch=epoch) for epoch in range(2)]
    for drawn in epochs:
        assert len(drawn) == len(set(drawn)) == 30 + 14  # a fifth of 70
        assert set(range(30)) <= set(drawn)
    assert set(epochs[0]) != set(epochs[1])
    assert not np.array_equal(epochs[0], np.sort(epochs[0]))
    np.testing.assert_array_equal(epochs[0], draw_epoch(with_lesion, 0.2, seed=1, epoch=0))


def test_lesions_are_bright_where_the_target_says(tmp_path):
    write_annotated_heads(tmp_path, 1)
    slices = prepare_slices(find_subjects(tmp_path, ["flair"], ["wmh"]), small_recipe())
    assert slices.images[slices.targets].min() > slices.images[~slices.targets].max()


def test_a_data_set_is_called_what_it_calls_itself(tmp_path):
    assert describe(tmp_path) == tmp_path.name
    (tmp_path / "dataset_description.json").write_text('{"Name": "Twelve heads"}')
    assert describe(tmp_path) == "Twelve heads"


def test_scans_without_lesion_are_welcome(tmp_path):
    write_annotated_heads(tmp_path, 1)
    write_head(tmp_path / "sub-00_FLAIR.nii.gz", lesions=0)
    mask = tmp_path / "derivatives" / "reference" / "sub-00_label-WMH_mask.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
    (subject,) = find_subjects(tmp_path, ["flair"], ["wmh"])
    assert load_subject(subject)[1][0].sum() == 0


def test_no_slice_to_learn_from_is_told():
    with pytest.raises(RecipeError, match="none of 6 slices is learned from"):
        draw_epoch(np.zeros(6, bool), 0.0, seed=0, epoch=0)


def test_a_scan_without_head_is_named(tmp_path):
    write_annotated_heads(tmp_path, 1)
    (subject,) = find_subjects(tmp_path, ["flair"], ["wmh"])
    image = nib.load(subject.channels[0])
    voxels = np.zeros(image.shape, np.float32)
    voxels[3, 3, 3] = 1
    nib.save(nib.Nifti1Image(voxels, image.affine), subject.channels[0])
    with pytest.raises(InputError, match=r"sub-00_FLAIR\.nii\.gz: no axial slice"):
        prepare_slices([subject], small_recipe())
