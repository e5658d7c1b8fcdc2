from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.errors import RecipeError
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.stage_splits import split_stages
from wmh_train.recipe.recipe import DataSettings

BRONZE = DataSettings(validation_share=0.2, test_share=0)
GOLD = DataSettings(validation_share=0.1, test_share=0.2)


def scans_of(persons, *, suffixes=("",)):
    """Scans of persons; each suffix is another scan or another mask of it."""
    return [
        AnnotatedScan(f"sub-{p}{suffix}", f"sub-{p}", "", (Path("x"),), (Path("y"),))
        for p in persons
        for suffix in suffixes
    ]


def persons_of(scans, names):
    return {scan.subject for scan in scans if scan.name in set(names)}


@given(
    bronze=st.sets(st.integers(0, 60), min_size=25),
    gold=st.sets(st.integers(0, 60), min_size=10, max_size=20),
    seed=st.integers(0, 5),
)
def test_no_stage_learns_from_persons_that_a_later_one_tests_or_validates_on(bronze, gold, seed):
    first = scans_of(bronze, suffixes=(" a", " b"))
    last = scans_of(gold)
    stages = [("bronze", first, BRONZE), ("gold", last, GOLD)]
    bronze_split, gold_split = split_stages(stages, seed)
    learned = persons_of(first, bronze_split.training)
    tested = persons_of(last, gold_split.test)
    validated = persons_of(last, gold_split.validation)
    assert not learned & (tested | validated)
    assert not persons_of(first, bronze_split.validation) & tested
    # what may be used is used
    used = {*bronze_split.training, *bronze_split.validation}
    assert used == {scan.name for scan in first if scan.subject not in tested}
    assert persons_of(first, bronze_split.validation) >= validated & bronze
    assert not learned & persons_of(first, bronze_split.validation)


def test_the_last_stage_is_split_as_alone():
    last = scans_of(range(10))
    (alone,) = split_stages([("gold", last, GOLD)], 42)
    assert (len(alone.training), len(alone.validation), len(alone.test)) == (7, 1, 2)
    both = split_stages([("bronze", scans_of(range(30)), BRONZE), ("gold", last, GOLD)], 42)
    assert both[1] == alone


def test_validation_persons_of_a_later_stage_count_for_the_share_of_an_earlier_one():
    share = DataSettings(validation_share=0.2, test_share=0)
    stages = [(name, scans_of(range(40)), share) for name in ("bronze", "silver")]
    stages.append(("gold", scans_of(range(12)), DataSettings(validation_share=0.25, test_share=0)))
    bronze, silver, gold = split_stages(stages, 42)
    assert [len(one.validation) for one in (bronze, silver, gold)] == [8, 8, 3]  # 20 % of 40
    assert set(gold.validation) < set(silver.validation)
    assert bronze == silver
    # If they are more than the share, all are used.
    stages[0] = ("bronze", scans_of(range(20)), DataSettings(validation_share=0.05, test_share=0))
    bronze, silver, _ = split_stages(stages, 42)
    assert set(bronze.validation) == set(silver.validation) & {f"sub-{k}" for k in range(20)}


def test_only_the_last_stage_can_have_test_scans():
    stages = [("bronze", scans_of(range(30)), GOLD), ("gold", scans_of(range(10)), GOLD)]
    with pytest.raises(RecipeError, match=r"bronze has a share of test scans \(0.2\)"):
        split_stages(stages, 42)


def test_a_stage_with_test_persons_only_is_an_error():
    last = scans_of(range(10))
    (alone,) = split_stages([("gold", last, GOLD)], 42)
    of_test = [scan for scan in last if scan.name in alone.test]
    with pytest.raises(RecipeError, match="stage silver has only scans of persons that later"):
        split_stages([("silver", of_test, BRONZE), ("gold", last, GOLD)], 42)
