from pathlib import Path

import pytest

from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.challenge import site_from_folders
from wmh_runtime.dataset.subjects import read_sites, subject_from_name
from wmh_runtime.errors import InputError
from wmh_runtime.evaluation.pairing import Pairing, find_pairs
from wmh_runtime.evaluation.scan_of_pair import match_scans
from wmh_runtime.files.tables import read_table


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder of `results` and `references`. Their files are empty: only names matter."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def create(*paths):
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pairs(**options) -> Pairing:
    return find_pairs(Path("results"), Path("references"), **options)


def files_of(pairing):
    return {pair.name: (str(pair.prediction), str(pair.reference)) for pair in pairing.pairs}


def test_masks_are_paired_by_name_in_any_folder(folder):
    create("results/sub-1/anat/sub-1_label-WMH_mask.nii.gz", "results/x_label-WMH_mask.nii")
    create("references/sub-1_label-WMH_mask.nii.gz", "references/deep/x_label-WMH_mask.nii.gz")
    create("results/sub-1/anat/sub-1_label-WMH_probseg.nii.gz", "results/sub-1_FLAIR.nii.gz")
    assert files_of(pairs()) == {
        "sub-1": (
            "results/sub-1/anat/sub-1_label-WMH_mask.nii.gz",
            "references/sub-1_label-WMH_mask.nii.gz",
        ),
        "x": ("results/x_label-WMH_mask.nii", "references/deep/x_label-WMH_mask.nii.gz"),
    }


def test_the_layout_of_the_challenge(folder):
    create("references/Utrecht/0/wmh.nii.gz", "references/Utrecht/0/pre/FLAIR.nii.gz")
    create("references/Amsterdam/GE3T/0/wmh.nii.gz")
    create("results/Utrecht/0/pre/FLAIR_label-WMH_mask.nii.gz")
    create("results/Amsterdam/GE3T/0/FLAIR_label-WMH_mask.nii.gz")
    found = pairs()
    assert {(pair.name, pair.subject, pair.site) for pair in found.pairs} == {
        ("Utrecht/0", "Utrecht/0", "Utrecht"),
        ("Amsterdam/GE3T/0", "Amsterdam/GE3T/0", "Amsterdam/GE3T"),
    }
    assert (found.without_prediction, found.without_reference) == ((), ())


def test_training_folder_of_the_challenge_is_not_a_site(folder):
    create("references/training/Utrecht/0/wmh.nii.gz")
    create("results/training/Utrecht/0/pre/FLAIR_label-WMH_mask.nii.gz")
    (pair,) = pairs().pairs
    assert (pair.name, pair.site) == ("training/Utrecht/0", "Utrecht")


def test_the_same_name_in_several_folders_is_paired_in_each_folder(folder):
    for place in ("a", "b"):
        create(
            f"results/{place}/scan_label-WMH_mask.nii",
            f"references/{place}/scan_label-WMH_mask.nii",
        )
    assert files_of(pairs()) == {
        f"{place}/scan": (
            f"results/{place}/scan_label-WMH_mask.nii",
            f"references/{place}/scan_label-WMH_mask.nii",
        )
        for place in ("a", "b")
    }
    Path("results/b/scan_label-WMH_mask.nii").unlink()
    with pytest.raises(InputError, match=r"1 of 2 references .* references/b/scan"):
        pairs()


@pytest.mark.parametrize(
    "files",
    [
        ["results/a/s_label-WMH_mask.nii", "results/b/s_label-WMH_mask.nii"],
        ["results/s_label-WMH_mask.nii", "results/s_label-WMH_mask.nii.gz"],
        ["results/a/s_label-WMH_mask.nii", "references/b/s_label-WMH_mask.nii"],
    ],
)
def test_ambiguous_names_are_refused_with_advice_to_give_a_table(folder, files):
    create("references/s_label-WMH_mask.nii", *files)
    with pytest.raises(InputError, match=r"has the same scan name as .*Give a table"):
        pairs()


def test_predictions_before_and_after_bias_correction_are_ambiguous(folder):
    create("references/Utrecht/0/wmh.nii.gz")
    for place in ("pre", "orig"):
        create(f"results/Utrecht/0/{place}/FLAIR_label-WMH_mask.nii.gz")
    with pytest.raises(InputError, match="has the same scan name as"):
        pairs()


