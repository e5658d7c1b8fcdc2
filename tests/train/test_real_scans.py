"""Training on real scans with masks of human raters. The trained weights are not kept."""

import numpy as np

from tests.training_toys import lora_recipe, small_recipe, write_small_pretrained
from wmh_runtime.imageio.reference_masks import LESION
from wmh_train.checkpoint import load_network
from wmh_train.data.cache import fill_cache, open_cache
from wmh_train.data.layouts import find_dataset
from wmh_train.data.split import split_scans
from wmh_train.fit.fit import FitData, FitListener, fit
from wmh_train.model.pretrained import read_pretrained


def table_of(test_data, path):
    rows = ["name,site,flair,wmh"]
    for folder in sorted((test_data / "open-ms" / "mni").iterdir()):
        (flair,) = folder.glob("*_FLAIR.nii.gz")
        (mask,) = folder.glob("*_lesion.nii.gz")
        rows.append(f"{folder.name},Ljubljana,{flair},{mask}")
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_reference_lesions_are_in_the_slices(test_data, tmp_path):
    recipe = small_recipe()
    dataset = find_dataset(table_of(test_data, tmp_path / "scans.csv"), ["flair"], ["wmh"])
    fill_cache(dataset.scans, recipe.preprocessing, tmp_path / "cache", lambda: None)
    slices = open_cache(dataset.scans, recipe.preprocessing, tmp_path / "cache")
    for number, scan in enumerate(dataset.scans):
        _, (reference,) = scan.load()
        _, targets = slices.read(np.flatnonzero(slices.scan_of == number))
        # Slices are 1 mm apart and pixels 4 mm wide, so 16 mm³ each: small lesions are lost.
        volume_ml = (targets == LESION).sum() * 16 / 1000
        assert 0.3 * reference.lesion.sum() / 1000 < volume_ml < 1.3 * reference.lesion.sum() / 1000


def test_lora_is_trained_on_real_scans(test_data, tmp_path):
    recipe = lora_recipe(epochs=1, warmup_epochs=0.5)
    pretrained = read_pretrained(write_small_pretrained(tmp_path / "pretrained.pth"))
    dataset = find_dataset(table_of(test_data, tmp_path / "scans.csv"), ["flair"], ["wmh"])
    split = split_scans(dataset.scans, recipe.data, recipe.schedule.seed)
    data = FitData(dataset.name, dataset.scans, split)
    metadata = fit(recipe, data, tmp_path / "run", pretrained, FitListener())
    assert metadata.finished
    assert list(metadata.validation.by_site) == ["Ljubljana"]
    network = load_network(tmp_path / "run", metadata, pretrained.path)
    lora_b = [p for name, p in network.named_parameters() if ".lora_B." in name]
    assert all(parameter.any() for parameter in lora_b)  # initialized to zero
