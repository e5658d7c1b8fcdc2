import pytest
import torch

from wmh_train.synthesis.anatomy import Anatomy
from wmh_train.synthesis.tissues import Tissue


def anatomy_with(tissue, box):
    tissues = torch.full((14, 13, 11), int(Tissue.WHITE), dtype=torch.uint8)
    tissues[box] = int(tissue)
    return Anatomy(tissues, torch.zeros(tissues.shape), torch.zeros(*tissues.shape, 3))


@pytest.mark.parametrize("first", [4, 5])
def test_distances_are_exact_on_every_side_wherever_the_tissue_begins(first):
    box = (slice(first, first + 3),) * 3
    distance_mm = anatomy_with(Tissue.VENTRICLE, box).from_ventricles_mm
    assert (distance_mm[box] == 0).all()
    along_x = distance_mm[:, first, first].tolist()
    assert along_x == [*range(first, 0, -1), 0, 0, 0, *range(1, 14 - first - 2)]
    assert distance_mm[first - 3, first - 4, first].item() == 5  # 3 and 4 voxels away


def test_what_is_nowhere_is_infinitely_far_away():
    assert anatomy_with(Tissue.WHITE, ()).from_eyes_mm.isinf().all()