def test_a_reference_without_a_prediction_is_an_error_unless_allowed(folder):
    for number in (1, 2, 3):
        create(f"references/sub-{number}_label-WMH_mask.nii.gz")
    create("results/sub-2_label-WMH_mask.nii.gz", "results/sub-9_label-WMH_mask.nii.gz")
    with pytest.raises(InputError, match=r"2 of 3 references have no prediction, .*sub-1_label"):
        pairs()
    found = pairs(allow_missing=True)
    assert [pair.name for pair in found.pairs] == ["sub-2"]
    assert [path.name[:5] for path in found.without_prediction] == ["sub-1", "sub-3"]
    assert [path.name[:5] for path in found.without_reference] == ["sub-9"]


def test_folders_of_different_levels_are_refused_with_an_example_of_both(folder):
    create("references/Utrecht/0/wmh.nii.gz", "results/0/orig/FLAIR_label-WMH_mask.nii.gz")
    message = (
        r"results: has no prediction of the same name as a reference; the first reference is"
        r" Utrecht/0/wmh\.nii\.gz, the first prediction 0/orig/FLAIR_label-WMH_mask\.nii\.gz\."
    )
    for allow_missing in (False, True):
        with pytest.raises(InputError, match=message):
            pairs(allow_missing=allow_missing)


def test_a_folder_without_predictions_is_named(folder):
    create("references/a_label-WMH_mask.nii", "results/a_FLAIR.nii")
    with pytest.raises(InputError, match=r"results: contains no mask named \*_label-WMH_mask"):
        pairs(allow_missing=True)


def test_references_inside_the_folder_of_predictions_are_not_predictions(folder):
    create(
        "data/sub-1_label-WMH_mask.nii.gz", "data/derivatives/reference/sub-1_label-WMH_mask.nii.gz"
    )
    data = Path("data")
    for predictions, references in [
        (data, data / "derivatives/reference"),
        (data / "derivatives/reference", data),
    ]:
        found = find_pairs(predictions, references)
        assert [pair.prediction.parent for pair in found.pairs] == [predictions]
        assert found.without_reference == ()
    with pytest.raises(InputError, match="is the folder of predictions and of references"):
        find_pairs(data, data)


def test_temporary_and_hidden_files_are_not_masks(folder):
    create("references/s_label-WMH_mask.nii", "results/s_label-WMH_mask.nii")
    create("results/.wmh-partial-1_label-WMH_mask.nii", "results/.old/s_label-WMH_mask.nii")
    found = pairs()
    assert (len(found.pairs), found.without_reference) == (1, ())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "results: is not a folder"),
        (["results/x.txt"], "references: is neither a folder nor a table"),
        (["results/x.txt", "references/x.nii"], "references: contains no reference mask"),
    ],
)
def test_missing_and_empty_folders_are_refused(folder, files, message):
    create(*files)
    with pytest.raises(InputError, match=message):
        pairs()


def test_sites_are_read_from_the_nearest_participants_tsv(folder):
    create("results/sub-1_ses-2_label-WMH_mask.nii", "results/sub-2_label-WMH_mask.nii")
    create("data/derivatives/reference/sub-1_ses-2_label-WMH_mask.nii")
    create("data/derivatives/reference/sub-2_label-WMH_mask.nii")
    table = "participant_id\tage\tsite\nsub-1\t70\tLeipzig\nsub-2\t71\tn/a\n"
    Path("data/participants.tsv").write_text(table)
    found = find_pairs(Path("results"), Path("data/derivatives/reference"))
    assert {(pair.name, pair.subject, pair.site) for pair in found.pairs} == {
        ("sub-1_ses-2", "sub-1", "Leipzig"),
        ("sub-2", "sub-2", ""),
    }
    assert read_sites([folder / "results"]) == {}
    assert read_sites([folder / "results", folder / "data"])["sub-1"] == "Leipzig"


def test_participants_may_be_listed_without_sub(folder):
    Path("participants.tsv").write_text("participant_id\tsite\n01\tUlm\nPD_001\tBern\n")
    sites = read_sites([folder])
    for subject, site in (("sub-01", "Ulm"), ("01", "Ulm"), ("PD_001", "Bern")):
        assert sites[subject] == site


def table_of(text, name="table.csv"):
    Path("lists").mkdir(exist_ok=True)
    Path("lists", name).write_text(text, encoding="utf-8")
    return find_pairs(Path("results"), Path("lists", name))


