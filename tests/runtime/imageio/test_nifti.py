from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import inv_ornt_aff
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import largest_corner_distance_mm
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.nifti_writer import write_on_grid_of

SHAPE = (5, 4, 3)
SPACING_MM = (0.7, 0.9, 3.1)
ALL_ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in itertools.permutations(range(3))
    for flips in itertools.product([1, -1], repeat=3)
]
GRID_FIELDS = [
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
]


def oblique_affine() -> NDArray[np.float64]:
    """Anisotropic voxels, turned by 10° about x and then by 25° about z, shifted unevenly."""
    a, b = np.radians(10), np.radians(25)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(SPACING_MM)
    affine[:3, 3] = [-31.5, 17.25, 4.0]
    return affine


def counting(dtype: Any = np.int16, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(
    path: Path,
    voxels: NDArray[Any] | None = None,
    affine: NDArray[np.float64] | None = None,
    *,
    image_class: Any = nib.Nifti1Image,
    endianness: str = "<",
    qform_code: int = 1,
    sform_code: int = 2,
    edit: Callable[[Any], None] | None = None,
) -> Path:
    """Write voxels unchanged; `edit` may then break the header, without nibabel's repairs."""
    voxels = counting() if voxels is None else voxels
    affine = oblique_affine() if affine is None else affine
    header = image_class.header_class(endianness=endianness)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0).tolist() + [1] * (voxels.ndim - 3))
    header.set_qform(affine, qform_code)
    header.set_sform(affine, sform_code)
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = header.single_vox_offset
    if edit:
        edit(header)
    stored = voxels.astype(voxels.dtype.newbyteorder(endianness)).tobytes(order="F")
    data = header.binaryblock + b"\0\0\0\0" + stored
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def set_field(field: str, value: Any, at: Any = ...) -> Callable[[Any], None]:
    def edit(header: Any) -> None:
        header[field][at] = value

    return edit


def assert_same_grid(one: Path, other: Path) -> None:
    """Compare the grid fields bit for bit, as little-endian numbers, and the resulting affine."""
    images = [nib.load(one), nib.load(other)]
    assert type(images[0]) is type(images[1])
    assert images[0].shape == images[1].shape
    np.testing.assert_array_equal(images[0].affine, images[1].affine)
    np.testing.assert_array_equal(images[0].header.get_zooms(), images[1].header.get_zooms())
    for field in GRID_FIELDS:
        one_bytes, other_bytes = (
            np.asarray(image.header[field]).astype(image.header[field].dtype.newbyteorder("<"))
            for image in images
        )
        assert one_bytes.tobytes() == other_bytes.tobytes(), field


# Reading


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_voxels_affine_and_hash_are_those_of_the_file(
    tmp_path: Path, name: str, image_class: Any
) -> None:
    path = save(tmp_path / name, image_class=image_class)
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.voxels, counting())
    np.testing.assert_allclose(scan.affine, oblique_affine(), atol=1e-6)
    np.testing.assert_array_equal(scan.affine, nib.load(path).affine)
    assert scan.path == path
    assert scan.voxels.dtype == np.float32
    assert scan.shape == SHAPE
    assert scan.spacing_mm == pytest.approx(SPACING_MM, rel=1e-6)
    assert scan.voxel_volume_mm3 == pytest.approx(1.953, rel=1e-6)  # 0.7 · 0.9 · 3.1
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert scan.warnings == ()


