import dataclasses

import pytest
import torch
from torch import nn

from tests.networks import perturbed_network
from tests.toys import write_annotated_heads
from tests.training_toys import fit_data, metadata_of, small_recipe
from wmh_train.checkpoint import save_checkpoint
from wmh_train.fit.fit import FitListener, fit
from wmh_train.initial_weights import read_initial_weights
from wmh_train.loop.losses import SegmentationLoss
from wmh_train.loop.missing_regions import MissingRegions
from wmh_train.model.decoder import Logits


class Bright(nn.Module):
    """Finds each of three outputs where the image is above 0."""

    def forward(self, images):
        return Logits(fused=images.expand(-1, 3, -1, -1), scales=[])


def test_a_region_without_mask_is_what_the_starting_network_finds():
    # An output for lesions and two for regions. The first scan lacks the mask of the first region.
    # Its second pixel is outside the image, and so background. Ignored pixels of others stay.
    images = torch.tensor([[[[1.0, -1]]], [[[1.0, 1]]]])
    targets = torch.tensor(
        [[[[2, 2]], [[2, 0]], [[0, 1]]], [[[0, 0]], [[2, 0]], [[1, 1]]]], dtype=torch.uint8
    )
    expected = targets.clone()
    expected[0, 1] = torch.tensor([[1, 0]])
    given = targets.clone()
    regions = MissingRegions(Bright(), lesion_outputs=1, device=torch.device("cpu"))
    filled = regions.fill_in(images, given, torch.tensor([[True, False], [False, False]]))
    assert torch.equal(filled, expected)
    assert torch.equal(given, targets)


@pytest.mark.parametrize("has_start", [True, False])
def test_fine_tuning_without_masks_of_a_region_learns_it_from_the_start(
    has_start, tmp_path, monkeypatch
):
    recipe = small_recipe(regions=["brain"])
    metadata = metadata_of(recipe).model_copy(update={"scan_keys": {"a": "", "b": ""}})
    save_checkpoint(tmp_path / "start", perturbed_network(recipe), metadata)
    data = fit_data(write_annotated_heads(tmp_path / "heads", 8), recipe)
    scans = tuple(dataclasses.replace(scan, regions=(None,)) for scan in data.scans)
    seen, forward = [], SegmentationLoss.forward

    def recorded(self, logits, target):
        seen.append(target[:, 1])
        return forward(self, logits, target)

    monkeypatch.setattr(SegmentationLoss, "forward", recorded)
    fit(
        recipe,
        dataclasses.replace(data, scans=scans),
        tmp_path / "run",
        None,
        FitListener(),
        initial=read_initial_weights(tmp_path / "start") if has_start else None,
    )
    assert (torch.cat(seen[1:]) == 2).any() != has_start  # 2: ignored; 0: the memory estimate
