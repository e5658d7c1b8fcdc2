"""One head that is scanned several times."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from wmh_runtime.phantom import head
from wmh_runtime.phantom.acquisition import Acquisition
from wmh_runtime.phantom.rescan import draw_level_mm, draw_subject, rescan

SCANNER_NAME, LOAD_ML = "utrecht", 20.0


@pytest.fixture(scope="module")
def scanner():
    with coarse_phantoms():
        return head.SITES[SCANNER_NAME]


@pytest.fixture(scope="module")
def subject(scanner):
    return draw_subject(31, scanner)


@pytest.fixture(scope="module")
def level_mm(subject, scanner):
    return draw_level_mm(subject, scanner, LOAD_ML, seed=1)


@pytest.fixture(scope="module")
def scan(subject, scanner, level_mm):
    acquisition = Acquisition.draw(np.random.default_rng(0), scanner)
    return lambda seed, **changes: rescan(
        changes.get("subject", subject),
        changes.get("scanner", scanner),
        acquisition,
        level_mm,
        seed=seed,
    )


def load_ml(one):
    return one.lesions.sum() * abs(np.linalg.det(one.affine[:3, :3])) / 1000


def test_the_head_is_that_of_a_phantom_with_the_same_seed(subject):
    with coarse_phantoms():
        streams = np.random.SeedSequence([31, head.SITES[SCANNER_NAME].index]).spawn(6)
    first = head.HeadParameters.draw(np.random.default_rng(streams[0]))
    assert subject.head.atrophy == first.atrophy


def test_scans_differ_in_position_and_noise_but_hardly_in_lesions(scan):
    one, other = scan(2), scan(3)
    assert abs(one.affine - other.affine).max() > 0.1
    assert (one.image != other.image).mean() > 0.9
    assert load_ml(one) == pytest.approx(load_ml(other), rel=0.15)
    assert load_ml(one) == pytest.approx(LOAD_ML, rel=0.2)


def test_the_same_seed_gives_the_same_scan(scan):
    np.testing.assert_array_equal(scan(2).image, scan(2).image)


def test_other_slices_show_the_same_lesions(scan, scanner):
    x, y, z = scanner.shape
    x_mm, y_mm, z_mm = scanner.spacing_mm
    thin = replace(scanner, shape=(x, y, 2 * z), spacing_mm=(x_mm, y_mm, z_mm / 2))
    assert load_ml(scan(2, scanner=thin)) == pytest.approx(load_ml(scan(2)), rel=0.2)


def test_a_tendency_that_is_stronger_at_some_places_gives_more_lesions(scan, subject):
    strength_mm = subject.tendency.strength_mm + 1.5
    grown = replace(subject, tendency=replace(subject.tendency, strength_mm=strength_mm))
    before, after = scan(2).lesions > 0, scan(2, subject=grown).lesions > 0
    assert after.sum() > 1.1 * before.sum()
    assert (before & ~after).sum() < 0.01 * before.sum()  # in the same position
