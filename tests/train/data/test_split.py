import hashlib
from collections import Counter
from itertools import chain

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wmh_runtime.errors import RecipeError
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.split import fold_splits, split_scans
from wmh_train.recipe.recipe import DataSettings

SHARES = DataSettings(validation_share=0.15, test_share=0.15)


def scans_of(subjects_by_site, scans_each=1):
    """Scans with names such as `A/0/0`: scan 0 of subject 0 of site A."""
    return [
        AnnotatedScan(f"{site}/{subject}/{scan}", f"{site}/{subject}", site, (), ())
        for site, count in subjects_by_site.items()
        for subject in range(count)
        for scan in range(scans_each)
    ]


def subject_from_name(name):
    return name.rpartition("/")[0]


def parts(split):
    return split.training, split.validation, split.test


@st.composite
def cohorts(draw):
    subjects = draw(st.dictionaries(st.sampled_from("ABCDE"), st.integers(2, 30), min_size=1))
    return scans_of(subjects, draw(st.integers(1, 3)))


def test_the_first_subjects_by_hash_are_test_and_the_next_validation():
    # One site of 20: 15 % are 3.
    by_hash = sorted(range(20), key=lambda i: hashlib.sha256(f"5:A/{i}".encode()).digest())
    split = split_scans(scans_of({"A": 20}), SHARES, seed=5)
    assert split.test == sorted(f"A/{i}/0" for i in by_hash[:3])
    assert split.validation == sorted(f"A/{i}/0" for i in by_hash[3:6])
    assert split.training == sorted(f"A/{i}/0" for i in by_hash[6:])


def test_the_split_is_the_same_on_every_machine():
    # 15 % of 14 subjects are 2.
    split = split_scans(scans_of({"A": 7, "B": 7}), SHARES, seed=42)
    assert split.test == ["A/4/0", "B/4/0"]
    assert split.validation == ["A/0/0", "B/3/0"]


def test_sites_of_equal_size_contribute_equally():
    # 3 sites of 20: of 60 subjects, 9 are test and 9 validation, three of each site.
    split = split_scans(scans_of({"A": 20, "B": 20, "C": 20}), SHARES, seed=1)
    for part in (split.test, split.validation):
        assert Counter(name[0] for name in part) == {"A": 3, "B": 3, "C": 3}


@given(cohorts(), st.integers(0, 9))
def test_no_scan_and_no_subject_is_on_two_sides(scans, seed):
    split = split_scans(scans, SHARES, seed)
    assert sorted(chain(*parts(split))) == sorted(scan.name for scan in scans)
    subjects = [set(map(subject_from_name, part)) for part in parts(split)]
    assert sum(map(len, subjects)) == len(set.union(*subjects))


@given(cohorts(), st.randoms())
def test_the_order_of_scans_does_not_matter(scans, random):
    shuffled = random.sample(scans, len(scans))
    assert split_scans(shuffled, SHARES, 3) == split_scans(scans, SHARES, 3)


@given(cohorts())
def test_totals_are_exact(scans):
    subjects = len({scan.subject for scan in scans})
    split = split_scans(scans, SHARES, seed=0)
    assert len(set(map(subject_from_name, split.test))) == round(0.15 * subjects)
    assert len(set(map(subject_from_name, split.validation))) == max(1, round(0.15 * subjects))


@given(st.integers(1, 5), st.integers(4, 30), st.integers(0, 9))
def test_sites_of_equal_size_contribute_their_share_up_to_one_subject(sites, size, seed):
    scans = scans_of(dict.fromkeys("ABCDE"[:sites], size))
    test = split_scans(scans, SHARES, seed).test
    for site in "ABCDE"[:sites]:
        assert abs(sum(name[0] == site for name in test) - 0.15 * size) < 1


def test_sites_of_different_sizes_contribute_in_proportion():
    # 15 % of 40, 20 and 10 are 6, 3 and 1.5, together 10.5 and so 10.
    test = split_scans(scans_of({"A": 40, "B": 20, "C": 10}), SHARES, seed=2).test
    counts = Counter(name[0] for name in test)
    assert (counts["A"], counts["B"], counts["C"]) == (6, 3, 1)


def test_the_seed_changes_the_split():
    scans = scans_of({"A": 30})
    assert split_scans(scans, SHARES, 1).test != split_scans(scans, SHARES, 2).test


def test_without_a_test_share_there_are_no_test_scans():
    split = split_scans(scans_of({"A": 5}), DataSettings(test_share=0, validation_share=0.1), 0)
    assert (len(split.training), len(split.validation), len(split.test)) == (4, 1, 0)


def test_one_subject_cannot_be_split():
    with pytest.raises(RecipeError, match="1 subject"):
        split_scans(scans_of({"A": 1}, scans_each=5), SHARES, seed=0)


@given(cohorts(), st.integers(2, 5))
def test_every_subject_is_tested_in_one_fold(scans, folds):
    subjects = len({scan.subject for scan in scans})
    assume(subjects >= max(folds, 4))
    splits = fold_splits(scans, folds, SHARES, seed=4)
    assert sorted(name for split in splits for name in split.test) == sorted(s.name for s in scans)
    for split in splits:
        assert sorted(chain(*parts(split))) == sorted(scan.name for scan in scans)
        subjects_of = [set(map(subject_from_name, part)) for part in parts(split)]
        assert sum(map(len, subjects_of)) == len(set.union(*subjects_of))
        others = subjects - len(subjects_of[2])
        assert len(subjects_of[1]) == max(1, round(0.15 * others))
        assert len(subjects_of[2]) in (subjects // folds, -(-subjects // folds))


@given(cohorts(), st.randoms())
def test_folds_are_balanced_over_sites_in_any_order_of_scans(scans, random):
    assume(len({scan.subject for scan in scans}) >= 4)
    splits = fold_splits(scans, 2, SHARES, seed=4)
    assert fold_splits(random.sample(scans, len(scans)), 2, SHARES, seed=4) == splits
    for site in {scan.site for scan in scans}:
        counts = [
            len({subject_from_name(name) for name in split.test if name[0] == site})
            for split in splits
        ]
        assert abs(counts[0] - counts[1]) <= 1


@pytest.mark.parametrize("folds", [1, 6])
def test_at_most_as_many_folds_as_subjects(folds):
    with pytest.raises(RecipeError, match=f"{folds} folds are not possible with 5"):
        fold_splits(scans_of({"A": 5}), folds, SHARES, seed=0)
