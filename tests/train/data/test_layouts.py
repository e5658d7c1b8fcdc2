import numpy as np
import pytest

from tests.toys import write_annotated_heads
from wmh_runtime.errors import RecipeError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_train.data.layouts import find_dataset


def touch(folder, *names):
    """Create empty files. `find_dataset` does not read them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def relative(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


FLAT = ("a_FLAIR.nii.gz", "derivatives/reference/a_label-WMH_mask.nii.gz")


def test_scans_of_wmh_phantom_are_found(tmp_path):
    touch(
        tmp_path,
        "sub-2_FLAIR.nii.gz",
        "derivatives/reference/sub-2_label-WMH_mask.nii.gz",
        *FLAT,
        "derivatives/reference/sub-2_to_sub-2_facts.tsv",
    )
    (tmp_path / "participants.tsv").write_text("participant_id\tsite\nsub-2\tLeipzig\n")
    first, second = find_dataset(tmp_path, ["flair"], ["wmh"]).scans
    assert (first.name, first.subject, first.site) == ("a", "a", "")
    assert (second.name, second.subject, second.site) == ("sub-2", "sub-2", "Leipzig")
    assert relative(tmp_path, (*first.channels, *first.references)) == list(FLAT)


def test_bids_sessions_are_scans_of_one_subject(tmp_path):
    touch(
        tmp_path,
        "sub-1/ses-1/anat/sub-1_ses-1_FLAIR.nii",
        "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz",
        "sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii.gz",
        "sub-1/ses-2/anat/sub-1_ses-2_T1w.nii",
        "sub-2/anat/sub-2_acq-3D_FLAIR.nii.gz",
        "sub-2/anat/sub-2_acq-3D_T1w.nii.gz",
        "derivatives/rater/sub-1/ses-1/anat/sub-1_ses-1_label-WMH_mask.nii.gz",
        "derivatives/rater/sub-1/ses-2/anat/sub-1_ses-2_label-WMH_desc-second_mask.nii",
        "derivatives/rater/sub-2/anat/sub-2_acq-3D_space-orig_label-WMH_mask.nii.gz",
        "derivatives/rater/sub-2/anat/sub-2_acq-3D_label-STROKE_mask.nii.gz",
    )
    (tmp_path / "participants.tsv").write_text("participant_id\tsite\nsub-1\tA\nsub-2\tn/a\n")
    dataset = find_dataset(tmp_path, ["flair", "t1"], ["wmh"])
    assert [(s.name, s.subject, s.site) for s in dataset.scans] == [
        ("sub-1_ses-1", "sub-1", "A"),
        ("sub-1_ses-2", "sub-1", "A"),
        ("sub-2_acq-3D", "sub-2", ""),
    ]
    assert [path.name for scan in dataset.scans for path in scan.channels] == [
        "sub-1_ses-1_FLAIR.nii",
        "sub-1_ses-1_T1w.nii.gz",
        "sub-1_ses-2_FLAIR.nii.gz",
        "sub-1_ses-2_T1w.nii",
        "sub-2_acq-3D_FLAIR.nii.gz",
        "sub-2_acq-3D_T1w.nii.gz",
    ]
    assert [scan.references[0].name for scan in dataset.scans] == [
        "sub-1_ses-1_label-WMH_mask.nii.gz",
        "sub-1_ses-2_label-WMH_desc-second_mask.nii",
        "sub-2_acq-3D_space-orig_label-WMH_mask.nii.gz",
    ]
    assert (dataset.unannotated, dataset.notes) == ((), ())


def test_sessions_without_sub_are_of_one_subject_too(tmp_path):
    for name in ("P01_ses-1", "P01_ses-2", "P02_ses-1"):
        touch(tmp_path, f"{name}_FLAIR.nii.gz", f"derivatives/{name}_label-WMH_mask.nii.gz")
    subjects = [scan.subject for scan in find_dataset(tmp_path, ["flair"], ["wmh"]).scans]
    assert subjects == ["P01", "P01", "P02"]


def test_participants_above_the_data_folder_are_ignored(tmp_path):
    touch(tmp_path / "mine", "sub-1_FLAIR.nii.gz", "derivatives/sub-1_label-WMH_mask.nii.gz")
    table = "participant_id\tsite\nsub-1\tLeipzig\n"
    (tmp_path / "participants.tsv").write_text(table)
    (scan,) = find_dataset(tmp_path / "mine", ["flair"], ["wmh"]).scans
    assert scan.site == ""
    (tmp_path / "mine" / "participants.tsv").write_text(table)
    (scan,) = find_dataset(tmp_path / "mine", ["flair"], ["wmh"]).scans
    assert scan.site == "Leipzig"


def test_a_mask_belongs_to_the_scan_with_the_most_matching_entities(tmp_path):
    touch(
        tmp_path,
        "sub-1/anat/sub-1_FLAIR.nii.gz",
        "sub-1/anat/sub-1_run-2_FLAIR.nii.gz",
        "derivatives/rater/sub-1_run-2_label-WMH_mask.nii.gz",
    )
    dataset = find_dataset(tmp_path, ["flair"], ["wmh"])
    assert [scan.name for scan in dataset.scans] == ["sub-1_run-2"]
    assert dataset.unannotated == ("sub-1",)


def test_the_error_names_both_masks_of_a_scan(tmp_path):
    touch(tmp_path, *FLAT, "derivatives/second/a_label-WMH_mask.nii.gz")
    either = (
        "derivatives/reference/a_label-WMH_mask.nii.gz or derivatives/second/a_label-WMH_mask.nii"
    )
    with pytest.raises(RecipeError, match=rf"the mask of a may be {either}.*\.csv table"):
        find_dataset(tmp_path, ["flair"], ["wmh"])


def test_the_error_names_both_files_of_a_scan(tmp_path):
    touch(tmp_path, *FLAT, "a_FLAIR.nii")
    with pytest.raises(RecipeError, match=r"the scan a may be a_FLAIR\.nii or a_FLAIR\.nii\.gz"):
        find_dataset(tmp_path, ["flair"], ["wmh"])


@pytest.mark.parametrize(
    "name",
    [
        *("sub-2_mask_FLAIR", "sub-2_T1_to_FLAIR", "rsub-2_FLAIR"),
        *("sub-2_space-MNI_FLAIR",),
    ],
)
def test_masks_other_contrasts_and_processed_versions_are_not_scans(tmp_path, name):
    touch(tmp_path, "sub-2_FLAIR.nii.gz", "derivatives/sub-2_label-WMH_mask.nii.gz")
    touch(tmp_path, f"{name}.nii.gz")
    dataset = find_dataset(tmp_path, ["flair"], ["wmh"])
    assert [scan.name for scan in dataset.scans] == ["sub-2"]
    assert dataset.unannotated == ()


def test_a_version_is_a_scan_if_only_the_version_has_a_mask(tmp_path):
    mask = "derivatives/sub-1_space-MNI_label-WMH_mask.nii.gz"
    touch(tmp_path, "sub-1_FLAIR.nii.gz", "sub-1_space-MNI_FLAIR.nii.gz", mask)
    dataset = find_dataset(tmp_path, ["flair"], ["wmh"])
    assert [scan.name for scan in dataset.scans] == ["sub-1_space-MNI"]
    touch(tmp_path, "derivatives/sub-1_label-WMH_mask.nii.gz")
    scans = find_dataset(tmp_path, ["flair"], ["wmh"]).scans
    assert [(s.name, s.subject) for s in scans] == [
        ("sub-1", "sub-1"),
        ("sub-1_space-MNI", "sub-1"),
    ]


@pytest.mark.parametrize("name", ["T1_to", "mask", "CT_in"])
def test_a_scan_with_its_own_mask_is_never_left_out(tmp_path, name):
    touch(tmp_path, f"{name}_FLAIR.nii.gz", f"derivatives/{name}_label-WMH_mask.nii.gz")
    touch(tmp_path, *FLAT)
    dataset = find_dataset(tmp_path, ["flair"], ["wmh"])
    assert {scan.name for scan in dataset.scans} == {"a", name}


def test_what_is_left_out_is_noted_with_the_reason(tmp_path):
    touch(
        tmp_path, *FLAT, "a_T2_to_FLAIR.nii.gz", "ra_mask_FLAIR.nii.gz", "a_space-MNI_FLAIR.nii.gz"
    )
    touch(tmp_path, "sub-1_FLAIR.nii.gz", "rsub-1_FLAIR.nii.gz")
    assert find_dataset(tmp_path, ["flair"], ["wmh"]).notes == (
        "skipped a_T2_to_FLAIR.nii.gz: T2, by its name or folder",
        "skipped ra_mask_FLAIR.nii.gz: mask, by its name or folder",
        "skipped rsub-1_FLAIR.nii.gz: another version of sub-1_FLAIR.nii.gz",
    )


def test_an_image_with_the_prefix_of_spm_is_of_the_same_subject(tmp_path):
    for name in ("sub-1", "rsub-1"):
        touch(tmp_path, f"{name}_FLAIR.nii.gz", f"derivatives/{name}_label-WMH_mask.nii.gz")
    scans = find_dataset(tmp_path, ["flair"], ["wmh"]).scans
    assert [(scan.name, scan.subject) for scan in scans] == [
        ("rsub-1", "sub-1"),
        ("sub-1", "sub-1"),
    ]


def test_a_version_of_a_scan_is_a_scan_where_it_is_alone(tmp_path):
    mask = "derivatives/sub-1_space-MNI_label-WMH_mask.nii.gz"
    touch(tmp_path, "sub-1_space-MNI_FLAIR.nii.gz", "sub-1_space-FLAIR_T1w.nii.gz", mask)
    (scan,) = find_dataset(tmp_path, ["flair"], ["wmh"]).scans
    assert scan.channels[0].name == "sub-1_space-MNI_FLAIR.nii.gz"


CHALLENGE = [
    f"{subject}/{file}"
    for subject in ("Utrecht/0", "Amsterdam/GE3T/100")
    for file in ("pre/FLAIR.nii.gz", "pre/T1.nii.gz", "orig/FLAIR.nii.gz", "wmh.nii.gz")
]


def test_challenge_folders_are_found(tmp_path):
    touch(tmp_path, *CHALLENGE)
    first, second = find_dataset(tmp_path, ["flair", "t1"], ["wmh"]).scans
    assert (first.name, first.site) == ("Amsterdam/GE3T/100", "Amsterdam/GE3T")
    assert (second.name, second.subject, second.site) == ("Utrecht/0", "Utrecht/0", "Utrecht")
    assert relative(tmp_path, (*second.channels, *second.references)) == [
        "Utrecht/0/pre/FLAIR.nii.gz",
        "Utrecht/0/pre/T1.nii.gz",
        "Utrecht/0/wmh.nii.gz",
    ]


def test_the_challenges_parts_are_found_and_are_no_sites(tmp_path):
    files = [f"{part}/{path}" for part in ("training", "test") for path in CHALLENGE]
    touch(tmp_path, *files)
    touch(tmp_path / "training/.trash/Utrecht/1", "pre/FLAIR.nii.gz", "wmh.nii.gz")
    scans = find_dataset(tmp_path, ["flair"], ["wmh"]).scans
    assert [(scan.name, scan.subject, scan.site) for scan in scans] == [
        (name := f"{part}/{subject}", name, site)
        for part in ("test", "training")
        for subject, site in [("Amsterdam/GE3T/100", "Amsterdam/GE3T"), ("Utrecht/0", "Utrecht")]
    ]


def test_the_challenges_folders_may_be_as_deep_as_they_like_and_linked(tmp_path):
    touch(tmp_path / "elsewhere", *CHALLENGE)
    (tmp_path / "data/a/b").mkdir(parents=True)
    (tmp_path / "data/a/b/c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/Utrecht/up").symlink_to(tmp_path / "data")  # round and round
    names = [scan.name for scan in find_dataset(tmp_path / "data", ["flair"], ["wmh"]).scans]
    assert names == ["a/b/c/Amsterdam/GE3T/100", "a/b/c/Utrecht/0"]


def test_one_site_of_the_challenge_bears_its_folders_name(tmp_path):
    touch(tmp_path, *CHALLENGE)
    (scan,) = find_dataset(tmp_path / "Utrecht", ["t1"], ["wmh"]).scans
    assert (scan.name, scan.site) == ("0", "Utrecht")
    assert relative(tmp_path, scan.channels) == ["Utrecht/0/pre/T1.nii.gz"]


def test_a_scan_without_its_mask_is_passed_over_and_named(tmp_path):
    touch(tmp_path, *CHALLENGE)
    (tmp_path / "Utrecht/0/wmh.nii.gz").unlink()
    dataset = find_dataset(tmp_path, ["flair"], ["wmh"])
    assert [scan.name for scan in dataset.scans] == ["Amsterdam/GE3T/100"]
    assert dataset.unannotated == ("Utrecht/0",)


def test_an_annotated_scan_without_a_channel_is_refused(tmp_path):
    touch(tmp_path, *CHALLENGE)
    (tmp_path / "Utrecht/0/pre/T1.nii.gz").unlink()
    with pytest.raises(RecipeError, match=r"T1\.nii\.gz: is missing\. Utrecht/0 needs this file"):
        find_dataset(tmp_path, ["flair", "t1"], ["wmh"])
    assert len(find_dataset(tmp_path, ["flair"], ["wmh"]).scans) == 2


def test_hidden_and_temporary_files_are_ignored(tmp_path):
    touch(
        tmp_path,
        *FLAT,
        ".wmh-partial-1_FLAIR.nii.gz",
        "._a_FLAIR.nii.gz",
        "derivatives/.trash/a_label-WMH_mask.nii.gz",
        "derivatives/reference/._a_label-WMH_mask.nii.gz",
    )
    dataset = find_dataset(tmp_path, ["flair"], ["wmh"])
    assert [scan.name for scan in dataset.scans] == ["a"]
    assert dataset.unannotated == ()


def test_a_table_is_read_as_a_table(tmp_path):
    touch(tmp_path, "b.nii.gz", "a.nii.gz", "m.nii.gz")
    table = tmp_path / "heads.csv"
    table.write_text("flair,wmh\nb.nii.gz,m.nii.gz\na.nii.gz,m.nii.gz\n")
    dataset = find_dataset(table, ["flair"], ["wmh"])
    assert dataset.name == "heads"
    assert [scan.name for scan in dataset.scans] == ["a", "b"]


def test_the_error_without_annotated_scans_names_a_missing_mask(tmp_path):
    touch(tmp_path, "a_FLAIR.nii.gz")
    with pytest.raises(RecipeError, match=r"none of 1 .* a has no a_label-WMH_mask\.nii\.gz"):
        find_dataset(tmp_path, ["flair"], ["wmh"])


def test_the_error_for_an_empty_folder_lists_the_expected_files(tmp_path):
    patterns = r"NAME_T1w\.nii\.gz, sub-.*_T1w\.nii\.gz or .*/pre/T1\.nii\.gz\. .*wmh-phantom"
    with pytest.raises(RecipeError, match=patterns):
        find_dataset(tmp_path, ["t1"], ["wmh"])
    with pytest.raises(RecipeError, match="does not exist"):
        find_dataset(tmp_path / "nowhere", ["t1"], ["wmh"])


def test_scans_in_other_folders_than_expected_are_named(tmp_path):
    touch(tmp_path, "sub-1/sub-1_FLAIR.nii.gz", "sub-2/sub-2_FLAIR.nii.gz")
    says = "contains 2 scans, such as sub-1/sub-1_FLAIR.nii.gz, but in other folders than"
    with pytest.raises(RecipeError, match=says):
        find_dataset(tmp_path, ["flair"], ["wmh"])


def test_a_data_set_has_its_bids_name(tmp_path):
    touch(tmp_path, *FLAT)
    assert find_dataset(tmp_path, ["flair"], ["wmh"]).name == tmp_path.name
    (tmp_path / "dataset_description.json").write_text('{"Name": "Twelve heads"}')
    assert find_dataset(tmp_path, ["flair"], ["wmh"]).name == "Twelve heads"


def test_results_of_wmh_infer_are_not_references(tmp_path):
    # A result of wmh-infer below derivatives: a mask with the mark of this program and a sidecar.
    write_annotated_heads(tmp_path, 2)
    results = tmp_path / "derivatives" / "wmh-lora"
    results.mkdir()
    scan = read_scan(tmp_path / "sub-00_FLAIR.nii.gz")
    mask = results / "sub-00_label-WMH_mask.nii.gz"
    write_on_grid_of(scan, np.zeros(scan.shape, np.uint8), mask)
    with pytest.raises(
        RecipeError, match="the mask of sub-00"
    ):  # without a sidecar it is a reference mask
        find_dataset(tmp_path, ["flair"], ["wmh"])
    (results / "sub-00_label-WMH_mask.json").write_text("{}")
    dataset = find_dataset(tmp_path, ["flair"], ["wmh"])
    assert [scan.references[0].parent.name for scan in dataset.scans] == ["reference", "reference"]


def test_scans_of_the_challenge_have_unknown_regions(tmp_path):
    touch(tmp_path, *CHALLENGE)
    for scan in find_dataset(tmp_path, ["flair"], ["wmh"], ["brain", "ventricles"]).scans:
        assert scan.regions == (None, None)
