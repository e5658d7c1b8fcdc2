"""Locations on phantoms, whose distances to the ventricles and depths are known exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from wmh_runtime.phantom.anatomy.brain import evaluate_cerebrum
from wmh_runtime.phantom.anatomy.compartments import evaluate_compartments
from wmh_runtime.phantom.anatomy.parameters import HeadParameters
from wmh_runtime.phantom.head import generate_phantom
from wmh_runtime.phantom.signals import Signals
from wmh_runtime.phantom.sites import SITES, Placement
from wmh_runtime.postprocessing.locations import LOCATIONS, locate


@pytest.mark.parametrize(
    ("site", "load_ml"),
    [("utrecht", 10.0), pytest.param("amsterdam", 5.0, marks=pytest.mark.exhaustive)],
)
def test_95_percent_of_the_lesions_have_their_true_location(site, load_ml):
    phantom = generate_phantom(4, site, load_ml)
    ventricles_mm, depth_mm, is_posterior, cortex_mm = anatomy_of_phantom(4, site)
    regions = {
        "brain": (depth_mm > 0) | is_posterior,
        "ventricles": (ventricles_mm < 0) & (depth_mm > 0),
        "cortex": (depth_mm > 0) & (depth_mm < cortex_mm) & ~is_posterior & (ventricles_mm >= 0),
        "posterior": is_posterior,
    }
    lesions = phantom.lesions.astype(bool)
    spacing_mm = tuple(np.linalg.norm(phantom.affine[:3, :3], axis=0))
    found = locate(lesions, regions, spacing_mm)[lesions]
    true = np.full(lesions.shape, LOCATIONS.index("deep") + 1)
    true[depth_mm - cortex_mm <= 4] = LOCATIONS.index("juxtacortical") + 1
    true[ventricles_mm <= 10] = LOCATIONS.index("periventricular") + 1
    true[is_posterior] = LOCATIONS.index("infratentorial") + 1
    assert np.mean(found == true[lesions]) >= 0.95
    shares = np.bincount(true[lesions], minlength=5)[1:4] / lesions.sum()
    assert (shares > 0.01).all()  # the test means something for three locations


def anatomy_of_phantom(seed, site):
    """Return distance to the ventricles, depth below the surface of the brain, both in mm, which
    voxels are cerebellum or brain stem, all (x, y, z), and the thickness of the cortex."""
    scanner = SITES[site]
    streams = np.random.SeedSequence([seed, scanner.index]).spawn(6)  # as of `generate_phantom`
    for_head, for_signals, _, for_scan, *_ = map(np.random.default_rng, streams)
    head, signals = HeadParameters.draw(for_head), Signals.draw(for_signals, scanner.fat)
    placement = Placement.draw(for_scan, scanner)
    slices = []
    for z in range(scanner.shape[2]):
        points = head.standardized(placement.head_points(scanner.shape, z))
        compartments = evaluate_compartments(head, points)
        cerebrum = evaluate_cerebrum(head, signals, points, compartments)
        is_posterior = (compartments.cerebellum < 0) | (compartments.brainstem < 0)
        fields = (cerebrum.ventricle_mm, cerebrum.pial_mm, is_posterior)
        slices.append([field.reshape(scanner.shape[:2]) for field in fields])
    volumes = [np.stack(planes, axis=2) for planes in zip(*slices, strict=True)]
    return (*volumes, head.cortex_mm)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_only_the_surroundings_of_the_lesions_are_looked_at_and_nothing_is_missed(seed):
    # Thick slices, regions anywhere; distances over the whole image, as the definition says.
    rng, shape, spacing_mm = np.random.default_rng(seed), (30, 24, 12), (1.1, 0.9, 4.0)
    regions = {name: rng.random(shape) < 0.002 for name in ("ventricles", "cortex", "posterior")}
    regions["brain"] = np.ones(shape, bool)
    lesions = np.zeros(shape, bool)
    corner = [rng.integers(0, size - 3) for size in shape]
    lesions[tuple(slice(first, first + 3) for first in corner)] = True
    to_ventricles, to_cortex = (
        distance_transform_edt(~regions[name], sampling=spacing_mm)
        if regions[name].any()
        else np.full(shape, np.inf)
        for name in ("ventricles", "cortex")
    )
    expected = np.select(
        [~lesions, regions["posterior"], to_ventricles <= 10, to_cortex <= 4], [0, 4, 1, 3], 2
    )
    np.testing.assert_array_equal(locate(lesions, regions, spacing_mm), expected)