@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("code", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_integer_and_float_type_is_read(tmp_path: Path, code: str, endianness: str) -> None:
    path = save(tmp_path / "scan.nii", counting(np.dtype(code)), endianness=endianness)
    np.testing.assert_array_equal(read_scan(path).voxels, counting())


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    def scale(header: Any) -> None:
        header["scl_slope"], header["scl_inter"] = 0.5, -10

    # 0, 1, 2, … stored become −10, −9.5, −9, …: negative values are fine.
    scan = read_scan(save(tmp_path / "scan.nii", edit=scale))
    np.testing.assert_array_equal(scan.voxels, counting(np.float64) / 2 - 10)


def test_scaling_large_integers_loses_no_digits_before_the_intercept(tmp_path: Path) -> None:
    def scale(header: Any) -> None:
        header["scl_slope"], header["scl_inter"] = 1, -(2.0**30)

    # 2³⁰ + 1 is no float32, but 2³⁰ + 1 − 2³⁰ is.
    scan = read_scan(save(tmp_path / "scan.nii", counting(np.int32) + 2**30, edit=scale))
    np.testing.assert_array_equal(scan.voxels, counting())


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_an_invalid_slope_is_ignored(tmp_path: Path, slope: float) -> None:
    path = save(tmp_path / "scan.nii", edit=set_field("scl_slope", slope))
    np.testing.assert_array_equal(read_scan(path).voxels, counting())


@pytest.mark.parametrize("further", [(1,), (1, 1)])
def test_trailing_axes_of_length_1_are_read_and_written(
    tmp_path: Path, further: tuple[int, ...]
) -> None:
    path = save(tmp_path / "scan.nii.gz", counting(shape=SHAPE + further))
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.voxels, counting())
    write_on_grid_of(scan, scan.voxels, tmp_path / "map.nii.gz")
    assert nib.load(tmp_path / "map.nii.gz").shape == SHAPE + further
    assert_same_grid(path, tmp_path / "map.nii.gz")


def test_gzip_is_detected_from_the_content(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii.gz").rename(tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_scan(path).voxels, counting())


def test_a_scan_without_coded_forms_gets_its_affine_from_the_voxel_sizes(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", qform_code=0, sform_code=0)
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.affine, nib.load(path).affine)
    (warning,) = scan.warnings
    assert "no orientation is coded" in warning


def test_if_qform_and_sform_disagree_the_sform_is_used_with_a_warning(
    tmp_path: Path,
) -> None:
    path = save(tmp_path / "scan.nii", edit=set_field("qoffset_y", 17.25 + 3.2))
    scan = read_scan(path)
    np.testing.assert_allclose(scan.affine, oblique_affine(), atol=1e-6)
    assert scan.warnings == ("qform and sform disagree by up to 3.2 mm: the sform is used",)


def zero_sform(header: Any) -> None:
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row] = 0


def flat_sform(header: Any) -> None:  # x and y run the same way
    header["srow_x"], header["srow_y"], header["srow_z"] = [1, 1, 0, 0], [0] * 4, [0, 0, 3, 0]


def scale_sform(factor: float) -> Callable[[Any], None]:
    def scale(header: Any) -> None:  # along z only
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row][2] *= factor

    return scale


BAD_SFORMS = {
    "zero": (zero_sform, "has a voxel size of 0 × 0 × 0 mm"),
    "flat": (flat_sform, "cannot be inverted: the voxel axes lie in one plane"),
    "nan": (set_field("srow_y", np.nan, 1), "has NaN or infinite values"),
    "infinite": (set_field("srow_z", np.inf, 3), "has NaN or infinite values"),
    "too small": (scale_sform(0.02), "has a voxel size of 0.7 × 0.9 × 0.062 mm"),
    "too large": (scale_sform(30), "has a voxel size of 0.7 × 0.9 × 93 mm"),
}
BAD_QFORMS = {
    "no rotation": (set_field("quatern_b", 2), "has NaN or infinite values, or no rotation"),
    "nan": (set_field("qoffset_x", np.nan), "has NaN or infinite values"),
    "zero": (set_field("pixdim", 0, 3), "has a voxel size of 0.7 × 0.9 × 0 mm"),
    "all zero": (set_field("pixdim", 0), "has a voxel size of 0 × 0 × 0 mm"),
    "too large": (set_field("pixdim", 21, 1), "has a voxel size of 21 × 0.9 × 3.1 mm"),
}


@pytest.mark.parametrize("bad", BAD_SFORMS)
def test_a_bad_sform_with_a_good_qform_gives_a_warning(tmp_path: Path, bad: str) -> None:
    edit, problem = BAD_SFORMS[bad]
    path = save(tmp_path / "scan.nii", edit=edit)
    scan = read_scan(path)
    np.testing.assert_allclose(scan.affine, oblique_affine(), atol=1e-5)
    (warning,) = scan.warnings
    assert warning.startswith(f"the sform {problem}")
    assert warning.endswith(": the qform is used")
    write_on_grid_of(scan, scan.voxels, tmp_path / "map.nii")
    np.testing.assert_array_equal(read_scan(tmp_path / "map.nii").affine, scan.affine)


