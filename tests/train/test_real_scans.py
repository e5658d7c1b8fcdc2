"""Training takes real scans with masks of real raters. Throwaway steps: nothing is kept of them."""

import numpy as np

from tests.toys import small_recipe
from wmh_runtime.reference import LESION
from wmh_train.data.cache import fill_cache, open_cache
from wmh_train.data.layouts import find_data
from wmh_train.data.split import split_scans
from wmh_train.fit import FitData, FitListener, fit


def table_of(test_data, path):
    rows = ["name,site,flair,wmh"]
    for folder in sorted((test_data / "open-ms" / "mni").iterdir()):
        (flair,) = folder.glob("*_FLAIR.nii.gz")
        (mask,) = folder.glob("*_lesion.nii.gz")
        rows.append(f"{folder.name},Ljubljana,{flair},{mask}")
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_the_lesions_of_raters_arrive_in_the_slices(test_data, tmp_path):
    recipe = small_recipe()
    found = find_data(table_of(test_data, tmp_path / "scans.csv"), ["flair"], ["wmh"])
    fill_cache(found.scans, recipe.preparation, tmp_path / "cache", lambda: None)
    slices = open_cache(found.scans, recipe.preparation, tmp_path / "cache")
    for number, scan in enumerate(found.scans):
        _, (reference,) = scan.load()
        _, targets = slices.read(np.flatnonzero(slices.scan_of == number))
        # Slices are 1 mm apart and pixels 4 mm wide, 16 mm³ each: small lesions vanish between.
        volume_ml = (targets == LESION).sum() * 16 / 1000
        assert 0.3 * reference.lesion.sum() / 1000 < volume_ml < 1.3 * reference.lesion.sum() / 1000


def test_a_training_on_real_scans_makes_its_steps(test_data, tmp_path):
    schedule = small_recipe().schedule.model_copy(update={"epochs": 1})
    data = small_recipe().data.model_copy(update={"empty_slices": 0.1})
    recipe = small_recipe(schedule=schedule, data=data)
    found = find_data(table_of(test_data, tmp_path / "scans.csv"), ["flair"], ["wmh"])
    split = split_scans(found.scans, recipe.data, recipe.schedule.seed)
    parts = FitData(found.name, found.scans, split)
    facts = fit(recipe, parts, tmp_path / "run", None, FitListener())
    assert facts.finished
    assert list(facts.validation.by_site) == ["Ljubljana"]
