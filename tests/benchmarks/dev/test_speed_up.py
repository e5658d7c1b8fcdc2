"""One scan by all ways, on a toy head and a toy network: that what is compared is the same."""

from types import SimpleNamespace

import pytest
from torch import nn

from benchmarks.dev import speed_up
from benchmarks.dev.speed_up import measure_speed_up
from tests.toys import TOY_SIZE_PX, small_recipe, write_head, write_toy_bundle
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import open_bundle
from wmh_train.model.decoder import Logits


class ImageAsLogits(nn.Module):
    def forward(self, image):
        return Logits(image, [])


def test_ways_are_compared_on_one_scan(tmp_path, monkeypatch):
    recipe = small_recipe(preprocessing={"pixel_size_mm": 4.0, "size_px": TOY_SIZE_PX})
    monkeypatch.setattr(speed_up, "load_facts", lambda folder: SimpleNamespace(recipe=recipe))
    monkeypatch.setattr(speed_up, "load_network", lambda *arguments: ImageAsLogits())
    bundle = open_bundle(write_toy_bundle(tmp_path / "bundle"))
    scan = write_head(tmp_path / "a_FLAIR.nii")  # six slices, two of them with a lesion
    steps = []
    measured = measure_speed_up(
        bundle, tmp_path, None, scan, OnnxRuntimeBackend, "fp32", 4, steps.append
    )
    assert steps[0] == steps[-1] == "PyTorch, view by view"
    assert measured.reference_views == 4
    assert measured.slices == 6
    assert measured.reference_seconds == pytest.approx(
        6 * 8 * measured.reference_seconds_a_view, abs=0.1
    )
    full, adaptive = measured.runs
    assert (full.tta, adaptive.tta) == ("full", "adaptive")
    assert full.slices_in_all_views == 6
    assert adaptive.slices_in_all_views == 2
    assert measured.looked_again == pytest.approx(2 / 6, abs=1e-4)
    # f = 1/3 allows 8 / (1 + 7/3) = 2.4 times.
    assert measured.adaptive_share == pytest.approx(measured.adaptive_times_faster / 2.4, rel=0.01)
    for one in measured.runs:
        assert one.times_faster == one.times_faster_of_slices  # none is skipped
        assert one.mask_dice == 1  # of the network without a symmetry to lose