@pytest.mark.parametrize("bad", BAD_QFORMS)
def test_a_bad_qform_with_a_good_sform_gives_a_warning(tmp_path: Path, bad: str) -> None:
    edit, problem = BAD_QFORMS[bad]
    scan = read_scan(save(tmp_path / "scan.nii", edit=edit))
    np.testing.assert_allclose(scan.affine, oblique_affine(), atol=1e-6)
    assert scan.warnings[0].startswith(f"the qform {problem}")
    assert scan.warnings[0].endswith(": the sform is used")


@pytest.mark.parametrize("bad", BAD_SFORMS)
@pytest.mark.parametrize("other", ["not coded", "bad"])
def test_a_bad_sform_without_a_good_qform_is_refused(tmp_path: Path, bad: str, other: str) -> None:
    edit, problem = BAD_SFORMS[bad]

    def both(header: Any) -> None:
        edit(header)
        if other == "bad":
            header["quatern_b"] = 2

    path = save(tmp_path / "scan.nii", qform_code=int(other == "bad"), edit=both)
    assert_refused(path, f"its sform {problem}")


@pytest.mark.parametrize("bad", BAD_QFORMS)
def test_a_bad_qform_without_an_sform_is_refused(tmp_path: Path, bad: str) -> None:
    edit, problem = BAD_QFORMS[bad]
    assert_refused(save(tmp_path / "scan.nii", sform_code=0, edit=edit), f"its qform {problem}")


def test_voxel_sizes_that_contradict_the_sform_give_a_warning(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", qform_code=0, edit=set_field("pixdim", 1, slice(1, 4)))
    (warning,) = read_scan(path).warnings
    assert "1 × 1 × 1 mm" in warning
    assert "0.7 × 0.9 × 3.1 mm: the affine is used" in warning


def break_fields(header: Any) -> None:
    """Break three header fields that nibabel can repair, with a message."""
    header["pixdim"][0], header["qform_code"], header["bitpix"] = 0, 99, 7


def test_repairable_header_fields_print_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", edit=break_fields)
    program = (
        "import pathlib, sys; from wmh_runtime.imageio.nifti_reader import read_scan; "
        "print(read_scan(pathlib.Path(sys.argv[1])).shape)"
    )
    # nibabel keeps the stderr that it finds on import, so only a new process shows its messages.
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True)
    assert (run.stdout.strip(), run.stderr) == (b"(5, 4, 3)", b"")


def test_repairable_header_fields_are_written_unchanged(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", edit=break_fields)
    scan = read_scan(path)
    write_on_grid_of(scan, scan.voxels, tmp_path / "map.nii")
    raw = [nib.Nifti1Header(p.read_bytes()[:348], check=False) for p in tmp_path.glob("*.nii")]
    for field in GRID_FIELDS:
        np.testing.assert_array_equal(raw[0][field], raw[1][field])


def test_two_affines_differ_most_at_a_corner() -> None:
    # The second affine is 10 % longer along z: the last of 3 slices, at 2 · 3 mm, moves 0.6 mm.
    first, second = np.diag([1.0, 2, 3, 1]), np.diag([1.0, 2, 3.3, 1])
    assert largest_corner_distance_mm(first, second, SHAPE) == pytest.approx(0.6)


# Writing


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS, ids=lambda o: "".join(map(str, o.flat)))
def test_every_orientation_is_read_and_written_unchanged(
    tmp_path: Path, orientation: NDArray[Any]
) -> None:
    affine = oblique_affine() @ inv_ornt_aff(orientation, SHAPE)
    path = save(tmp_path / "scan.nii", affine=affine)
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.affine, nib.load(path).affine)
    assert scan.warnings == ()
    write_on_grid_of(scan, scan.voxels, tmp_path / "map.nii")
    assert_same_grid(path, tmp_path / "map.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "map.nii").get_fdata(), counting())


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 4), (3, 2)])
def test_results_have_the_grid_of_the_scan(
    tmp_path: Path,
    name: str,
    dtype: Any,
    image_class: Any,
    endianness: str,
    codes: tuple[int, int],
) -> None:
    path = save(
        tmp_path / "scan.nii.gz",
        image_class=image_class,
        endianness=endianness,
        qform_code=codes[0],
        sform_code=codes[1],
    )
    result = (counting() % 2).astype(dtype)
    write_on_grid_of(read_scan(path), result, tmp_path / name)
    assert_same_grid(path, tmp_path / name)
    written = nib.load(tmp_path / name)
    assert written.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), result)
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    assert (written.header["cal_min"], written.header["cal_max"]) == (0, 1)
    assert written.header["descrip"].item() == b"wmh-lora"


