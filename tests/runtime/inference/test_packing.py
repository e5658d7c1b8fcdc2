"""Packing slices of several scans into batches, and giving each scan its own back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.inference.packing import Packer
from wmh_runtime.tta import VIEWS

SIDE_PX = 3


def bright(squares):
    """A network without symmetries: the square itself, and in its corner that it was looked at."""
    given = np.array(squares, np.float32)
    given[..., 0, 0] += 100
    return given


def run_all(packer):
    """Execute all that waits, padding batches as backends do; return batches' sizes."""
    complete, sizes = [], []
    while batch := packer.batch():
        sizes.append(len(batch))
        padded = np.zeros((5, 1, SIDE_PX, SIDE_PX), np.float32)
        padded[: len(batch)] = bright([look.square for look in batch])
        complete += packer.collect(batch, padded)
    return complete, sizes


def slices_of(count, value):
    squares = np.arange(count * SIDE_PX**2, dtype=np.float32)
    return squares.reshape(count, 1, SIDE_PX, SIDE_PX) + 1000 * value


@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=5), batch_size=st.integers(1, 5))
def test_each_scan_gets_its_own_back_and_no_batch_but_the_last_is_half_empty(counts, batch_size):
    packer = Packer(batch_size, outputs=1)
    loads = [packer.add(slices_of(count, scan)) for scan, count in enumerate(counts)]
    complete, sizes = run_all(packer)
    assert complete == loads
    for scan, (load, count) in enumerate(zip(loads, counts, strict=True)):
        np.testing.assert_array_equal(load.probability, bright(slices_of(count, scan)))
        assert load.share == 1
    assert sum(sizes) == sum(counts)
    assert set(sizes[:-1]) <= {batch_size}


@given(
    wanted=st.lists(st.booleans(), min_size=1, max_size=6),
    batch_size=st.integers(1, 5),
)
def test_slices_that_are_not_empty_are_looked_at_in_the_other_seven_views(wanted, batch_size):
    slices = slices_of(len(wanted), 0)
    worth = {float(slices[place, 0, 1, 1]) for place, again in enumerate(wanted) if again}
    packer = Packer(batch_size, 1, again=lambda probability: float(probability[0, 1, 1]) in worth)
    load = packer.add(slices)
    complete, sizes = run_all(packer)
    assert complete == [load]
    assert sum(sizes) == len(wanted) + 7 * sum(wanted)
    assert load.looked_again == sum(wanted)
    for place, again in enumerate(wanted):
        views = VIEWS if again else VIEWS[:1]
        expected = np.mean([v.undo(bright(v.apply(slices[place]))) for v in views], axis=0)
        np.testing.assert_allclose(load.probability[place], expected, rtol=1e-6)


@given(order=st.permutations(range(7)))
def test_views_that_come_in_another_order_add_up_to_the_same_bits(order):
    found = []
    for places in (range(7), order):
        packer = Packer(7, 1, again=lambda _: True)
        load = packer.add(slices_of(1, 0) / 7)
        first = packer.batch()
        packer.collect(first, bright([look.square for look in first]))
        looks = packer.batch()
        for place in places:
            packer.collect([looks[place]], bright([looks[place].square]))
        assert load.left == 0
        found.append(load.probability)
    np.testing.assert_array_equal(*found)


def test_a_scan_that_was_looked_at_once_is_ended_before_another_begins():
    packer = Packer(1, 1, again=lambda _: True)
    first, second = packer.add(slices_of(1, 0)), packer.add(slices_of(1, 1))
    looks = []
    while batch := packer.batch():
        looks.append(batch[0].load)
        packer.collect(batch, bright([batch[0].square]))
    assert looks == [first] * 8 + [second] * 8


def test_what_comes_back_of_a_dropped_scan_is_forgotten():
    packer = Packer(3, 1)
    dropped, other = packer.add(slices_of(3, 0)), packer.add(slices_of(2, 1))
    batch = packer.batch()
    packer.drop(dropped)
    assert packer.collect(batch, bright([look.square for look in batch])) == []
    assert len(packer) == 2
    assert run_all(packer) == ([other], [2])
