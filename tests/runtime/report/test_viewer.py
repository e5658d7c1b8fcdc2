"""The viewer in a browser: the images are drawn, and nothing is requested."""

from __future__ import annotations

import io

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.runtime.report.results_folder import AFFINE, SHAPE, made_up_lesions, made_up_scan
from wmh_runtime.errors import InputError
from wmh_runtime.report.viewer import write_viewer


def write_nifti(path, voxels):
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
    return path


def colors_of(page):
    png = page.locator("#canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_scan_and_mask_are_drawn_and_the_mask_is_switched_by_key(tmp_path, open_page):
    brightness = np.linspace(0.6, 1.4, SHAPE[1], dtype=np.float32)[:, np.newaxis]
    scan = write_nifti(tmp_path / "sub-1_<b>_FLAIR.nii.gz", made_up_scan().voxels * brightness)
    mask = write_nifti(tmp_path / "mask.nii.gz", made_up_lesions().astype(np.uint8))
    probability = write_nifti(tmp_path / "p.nii", made_up_lesions().astype(np.float32))
    path = write_viewer(tmp_path / "viewer.html", scan, mask, probability)
    with open_page(path, viewport={"width": 700, "height": 500}) as page:
        page.wait_for_selector("body[data-ready]", state="attached")
        assert page.locator("h1").inner_text() == "sub-1_<b>_FLAIR"
        assert "contains the image of the patient" in page.locator(".private").inner_text()
        page.keyboard.press("2")
        page.wait_for_timeout(200)
        with_mask = colors_of(page)
        red = with_mask[..., 0] - with_mask[..., 1:].max(axis=2) > 60
        assert red.sum() > 100
        assert (with_mask.max(axis=2) > 60).sum() > 5 * red.sum()  # the head, in gray
        page.keyboard.press("m")
        page.wait_for_timeout(200)
        without = colors_of(page)
        assert not (without[..., 0] - without[..., 1:].max(axis=2) > 60).any()
        assert page.locator("#opacity-mask").input_value() == "0"


def test_without_webgl_the_page_says_so(tmp_path, open_page):
    image = write_nifti(tmp_path / "a.nii", made_up_scan().voxels)
    path = write_viewer(tmp_path / "viewer.html", image, image)
    without = "HTMLCanvasElement.prototype.getContext = () => null"
    with open_page(path, script=without) as page:
        page.get_by_text("needs a browser with WebGL 2").wait_for()
        assert page.locator("#opacity-probability").count() == 0


def test_axe_finds_no_violation(tmp_path, open_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    image = write_nifti(tmp_path / "a.nii", made_up_scan().voxels)
    with open_page(write_viewer(tmp_path / "viewer.html", image, image, image)) as page:
        page.wait_for_selector("body[data-ready]", state="attached")
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()


def test_the_license_of_the_library_is_in_the_page(tmp_path):
    image = write_nifti(tmp_path / "a.nii", made_up_scan().voxels)
    text = write_viewer(tmp_path / "viewer.html", image, image).read_text(encoding="utf-8")
    assert "BSD 2-Clause License" in text


def test_images_are_compressed_in_the_page(tmp_path):
    image = write_nifti(tmp_path / "a.nii", np.zeros((200, 200, 200), np.uint8))  # 8 MB
    assert write_viewer(tmp_path / "viewer.html", image, image).stat().st_size < 4e6


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.nii: does not exist"):
        write_viewer(tmp_path / "v.html", tmp_path / "missing.nii", tmp_path / "missing.nii")