def test_a_written_map_can_be_read_as_a_scan_with_the_same_grid(tmp_path: Path) -> None:
    scan = read_scan(save(tmp_path / "scan.nii"))
    probability = np.linspace(0, 1, 60, dtype=np.float32).reshape(SHAPE)
    write_on_grid_of(scan, probability, tmp_path / "probability.nii.gz")
    again = read_scan(tmp_path / "probability.nii.gz")
    np.testing.assert_array_equal(again.voxels, probability)
    np.testing.assert_array_equal(again.affine, scan.affine)


def test_array_order_and_memory_layout_do_not_change_the_file(tmp_path: Path) -> None:
    scan = read_scan(save(tmp_path / "scan.nii"))
    write_on_grid_of(scan, np.asfortranarray(scan.voxels), tmp_path / "a.nii")
    write_on_grid_of(scan, np.ascontiguousarray(scan.voxels), tmp_path / "b.nii")
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_header_fields_that_may_identify_the_patient_are_not_copied(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    for field in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        header[field] = b"Jane Doe"
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe, extension"))
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(counting(), oblique_affine(), header), path)
    assert path.read_bytes().count(b"Jane Doe") >= 5
    scan = read_scan(path)
    write_on_grid_of(scan, scan.voxels, tmp_path / "map.nii")
    assert b"Jane" not in (tmp_path / "map.nii").read_bytes()
    assert not nib.load(tmp_path / "map.nii").header.extensions


def test_gzip_bytes_do_not_depend_on_time_and_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = read_scan(save(tmp_path / "scan.nii"))
    mask = (scan.voxels > 7).astype(np.uint8)
    write_on_grid_of(scan, mask, tmp_path / "a.nii.gz")
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    write_on_grid_of(scan, mask, tmp_path / "b.nii.gz")
    data = (tmp_path / "a.nii.gz").read_bytes()
    assert data == (tmp_path / "b.nii.gz").read_bytes()
    # RFC 1952: byte 3 holds the flags (8: a file name follows), bytes 4 to 7 the time.
    assert data[3:8] == b"\0\0\0\0\0"


@pytest.mark.parametrize(
    "voxels", [np.zeros((5, 4, 2), np.uint8), np.zeros(SHAPE), np.zeros(SHAPE, bool)]
)
def test_results_of_another_shape_or_type_are_refused(tmp_path: Path, voxels: NDArray[Any]) -> None:
    scan = read_scan(save(tmp_path / "scan.nii"))
    with pytest.raises(ValueError, match=r"expected uint8, uint16 or float32 of shape \(5, 4, 3\)"):
        write_on_grid_of(scan, voxels, tmp_path / "out.nii")


@pytest.mark.parametrize(
    ("name", "problem"),
    [("out.img", "not a NIfTI file name"), ("scan.nii", "overwrite the scan")],
)
def test_a_wrong_suffix_and_the_path_of_the_scan_are_refused(
    tmp_path: Path, name: str, problem: str
) -> None:
    scan = read_scan(save(tmp_path / "scan.nii"))
    with pytest.raises(InputError, match=problem):
        write_on_grid_of(scan, scan.voxels, tmp_path / name)
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.nii").voxels, counting())


# Bad input


def assert_refused(path: Path, *parts: str) -> None:
    """Expect an InputError with one line: the file, the problem and a remedy."""
    with pytest.raises(InputError) as caught:
        read_scan(path)
    error = caught.value
    assert error.about == path
    assert error.remedy
    assert str(error).startswith(f"{path}: ")
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "scan.nii", "scan.nii: does not exist")


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").symlink_to(tmp_path / "elsewhere.nii")
    assert_refused(tmp_path / "scan.nii", "is a link to a file that does not exist", "Fix or")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").mkdir()
    assert_refused(tmp_path / "scan.nii.gz", "is not a regular file")


