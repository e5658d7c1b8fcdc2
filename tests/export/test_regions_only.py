"""A bundle of a network that predicts regions only: it is compared, described and used."""

import pytest

from tests.networks import write_checkpoint
from tests.toys import write_head
from tests.training_toys import small_recipe
from wmh_export.build import build
from wmh_export.inspect import describe_bundle
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.segmenter import Segmenter


@pytest.mark.exhaustive
def test_its_bundle_finds_regions_and_no_lesions(tmp_path):
    recipe = small_recipe(outputs=[], regions=["spots"])
    checkpoint = write_checkpoint(tmp_path / "checkpoint", recipe)
    built = build(checkpoint, tmp_path / "bundle", on_step=lambda step: None)
    manifest = built.bundle.manifest
    assert manifest.outputs == []
    for graph in manifest.graphs:
        for parity in graph.parity:
            assert parity.outputs[0].is_compared  # two empty masks would prove nothing
            assert parity.mask_dice > 0.98
    card = (built.bundle.folder / "MODEL_CARD.md").read_text()
    assert "## Regions" in card
    assert "## Thresholds" not in card
    assert "→ spots, axial" in "\n".join(describe_bundle(built.bundle))
    scan = read_scan(write_head(tmp_path / "head.nii.gz"))
    with Segmenter.from_bundle(built.bundle) as segmenter:
        segmentation = segmenter.segment({"flair": scan})
    assert segmentation.results == ()
    assert segmentation.regions["spots"].shape == scan.shape
    assert segmentation.regions["spots"].any()
