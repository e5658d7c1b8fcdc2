"""One scan compared with the reference method, on a toy head and a toy network."""

from types import SimpleNamespace

import pytest
from torch import nn

from benchmarks.dev import speed_up
from benchmarks.dev.speed_up import measure_speed_up
from tests.toys import TOY_SIZE_PX, write_head, write_toy_bundle
from tests.training_toys import small_recipe
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_train.model.decoder import Logits


class ImageAsLogits(nn.Module):
    def forward(self, image):
        return Logits(image, [])


def test_runs_are_compared_with_the_reference_method(tmp_path, monkeypatch):
    recipe = small_recipe(preprocessing={"pixel_size_mm": 4.0, "size_px": TOY_SIZE_PX})
    monkeypatch.setattr(speed_up, "load_metadata", lambda folder: SimpleNamespace(recipe=recipe))
    monkeypatch.setattr(speed_up, "load_network", lambda *_: ImageAsLogits())
    bundle = load_bundle(write_toy_bundle(tmp_path / "bundle"))
    scan = write_head(tmp_path / "a_FLAIR.nii")  # six slices, two of them with a lesion
    steps = []
    measured = measure_speed_up(
        bundle, tmp_path, None, scan, OnnxRuntimeBackend, "fp32", 4, steps.append
    )
    assert steps[0] == steps[-1] == "PyTorch, view by view"
    assert measured.reference_views == 4
    assert measured.slices == 6
    assert measured.reference_seconds == pytest.approx(
        6 * 8 * measured.reference_seconds_per_view, abs=0.1
    )
    full, adaptive = measured.runs
    assert (full.tta, adaptive.tta) == ("full", "adaptive")
    assert full.slices_in_all_views == 6
    assert adaptive.slices_in_all_views == 2
    assert measured.share_in_all_views == pytest.approx(2 / 6, abs=1e-4)
    # With f = 1/3 the upper limit is 8 / (1 + 7/3) = 2.4.
    efficiency = measured.adaptive_speedup / 2.4
    assert measured.adaptive_efficiency == pytest.approx(efficiency, rel=0.01)
    for one in measured.runs:
        assert one.speedup == one.speedup_of_executed_slices  # no slice is skipped
        assert one.mask_dice == 1  # the toy network gives the same output in every view
