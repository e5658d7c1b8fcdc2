import json
from pathlib import Path

import numpy as np
import pytest

from tests.toys import write_toy_bundle
from wmh_bench.accuracy import Accuracy, held_out_phantoms, measure_accuracy
from wmh_bench.intensity_threshold import best_threshold_dice
from wmh_runtime.bundle import open_bundle
from wmh_runtime.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


def scene():
    """A lesion of 8 voxels at 100 in tissue at 50, and a shell of 40 voxels at 200."""
    image = np.full((20, 20, 20), 50, np.float32)
    image += np.random.default_rng(0).random(image.shape, np.float32)
    reference = np.zeros(image.shape, bool)
    reference[5:7, 5:7, 5:7] = True
    image[reference] = 100
    image[15, 2:12, 2:6] = 200
    return image, reference


def test_the_component_filter_removes_what_is_brighter_but_larger():
    # 8 voxels of 5 mm³ are 40 mm³; the shell is 200 mm³, above the largest size of 100.
    image, reference = scene()
    assert best_threshold_dice(image, reference, voxel_volume_mm3=5.0) == 1


def test_what_touches_the_lesion_cannot_be_filtered():
    # The shell, moved onto the lesion, makes one component of 8 + 40 voxels: 2 · 8 / (48 + 8).
    image, reference = scene()
    image[15, 2:12, 2:6] = 50
    image[7, 2:12, 2:6] = 200
    assert best_threshold_dice(image, reference, 5.0) == pytest.approx(2 * 8 / (48 + 8))


def test_the_twelve_phantoms_cover_sites_and_loads():
    plans = held_out_phantoms()
    assert len(plans) == 12
    assert [plan.site for plan in plans].count("amsterdam") == 4
    loads_ml = sorted(plan.load_ml for plan in plans)
    assert (loads_ml[0], loads_ml[-1]) == (1, 40)


def test_another_kind_of_bundle_is_refused(tmp_path):
    bundle = open_bundle(write_toy_bundle(tmp_path / "b", outputs=("wmh", "stroke")))
    with pytest.raises(InputError, match="not a FLAIR-to-WMH bundle"):
        measure_accuracy(bundle, [], lambda case: None)


def test_the_demo_bundle_is_far_better_than_a_threshold_on_a_head_it_never_saw():
    (plan,) = [plan for plan in held_out_phantoms() if plan.load_ml == 40]
    measured = measure_accuracy(open_bundle("demo"), [plan], lambda case: None)
    (case,) = measured.cases
    assert case.dice > 0.8 > 0.7 > case.threshold_dice
    assert case.volume_ml == pytest.approx(case.reference_ml, rel=0.2)
    assert json.loads(measured.model_dump_json())["model_id"] == measured.model_id


def test_the_published_figures_are_those_of_the_shipped_bundle_and_good_enough():
    published = Accuracy.model_validate_json(
        (REPOSITORY / "benchmarks" / "results" / "accuracy-demo.json").read_text()
    )
    bundle = open_bundle("demo")
    assert published.model_id == bundle.manifest.model_id
    assert published.mean_dice >= 0.80
    assert published.threshold_mean_dice <= 0.60
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"mean Dice {published.mean_dice:.3f}" in card
