"""Pairs of files, FreeSurfer's images, unusual file names, and bytes after the image."""

import gzip
import hashlib
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.image_files import sha256_of_image
from wmh_runtime.imageio.nifti_reader import read_grid, read_scan
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.imageio.volume import scan_from_image

SHAPE = (5, 4, 3)
VOXELS = np.arange(60).reshape(SHAPE).astype(np.int16)
# Anisotropic, along P, R and S: 0.7 × 0.9 × 3.1 mm, shifted unevenly.
AFFINE = np.array([[0, 0.9, 0, -31.5], [-0.7, 0, 0, 17.25], [0, 0, 3.1, 4], [0, 0, 0, 1]])


def assert_is_the_scan(path, out):
    """Check voxels and grid, and that a result lies on the same grid."""
    scan = read_scan(path)
    assert scan.path == path
    np.testing.assert_array_equal(scan.voxels, VOXELS)
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(read_grid(path)[1], scan.affine)
    assert scan.sha256 == sha256_of_image(path)
    write_on_grid_of(scan, (scan.voxels > 7).astype(np.uint8), out / "mask.nii.gz")
    written = nib.load(out / "mask.nii.gz")
    assert isinstance(written, nib.Nifti1Image | nib.Nifti2Image)
    assert written.shape == SHAPE
    np.testing.assert_array_equal(written.get_fdata(), VOXELS > 7)
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    return scan


@pytest.mark.parametrize("given", ["scan.hdr", "scan.img"])
@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_either_file_of_a_pair_is_read(tmp_path, given, kind):
    nib.save(kind(VOXELS, AFFINE), tmp_path / "scan.img")
    scan = assert_is_the_scan(tmp_path / given, tmp_path)
    both = (tmp_path / "scan.hdr").read_bytes() + (tmp_path / "scan.img").read_bytes()
    assert scan.sha256 == hashlib.sha256(both).hexdigest()
    assert scan.warnings == ()


@pytest.mark.parametrize("names", [("scan.hdr.gz", "scan.img.gz"), ("scan.hdr", "scan.img.gz")])
def test_the_files_of_a_pair_may_be_gzipped(tmp_path, names):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "plain.img")
    for name, plain in zip(names, ("plain.hdr", "plain.img"), strict=True):
        content = (tmp_path / plain).read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("z") else content)
    for name in names:
        assert_is_the_scan(tmp_path / name, tmp_path)


def test_a_pair_in_upper_case_is_read(tmp_path):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "scan.img")
    for suffix in ("hdr", "img"):
        (tmp_path / f"scan.{suffix}").rename(tmp_path / f"SCAN.{suffix.upper()}")
    assert_is_the_scan(tmp_path / "SCAN.HDR", tmp_path)


@pytest.mark.parametrize(
    ("lost", "given", "message"),
    [
        ("scan.img", "scan.hdr", "is one half of a NIfTI pair, and the other is not beside it"),
        ("scan.hdr", "scan.img", "is not a NIfTI image"),
    ],
)
def test_half_of_a_pair_is_refused(tmp_path, lost, given, message):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "scan.img")
    (tmp_path / lost).unlink()
    with pytest.raises(InputError, match=message) as raised:
        read_scan(tmp_path / given)
    assert raised.value.about == tmp_path / given


def test_voxels_of_a_pair_that_are_cut_off_are_refused(tmp_path):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "scan.img")
    (tmp_path / "scan.img").write_bytes(VOXELS.tobytes()[:-1])
    for read in (read_scan, read_grid):
        with pytest.raises(InputError, match=r"is truncated: at most 119 bytes .* expected 120"):
            read(tmp_path / "scan.hdr")


