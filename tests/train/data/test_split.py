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


def scans_of(persons_by_site, scans_each=1):
    """Scans `A/0/0`: of site A, its person 0, their first."""
    return [
        AnnotatedScan(f"{site}/{person}/{scan}", f"{site}/{person}", site, (), ())
        for site, count in persons_by_site.items()
        for person in range(count)
        for scan in range(scans_each)
    ]


def person_of(name):
    return name.rpartition("/")[0]


def sides(split):
    return split.training, split.validation, split.test


@st.composite
def cohorts(draw):
    persons = draw(st.dictionaries(st.sampled_from("ABCDE"), st.integers(2, 30), min_size=1))
    return scans_of(persons, draw(st.integers(1, 3)))


def test_the_first_by_hash_are_the_test_and_the_next_validate():
    # One site of 20: 15 % are 3.
    by_hash = sorted(range(20), key=lambda i: hashlib.sha256(f"5:A/{i}".encode()).digest())
    split = split_scans(scans_of({"A": 20}), SHARES, seed=5)
    assert split.test == sorted(f"A/{i}/0" for i in by_hash[:3])
    assert split.validation == sorted(f"A/{i}/0" for i in by_hash[3:6])
    assert split.training == sorted(f"A/{i}/0" for i in by_hash[6:])


def test_the_split_is_this_one_on_every_machine():
    # 15 % of 14 persons are 2.
    split = split_scans(scans_of({"A": 7, "B": 7}), SHARES, seed=42)
    assert split.test == ["A/4/0", "B/4/0"]
    assert split.validation == ["A/0/0", "B/3/0"]


def test_sites_of_one_size_take_turns():
    # 3 sites of 20: of 60 persons 9 are the test and 9 validate, three of each site.
    split = split_scans(scans_of({"A": 20, "B": 20, "C": 20}), SHARES, seed=1)
    for side in (split.test, split.validation):
        assert Counter(name[0] for name in side) == {"A": 3, "B": 3, "C": 3}


@given(cohorts(), st.integers(0, 9))
def test_every_scan_is_on_one_side_and_so_is_every_person(scans, seed):
    split = split_scans(scans, SHARES, seed)
    assert sorted(chain(*sides(split))) == sorted(scan.name for scan in scans)
    persons = [set(map(person_of, side)) for side in sides(split)]
    assert sum(map(len, persons)) == len(set.union(*persons))


@given(cohorts(), st.randoms())
def test_the_order_of_scans_decides_nothing(scans, random):
    shuffled = random.sample(scans, len(scans))
    assert split_scans(shuffled, SHARES, 3) == split_scans(scans, SHARES, 3)


@given(cohorts())
def test_totals_are_exact(scans):
    persons = len({scan.person for scan in scans})
    split = split_scans(scans, SHARES, seed=0)
    assert len(set(map(person_of, split.test))) == round(0.15 * persons)
    assert len(set(map(person_of, split.validation))) == max(1, round(0.15 * persons))


@given(st.integers(1, 5), st.integers(4, 30), st.integers(0, 9))
def test_sites_of_one_size_give_their_share_to_within_a_person(sites, size, seed):
    scans = scans_of(dict.fromkeys("ABCDE"[:sites], size))
    test = split_scans(scans, SHARES, seed).test
    for site in "ABCDE"[:sites]:
        assert abs(sum(name[0] == site for name in test) - 0.15 * size) < 1


def test_sites_of_other_sizes_give_theirs():
    # 15 % of 40, 20 and 10 are 6, 3 and 1.5, together 10.5 and so 10.
    test = split_scans(scans_of({"A": 40, "B": 20, "C": 10}), SHARES, seed=2).test
    counts = Counter(name[0] for name in test)
    assert (counts["A"], counts["B"], counts["C"]) == (6, 3, 1)


def test_the_seed_decides():
    scans = scans_of({"A": 30})
    assert split_scans(scans, SHARES, 1).test != split_scans(scans, SHARES, 2).test


def test_without_a_test_share_there_is_no_test():
    split = split_scans(scans_of({"A": 5}), DataSettings(test_share=0, validation_share=0.1), 0)
    assert (len(split.training), len(split.validation), len(split.test)) == (4, 1, 0)


def test_one_person_cannot_be_split_however_many_scans():
    with pytest.raises(RecipeError, match="1 person"):
        split_scans(scans_of({"A": 1}, scans_each=5), SHARES, seed=0)


@given(cohorts(), st.integers(2, 5))
def test_every_person_is_the_test_of_one_fold(scans, folds):
    persons = len({scan.person for scan in scans})
    assume(persons >= max(folds, 4))
    splits = fold_splits(scans, folds, SHARES, seed=4)
    assert sorted(name for split in splits for name in split.test) == sorted(s.name for s in scans)
    for split in splits:
        assert sorted(chain(*sides(split))) == sorted(scan.name for scan in scans)
        on = [set(map(person_of, side)) for side in sides(split)]
        assert sum(map(len, on)) == len(set.union(*on))
        others = persons - len(on[2])
        assert len(on[1]) == max(1, round(0.15 * others))
        assert len(on[2]) in (persons // folds, -(-persons // folds))


@given(cohorts(), st.randoms())
def test_folds_do_not_depend_on_the_order_and_share_out_sites(scans, random):
    assume(len({scan.person for scan in scans}) >= 4)
    splits = fold_splits(scans, 2, SHARES, seed=4)
    assert fold_splits(random.sample(scans, len(scans)), 2, SHARES, seed=4) == splits
    for site in {scan.site for scan in scans}:
        counts = [
            len({person_of(name) for name in split.test if name[0] == site}) for split in splits
        ]
        assert abs(counts[0] - counts[1]) <= 1


@pytest.mark.parametrize("folds", [1, 6])
def test_as_many_folds_as_persons_at_most(folds):
    with pytest.raises(RecipeError, match=f"{folds} folds of 5"):
        fold_splits(scans_of({"A": 5}), folds, SHARES, seed=0)