def test_a_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "scan.nii")
    monkeypatch.setattr(Path, "open", deny)
    assert_refused(path, "cannot be read (Permission denied)", "Check the permissions")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert_refused(tmp_path / name, "is empty (0 bytes)")


@pytest.mark.parametrize("text", [b"x", b"id,age\n" * 100])
def test_text_renamed_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "scan.nii").write_bytes(text)
    assert_refused(tmp_path / "scan.nii", "is not a NIfTI image")
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(text))
    assert_refused(tmp_path / "scan.nii.gz", "is not a NIfTI image")


@pytest.mark.parametrize("order", ["<", ">"])
def test_analyze_images_are_refused_because_they_have_no_orientation(
    tmp_path: Path, order: str
) -> None:
    path = save(tmp_path / "scan.hdr", endianness=order, edit=set_field("magic", b""))
    assert_refused(path, "is an Analyze 7.5 image, which stores no orientation", "dcm2niix")


@pytest.mark.parametrize("kept_bytes", [1, 2, 5, 100, 200, -9, -8, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path: Path, kept_bytes: int) -> None:
    noise = np.random.default_rng(0).integers(0, 999, SHAPE).astype(np.int16)
    path = save(tmp_path / "scan.nii.gz", noise)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    assert_refused(path)


def test_a_gzip_file_with_incomplete_data_is_called_truncated(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])
    assert_refused(path, "is truncated: the compressed data end too early", "Copy or")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_fewer_voxels_than_in_the_header_are_refused(tmp_path: Path, name: str) -> None:
    whole = save(tmp_path / "whole.nii").read_bytes()
    assert len(whole) == 472  # 352 + 2 · 5 · 4 · 3
    compress = gzip.compress if name.endswith(".gz") else bytes
    (tmp_path / name).write_bytes(compress(whole[:-1]))
    assert_refused(tmp_path / name, "is truncated", "at most 471 bytes", "expected 472")


def test_every_truncation_of_an_uncompressed_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii")
    whole = path.read_bytes()
    for n_bytes in range(0, len(whole), 7):
        path.write_bytes(whole[:n_bytes])
        assert_refused(path)


@pytest.mark.parametrize("size", [4, 64])  # smaller and larger than the reader's buffer
def test_a_wrong_gzip_checksum_is_refused(tmp_path: Path, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 999, (size, size, size)).astype(np.int16)
    path = save(tmp_path / "scan.nii.gz", noise)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # RFC 1952: the file ends in the CRC-32 and the length, 4 bytes each
    path.write_bytes(data)
    assert_refused(path, "is damaged (CRC check failed")


def test_damaged_compressed_data_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii.gz")
    data = path.read_bytes()
    path.write_bytes(data[:10] + b"\xff" * 50 + data[60:])
    assert_refused(path, "is damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_are_not_finite_are_counted(tmp_path: Path, value: float, dtype: Any) -> None:
    voxels = counting(dtype)
    voxels[1, 2, :2] = value
    assert_refused(save(tmp_path / "scan.nii", voxels), "2 of 60 voxels are NaN, infinite")


def test_voxels_beyond_float32_are_counted(tmp_path: Path) -> None:
    voxels = counting(np.float64)
    voxels[0, 0, 0] = 1e300
    assert_refused(save(tmp_path / "scan.nii", voxels), "1 of 60 voxels", "too large for float32")


def test_a_constant_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", np.full(SHAPE, 7, np.uint8))
    assert_refused(path, "constant image (all voxels equal 7)")


def test_an_empty_mask_can_be_read_if_constant_images_are_allowed(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.nii", np.zeros(SHAPE, np.uint8))
    assert not read_scan(path, allow_constant=True).voxels.any()


@pytest.mark.parametrize(("shape", "n_volumes"), [((5, 4, 3, 6), "6"), ((5, 4, 3, 1, 2), "2")])
def test_several_volumes_are_refused_with_advice_to_extract_one(
    tmp_path: Path, shape: tuple[int, ...], n_volumes: str
) -> None:
    path = save(tmp_path / "scan.nii", counting(shape=shape))
    assert_refused(path, f"contains {n_volumes} volumes", "fslroi")


def test_colors_are_refused(tmp_path: Path) -> None:
    colors = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colors, oblique_affine()), tmp_path / "scan.nii")
    assert_refused(tmp_path / "scan.nii", "contains colors")


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_numbers_are_refused(tmp_path: Path, dtype: Any) -> None:
    assert_refused(save(tmp_path / "scan.nii", counting(dtype)), "complex", "magnitude")


