"""Training takes real scans with masks of real raters. Throwaway steps: nothing is kept of them."""

import numpy as np

from tests.toys import method_on_small_slices, small_recipe
from wmh_runtime.evaluation.reference_masks import LESION
from wmh_train.checkpoint import load_network
from wmh_train.data.cache import fill_cache, open_cache
from wmh_train.data.layouts import find_data
from wmh_train.data.split import split_scans
from wmh_train.loop.fit import FitData, FitListener, fit
from wmh_train.model.base import read_base
from wmh_train.model.random_base import write_random_base


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
    fill_cache(found.scans, recipe.preprocessing, tmp_path / "cache", lambda: None)
    slices = open_cache(found.scans, recipe.preprocessing, tmp_path / "cache")
    for number, scan in enumerate(found.scans):
        _, (reference,) = scan.load()
        _, targets = slices.read(np.flatnonzero(slices.scan_of == number))
        # Slices are 1 mm apart and pixels 4 mm wide, 16 mm³ each: small lesions vanish between.
        volume_ml = (targets == LESION).sum() * 16 / 1000
        assert 0.3 * reference.lesion.sum() / 1000 < volume_ml < 1.3 * reference.lesion.sum() / 1000


def test_the_method_makes_its_steps_on_real_scans(test_data, tmp_path):
    # The recipe wmh-lora with its ViT-B, on slices of 4 × 4 tokens for the sake of time.
    recipe = method_on_small_slices()
    write_random_base(tmp_path / "medsam_vit_b.pth", recipe.network.encoder, seed=0)
    base = read_base(tmp_path / "medsam_vit_b.pth")
    found = find_data(table_of(test_data, tmp_path / "scans.csv"), ["flair"], ["wmh"])
    split = split_scans(found.scans, recipe.data, recipe.schedule.seed)
    parts = FitData(found.name, found.scans, split)
    facts = fit(recipe, parts, tmp_path / "run", base, FitListener())
    assert facts.finished
    assert list(facts.validation.by_site) == ["Ljubljana"]
    network = load_network(tmp_path / "run", facts, base.path)
    second = [p for name, p in network.named_parameters() if ".lora_B." in name]
    assert all(parameter.any() for parameter in second)  # LoRA's start at zero
