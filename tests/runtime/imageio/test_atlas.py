"""Reading an atlas onto the grid of a scan."""

import nibabel as nib
import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.atlas import ASEG_NAMES, read_atlas, read_matrix, read_region_names

GRID = as_scan(np.zeros((6, 4, 3)), np.diag([2.0, 2.0, 3.0, 1.0]))
NUMBERS = np.arange(72).reshape(6, 4, 3) % 5 * 1000


def write(path, numbers=NUMBERS, affine=GRID.affine):
    nib.save(nib.Nifti1Image(np.asarray(numbers, np.int16), affine), path)
    return path


def test_on_the_grid_of_the_scan_numbers_stay(tmp_path):
    path = write(tmp_path / "atlas.nii")
    np.testing.assert_array_equal(read_atlas(path, GRID), NUMBERS)
    mirrored = GRID.affine @ np.array([[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    path = write(tmp_path / "mirrored.nii", NUMBERS[::-1], mirrored)
    np.testing.assert_array_equal(read_atlas(path, GRID), NUMBERS)


def test_on_a_finer_grid_the_nearest_number_is_taken(tmp_path):
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = (-0.5, -0.5, -1)  # each voxel of the scan is around 2 × 2 × 3 of the atlas
    numbers = NUMBERS.repeat(2, 0).repeat(2, 1).repeat(3, 2)
    path = write(tmp_path / "atlas.nii", numbers, fine)
    np.testing.assert_array_equal(read_atlas(path, GRID), NUMBERS)


def test_a_transform_leads_to_the_space_of_the_scan(tmp_path):
    shifted = GRID.affine.copy()
    shifted[0, 3] = 100
    path = write(tmp_path / "atlas.nii", affine=shifted)
    assert not read_atlas(path, GRID).any()
    (tmp_path / "matrix.txt").write_text("1 0 0 -100\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    matrix = read_matrix(tmp_path / "matrix.txt")
    np.testing.assert_array_equal(read_atlas(path, GRID, matrix), NUMBERS)


def test_what_is_no_atlas_is_refused(tmp_path):
    scan = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(np.linspace(0, 1, 72).reshape(6, 4, 3), GRID.affine), scan)
    with pytest.raises(InputError, match="numbers that are not whole from 0 to 1, expected whole"):
        read_atlas(scan, GRID)
    with pytest.raises(InputError, match="whole numbers from -4000 to 0"):
        read_atlas(write(tmp_path / "below.nii", -NUMBERS), GRID)


@pytest.mark.parametrize(
    "text", ["1 0 0\n0 1 0\n0 0 1\n", "a b c d\n", "0 0 0 0\n" * 3 + "0 0 0 1"]
)
def test_what_is_no_transform_is_refused(tmp_path, text):
    (tmp_path / "matrix.txt").write_text(text)
    with pytest.raises(InputError, match="matrix"):
        read_matrix(tmp_path / "matrix.txt")


def test_a_transform_with_nan_is_refused(tmp_path):
    (tmp_path / "matrix.txt").write_text("nan 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(InputError, match="is not an affine transform"):
        read_matrix(tmp_path / "matrix.txt")


def test_names_from_a_table_and_from_a_list_of_freesurfer(tmp_path):
    (tmp_path / "names.tsv").write_text("index\tname\tcolor\n0\tnone\t\n7\tleft frontal\tred\n")
    assert read_region_names(tmp_path / "names.tsv") == {7: "left frontal"}
    (tmp_path / "lut.txt").write_text("# No. Label\n0 Unknown 0 0 0 0\n\n41 Right-WM 0 225 0 0\n")
    assert read_region_names(tmp_path / "lut.txt") == {41: "Right-WM"}
    (tmp_path / "snap.txt").write_text('1 255 0 0 1 1 1 "Left frontal"\n')
    with pytest.raises(InputError, match="expected a number, a name and four numbers"):
        read_region_names(tmp_path / "snap.txt")
    (tmp_path / "bad.tsv").write_text("index\tname\nx\ty\n")
    with pytest.raises(
        InputError, match=r"bad\.tsv: has the index 'x' of 'y', expected a whole number"
    ):
        read_region_names(tmp_path / "bad.tsv")
    (tmp_path / "twice.tsv").write_text("index\tname\n1\ta\n1\tb\n")
    with pytest.raises(InputError, match="has an index twice"):
        read_region_names(tmp_path / "twice.tsv")
    (tmp_path / "empty.tsv").write_text("number\tregion\n1\ta\n")
    with pytest.raises(
        InputError, match=r"has the columns \['number', 'region'\], expected 'index' and 'name'"
    ):
        read_region_names(tmp_path / "empty.tsv")


def test_names_of_aseg():
    assert (ASEG_NAMES[2], ASEG_NAMES[43]) == (
        "Left-Cerebral-White-Matter",
        "Right-Lateral-Ventricle",
    )
    assert len(ASEG_NAMES) == 2 * 16 + 13


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Label", {1: "Middle peduncle", 2: "Pons"}),
        ("Probabalistic", {1: "Unclassified", 2: "Middle peduncle", 3: "Pons"}),
    ],
)
def test_names_of_fsl_atlases(tmp_path, kind, expected):
    # FSL writes "Probabalistic". Its images of maximum probability have the index + 1.
    path = tmp_path / "JHU-labels.xml"
    path.write_text(
        f"<atlas><header><type>{kind}</type></header><data>"
        '<label index="0" x="1">Unclassified</label><label index="1"> Middle peduncle </label>'
        '<label index="2">Pons</label></data></atlas>'
    )
    assert read_region_names(path) == expected


@pytest.mark.parametrize("content", ["<atlas", "<atlas/>", '<a><label index="x">a</label></a>'])
def test_other_xml_is_refused(tmp_path, content):
    path = tmp_path / "names.xml"
    path.write_text(content)
    with pytest.raises(InputError):
        read_region_names(path)