def test_a_table_defines_the_pairs(folder):
    create(
        "results/one.nii.gz", "results/sub-2_label-WMH_mask.nii", "drawn/a.nii.gz", "drawn/b.nii"
    )
    create("results/sub-3_label-WMH_mask.nii")
    found = table_of(
        "\ufeffsite, prediction, reference, note\n"
        "Leipzig, ../results/one.nii.gz, ../drawn/a.nii.gz\n"
        "\n"
        ", ../results/sub-2_label-WMH_mask.nii, ../drawn/b.nii, late\n"
    )
    assert [(pair.name, pair.scan_id, pair.subject, pair.site) for pair in found.pairs] == [
        ("one", "one", "one", "Leipzig"),
        ("sub-2", "sub-2", "sub-2", ""),
    ]
    assert [pair.reference.name for pair in found.pairs] == ["a.nii.gz", "b.nii"]
    assert [path.name for path in found.without_reference] == ["sub-3_label-WMH_mask.nii"]


def test_predictions_in_a_table_may_be_relative_to_their_folder(folder):
    create("results/deep/one.nii.gz", "drawn/a.nii.gz")
    found = table_of("prediction,reference\ndeep/one.nii.gz,../drawn/a.nii.gz\n")
    assert [pair.prediction for pair in found.pairs] == [Path("results/deep/one.nii.gz")]
    assert found.without_reference == ()


def test_a_table_may_name_subjects(folder):
    create("results/a.nii", "results/b.nii", "drawn/a.nii", "drawn/b.nii")
    found = table_of(
        "prediction,reference,subject\n../results/a.nii,../drawn/a.nii,anna\n"
        "../results/b.nii,../drawn/b.nii,\n"
    )
    assert [pair.subject for pair in found.pairs] == ["anna", "b"]


def test_a_tsv_is_separated_by_tabs(folder):
    create("results/a, b.nii", "drawn/a.nii")
    found = table_of("prediction\treference\n../results/a, b.nii\t../drawn/a.nii\n", "table.tsv")
    assert [pair.name for pair in found.pairs] == ["a, b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows, expected the columns prediction and reference"),
        (
            "prediction,mask\n../results/a.nii,../drawn/a.nii",
            "has the columns prediction, mask, exp",
        ),
        ("prediction,reference\n../results/a.nii,", "has a row with an empty cell"),
        ("prediction,reference\n../results/a.nii,none.nii", "reference none.nii, which does not"),
        ("prediction,reference\nnone.nii,../drawn/a.nii", "1 of 1 references have no prediction"),
        ("prediction,reference\n" + "../results/a.nii,../drawn/a.nii\n" * 2, "a.nii twice"),
    ],
)
def test_invalid_tables_are_refused(folder, text, message):
    create("results/a.nii", "drawn/a.nii")
    with pytest.raises(InputError, match=message):
        table_of(text)


def test_a_table_that_is_not_text_is_refused(folder):
    Path("table.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"table\.csv: cannot be read"):
        read_table(Path("table.csv"))


def test_scans_are_matched_by_name(folder):
    create("references/Utrecht/0/wmh.nii.gz", "references/sub-1_label-WMH_mask.nii")
    create("results/Utrecht/0/pre/FLAIR_label-WMH_mask.nii.gz", "results/sub-1_label-WMH_mask.nii")
    paths = map(
        Path, ("Utrecht/0/orig/FLAIR.nii.gz", "Utrecht/0/pre/FLAIR.nii.gz", "sub-1_FLAIR.nii")
    )
    found = match_scans(pairs().pairs, [Case("scans" / path, path) for path in paths])
    assert {name: path.as_posix() for name, path in found.items()} == {
        "Utrecht/0": "scans/Utrecht/0/pre/FLAIR.nii.gz",
        "sub-1": "scans/sub-1_FLAIR.nii",
    }
    two = [Path("a/sub-1_FLAIR.nii"), Path("b/sub-1_FLAIR.nii")]
    assert match_scans(pairs().pairs, [Case(path, path) for path in two]) == {}


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("sub-1_ses-2", "sub-1"),
        ("a/sub-07_run-1", "sub-07"),
        ("P1_ses-2_run-1", "P1"),
        ("Utrecht/0", "Utrecht/0"),
    ],
)
def test_the_subject_in_a_name(name, subject):
    assert subject_from_name(name) == subject


@pytest.mark.parametrize(
    ("folders", "site"),
    [
        (".", ""),
        ("training", ""),
        ("Utrecht", "Utrecht"),
        ("test/Amsterdam/GE3T", "Amsterdam/GE3T"),
        ("Amsterdam/test", "Amsterdam/test"),
    ],
)
def test_the_site_in_folders(folders, site):
    assert site_from_folders(Path(folders)) == site