@pytest.mark.parametrize("name", ["scan.mgh", "scan.mgz", "scan.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_images_of_freesurfer_are_read(tmp_path, name, dtype):
    stored = tmp_path / ("stored.mgz" if name.endswith("z") else "stored.mgh")
    nib.save(nib.MGHImage(VOXELS.astype(dtype), AFFINE.astype(np.float32)), stored)
    path = stored.rename(tmp_path / name)  # the content says what it is
    assert assert_is_the_scan(path, tmp_path).warnings == ()


def write_mgh(path, **fields):
    image = nib.MGHImage(VOXELS, AFFINE.astype(np.float32))
    nib.save(image, path)
    header = nib.freesurfer.mghformat.MGHHeader(image.header.binaryblock)
    whole = bytearray(path.read_bytes())
    for field, value in fields.items():
        dtype, offset = header.template_dtype.fields[field][:2]
        stored = np.asarray(value, dtype.base).tobytes()
        whole[offset : offset + len(stored)] = stored
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"goodRASFlag": 0}, "stores no orientation: left and right are unknown"),
        ({"type": 99}, "has the unknown data type 99"),
        ({"dims": [5, 4, 3, 2]}, "contains 2 volumes"),
        ({"dims": [5, 4, 1, 1]}, "has 5 × 4 × 1 voxels"),
        ({"dims": [5, 4, -3, 1]}, "expected at most 32767"),
        ({"dims": [70000, 4, 3, 1]}, "expected at most 32767"),
        ({"dims": [5, 4, 4, 1]}, "is truncated"),
        ({"delta": [0, 0.9, 3.1]}, "its sform has a voxel size of 0 × 0.9 × 3.1 mm"),
        ({"delta": [np.nan, 0.9, 3.1]}, "its sform has NaN"),
    ],
)
def test_bad_images_of_freesurfer_are_refused(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        read_scan(write_mgh(tmp_path / "scan.mgh", **fields))


def test_a_header_of_freesurfer_that_is_cut_off_is_refused(tmp_path):
    path = write_mgh(tmp_path / "scan.mgh")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="is truncated within its header"):
        read_scan(path)


@pytest.mark.parametrize("name", ["scan.nii (1).gz", "scan.gz", "scan.nii", "scan", "scan.dcm"])
@pytest.mark.parametrize("gzipped", [True, False])
def test_the_content_decides_what_a_file_is(tmp_path, name, gzipped):
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / ("a.nii.gz" if gzipped else "a.nii"))
    path = next(tmp_path.iterdir()).rename(tmp_path / name)
    assert_is_the_scan(path, tmp_path)


@pytest.mark.parametrize("junk", [b"junk", b"\0\0\0junk", bytes(300) + b"<html>", b"PK\x03\x04"])
def test_bytes_after_a_gzip_stream_give_a_warning(tmp_path, junk):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), path)
    path.write_bytes(path.read_bytes() + junk)
    scan = assert_is_the_scan(path, tmp_path)
    assert scan.warnings == (
        "the file has other bytes after its gzipped content: they are ignored",
    )


def test_a_gzip_file_in_several_parts_or_padded_with_zeros_is_read(tmp_path):
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(whole[:400]) + gzip.compress(whole[400:]) + bytes(512))
    assert assert_is_the_scan(path, tmp_path).warnings == ()


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_more_voxels_than_the_header_says_give_a_warning(tmp_path, name):
    # As if a slice of 5 · 4 voxels of two bytes were missing in the header.
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes() + bytes(40)
    compress = gzip.compress if name.endswith("z") else bytes
    (tmp_path / name).write_bytes(compress(content))
    scan = assert_is_the_scan(tmp_path / name, tmp_path)
    assert scan.warnings == ("the file has 40 bytes after the voxels: its header may be wrong",)


def test_an_image_in_memory_with_colors_or_complex_numbers_is_refused():
    with pytest.raises(InputError, match="contains complex numbers"):
        scan_from_image(nib.Nifti1Image(VOXELS.astype(np.complex64), AFFINE))
    colors = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="contains colors"):
        scan_from_image(nib.Nifti1Image(colors, AFFINE))


def test_the_hash_of_a_pair_changes_with_either_file(tmp_path):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), tmp_path / "scan.img")
    hashes = {sha256_of_image(tmp_path / "scan.hdr")}
    assert hashes == {sha256_of_image(tmp_path / "scan.img")}
    for suffix in ("hdr", "img"):
        shutil.copy(tmp_path / f"scan.{suffix}", tmp_path / "kept")
        content = bytearray((tmp_path / "kept").read_bytes())
        content[100] ^= 1
        (tmp_path / f"scan.{suffix}").write_bytes(content)
        hashes.add(sha256_of_image(tmp_path / "scan.hdr"))
        shutil.copy(tmp_path / "kept", tmp_path / f"scan.{suffix}")
    assert len(hashes) == 3


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_an_image_of_nibabel_whose_file_is_cut_off_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).normal(size=(20, 20, 20))
    nib.save(nib.Nifti1Image(noise, AFFINE), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=re.escape(str(tmp_path / name))):
        scan_from_image(nib.load(tmp_path / name))


def test_an_image_of_nibabel_with_values_beyond_float32_is_refused():
    voxels = VOXELS.astype(np.float64)
    voxels[0, 0, 0] = 1e300
    with pytest.raises(InputError, match="1 of 60 voxels are NaN, infinite or too large"):
        scan_from_image(nib.Nifti1Image(voxels, AFFINE))
