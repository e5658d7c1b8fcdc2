"""Shards: each item is in one, they are even, and groups stay together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.cohort.sharing.shard import Shard
from wmh_runtime.errors import InputError


def shards_of(items, count, group_of=lambda one: one):
    return [Shard(number, count).of(items, group_of) for number in range(1, count + 1)]


def test_seven_items_in_three_shards():
    assert shards_of("abcdefg", 3) == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


def test_the_visits_of_a_subject_are_in_one_shard():
    visits = ["1a", "1b", "2a", "3a", "3b", "3c", "4a"]
    first, second = shards_of(visits, 2, lambda one: one[0])
    assert (first, second) == (["1a", "1b", "3a", "3b", "3c"], ["2a", "4a"])


@given(st.lists(st.integers(0, 50), max_size=60, unique=True), st.integers(1, 12))
def test_each_item_is_in_exactly_one_shard_and_they_are_even(items, count):
    shards = shards_of(items, count)
    assert sorted(one for shard in shards for one in shard) == sorted(items)
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("text", "number", "count"), [("1/1", 1, 1), ("3/16", 3, 16)])
def test_a_shard_is_read(text, number, count):
    assert Shard.parse(text) == Shard(number, count)
    assert str(Shard.parse(text)) == text


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "a/b", "-1/4", "1/4/2", "²/4"])
def test_something_else_is_refused(text):
    with pytest.raises(InputError, match=r"shard: got .*, expected a part such as 3/16"):
        Shard.parse(text)


def array(task, count, first, last):
    values = {"ID": task, "COUNT": count, "MIN": first, "MAX": last}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("environment", "number", "count"),
    [
        (array(0, 4, 0, 3), 1, 4),
        (array(4, 4, 1, 4), 4, 4),
        (array(7, 3, 3, 11), 2, 3),  # 3, 7, 11
        (array(5, 1, 5, 5), 1, 1),
    ],
)
def test_the_task_of_a_job_array(environment, number, count):
    assert Shard.parse("array", environment) == Shard(number, count)


@pytest.mark.parametrize(
    "environment",
    [array(3, 3, 1, 4), array(2, 2, 1, 4), array(5, 3, 3, 11)],  # 1,3,4; a part of others
)
def test_numbers_of_tasks_that_are_not_regular_are_refused(environment):
    with pytest.raises(InputError, match="not regular"):
        Shard.parse("array", environment)


def test_without_a_job_array_it_is_refused():
    with pytest.raises(InputError, match="no task of a job array: SLURM_ARRAY_TASK_ID is not set"):
        Shard.parse("array", {})