@pytest.mark.parametrize("shape", [(5, 4, 1), (1, 4, 3), (5, 1, 3)])
def test_a_single_slice_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "scan.nii", counting(shape=shape))
    assert_refused(path, f"has {' × '.join(map(str, shape))} voxels", "at least 2 along each axis")


@pytest.mark.parametrize("n_axes", [1, 2])
def test_fewer_than_three_dimensions_are_refused(tmp_path: Path, n_axes: int) -> None:
    path = save(tmp_path / "scan.nii", edit=set_field("dim", n_axes, 0))
    assert_refused(path, f"has {n_axes} dimensions, expected a volume")


@pytest.mark.parametrize("n_axes", [-1, 0, 8, 32767])
def test_an_impossible_number_of_dimensions_is_refused(tmp_path: Path, n_axes: int) -> None:
    assert_refused(save(tmp_path / "scan.nii", edit=set_field("dim", n_axes, 0)), "dimensions")


@pytest.mark.parametrize("size", [0, -1, -32768])
def test_an_axis_without_voxels_is_refused(tmp_path: Path, size: int) -> None:
    path = save(tmp_path / "scan.nii", edit=set_field("dim", size, 2))
    assert_refused(path, f"has 5 × {size} × 3 voxels")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize(
    ("image_class", "size"),
    [(nib.Nifti1Image, 30_000), (nib.Nifti2Image, 2**62)],
)
def test_too_many_voxels_are_refused_before_memory_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, image_class: Any, size: int
) -> None:
    edit = set_field("dim", size, slice(1, 4))
    path = save(tmp_path / name, image_class=image_class, edit=edit)
    forbid_allocation(monkeypatch)
    assert_refused(path, "according to its header, expected at most 1073741824")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_more_bytes_than_the_file_can_contain_are_refused_before_memory_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = save(tmp_path / name, edit=set_field("dim", 1000, slice(1, 4)))
    forbid_allocation(monkeypatch)
    # Two bytes each for 1000³ voxels, after 352 bytes.
    assert_refused(path, "is truncated", "expected 2000000352")


def forbid_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("memory was allocated")

    monkeypatch.setattr("wmh_runtime.imageio.nifti_reader.np.empty", fail)


def test_a_volume_that_needs_too_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    path = save(tmp_path / "scan.nii")
    monkeypatch.setattr("wmh_runtime.imageio.nifti_reader.np.empty", fail)
    assert_refused(path, "does not fit into memory")


@pytest.mark.parametrize("size_mm", [0.0, 0.05, 21.0, 1e30, np.nan, np.inf])
@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("qform_code", [0, 1])
def test_an_implausible_voxel_size_is_refused(
    tmp_path: Path, size_mm: float, axis: int, qform_code: int
) -> None:
    edit = set_field("pixdim", size_mm, axis)
    path = save(tmp_path / "scan.nii", qform_code=qform_code, sform_code=0, edit=edit)
    problem = "has a voxel size of" if np.isfinite(size_mm) else "has NaN or infinite values"
    assert_refused(path, f"its {'qform' if qform_code else 'header'} {problem}")


def test_voxel_sizes_and_shape_of_axes_that_are_not_there_are_ignored(tmp_path: Path) -> None:
    def edit(header: Any) -> None:
        header["pixdim"][4:] = [0, -1, np.nan, np.inf]
        header["dim"][4:] = [7, 0, -3, 9]

    assert read_scan(save(tmp_path / "scan.nii", edit=edit)).warnings == ()


@pytest.mark.parametrize("n_axes", [4, 5, 6, 7])
@pytest.mark.parametrize("further", [(0, 0, 0, 0), (1, 0, 1, 0), (1, 1, 1, 1)])
def test_further_axes_of_length_0_count_as_one_volume(
    tmp_path: Path, n_axes: int, further: tuple[int, ...]
) -> None:
    def edit(header: Any) -> None:
        header["dim"][0], header["dim"][4:] = n_axes, further
        header["pixdim"][4:] = 0

    scan = read_scan(save(tmp_path / "scan.nii", edit=edit))
    np.testing.assert_array_equal(scan.voxels, counting())
    write_on_grid_of(scan, scan.voxels, tmp_path / "map.nii")
    written = nib.load(tmp_path / "map.nii")
    assert written.shape == (*SHAPE, *[1] * (n_axes - 3))
    np.testing.assert_array_equal(written.get_fdata().reshape(SHAPE), counting())


def test_a_negative_number_of_volumes_is_refused(tmp_path: Path) -> None:
    def edit(header: Any) -> None:
        header["dim"][0], header["dim"][4:6] = 5, [-1, -1]

    assert_refused(save(tmp_path / "scan.nii", edit=edit), "contains 1 volumes (5 × 4 × 3 × -1")


@pytest.mark.parametrize(("unit", "name"), [("meter", "meters"), ("micron", "micrometers")])
def test_another_unit_with_voxel_sizes_in_mm_gives_a_warning(
    tmp_path: Path, unit: str, name: str
) -> None:
    path = save(tmp_path / "scan.nii", edit=lambda header: header.set_xyzt_units(unit))
    (warning,) = read_scan(path).warnings
    assert warning == (
        f"the header has lengths in {name}, but voxels of 0.7 × 0.9 × 3.1: mm are assumed"
    )


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3)])
def test_lengths_in_another_unit_are_refused(tmp_path: Path, unit: str, factor: float) -> None:
    affine = np.diag([factor, factor, factor, 1]) @ oblique_affine()
    path = save(
        tmp_path / "scan.nii", affine=affine, edit=lambda header: header.set_xyzt_units(unit)
    )
    assert_refused(path, "has lengths in m", "expected millimeters")


@pytest.mark.parametrize("value", [2.0, np.nan, np.inf, 1e38])
def test_an_invalid_qform_without_an_sform_is_refused(tmp_path: Path, value: float) -> None:
    path = save(tmp_path / "scan.nii", sform_code=0, edit=set_field("quatern_c", value))
    assert_refused(path)


@pytest.mark.parametrize("offset", [0, 100, -16, np.nan, np.inf, 1e30])
def test_an_invalid_voxel_offset_is_refused(tmp_path: Path, offset: float) -> None:
    assert_refused(save(tmp_path / "scan.nii", edit=set_field("vox_offset", offset)))


@pytest.mark.parametrize("code", [0, 1, 3, 255, 32767])
def test_an_unknown_data_type_is_refused(tmp_path: Path, code: int) -> None:
    path = save(tmp_path / "scan.nii", edit=set_field("datatype", code))
    assert_refused(path, "has an invalid header", "data code")


def test_a_slope_with_an_infinite_intercept_is_refused(tmp_path: Path) -> None:
    def scale(header: Any) -> None:
        header["scl_slope"], header["scl_inter"] = 2, np.inf

    assert_refused(save(tmp_path / "scan.nii", edit=scale), "invalid intercept")


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_header_with_any_byte_altered_is_read_or_refused(
    tmp_path: Path, image_class: Any
) -> None:
    path = save(tmp_path / "scan.nii", image_class=image_class)
    whole = path.read_bytes()
    for position in range(image_class.header_class.sizeof_hdr):
        for value in (0x00, 0x7F, 0x80, 0xFF):
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            with contextlib.suppress(InputError):  # any other exception or warning is a failure
                assert np.isfinite(read_scan(path).voxels).all()


# Real scans


@pytest.mark.parametrize("pattern", ["clinical/*/*_FLAIR.nii.gz", "mni/*/*_FLAIR.nii.gz"])
def test_real_scans_are_read_and_their_grid_kept(
    tmp_path: Path, test_data: Path, pattern: str
) -> None:
    paths = sorted((test_data / "open-ms").glob(pattern))
    assert paths
    for path in paths:
        scan = read_scan(path)
        np.testing.assert_array_equal(
            scan.voxels, np.asarray(nib.load(path).dataobj, dtype=np.float32)
        )
        assert scan.voxels.std() > 0
        mask = (scan.voxels > np.percentile(scan.voxels, 99)).astype(np.uint8)
        write_on_grid_of(scan, mask, tmp_path / "mask.nii.gz")
        assert_same_grid(path, tmp_path / "mask.nii.gz")
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj), mask)
