"""Read an atlas: an image of whole numbers, one for each region, and the names of the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.tables import TABLE_SUFFIXES, read_table
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.regrid import nearest_on_grid
from wmh_runtime.imageio.volume import Scan, reordered_to

_LARGEST_NUMBER = 20_000  # FreeSurfer's go to 14,175
_COLOR_COLUMNS = 4  # of FreeSurfer's lists: red, green, blue, transparency
_WHOLE = 1e-3  # a number may differ from a whole one by this

# Of aseg, as FreeSurfer, FastSurfer and SynthSeg number it (FreeSurferColorLUT.txt).
_ASEG_PAIRED = {
    "Cerebral-White-Matter": (2, 41),
    "Cerebral-Cortex": (3, 42),
    "Lateral-Ventricle": (4, 43),
    "Inf-Lat-Vent": (5, 44),
    "Cerebellum-White-Matter": (7, 46),
    "Cerebellum-Cortex": (8, 47),
    "Thalamus": (10, 49),
    "Caudate": (11, 50),
    "Putamen": (12, 51),
    "Pallidum": (13, 52),
    "Hippocampus": (17, 53),
    "Amygdala": (18, 54),
    "Accumbens-area": (26, 58),
    "VentralDC": (28, 60),
    "vessel": (30, 62),
    "choroid-plexus": (31, 63),
}
_ASEG_SINGLE = {
    14: "3rd-Ventricle",
    15: "4th-Ventricle",
    16: "Brain-Stem",
    24: "CSF",
    72: "5th-Ventricle",
    77: "WM-hypointensities",
    80: "non-WM-hypointensities",
    85: "Optic-Chiasm",
    251: "CC_Posterior",
    252: "CC_Mid_Posterior",
    253: "CC_Central",
    254: "CC_Mid_Anterior",
    255: "CC_Anterior",
}
ASEG_NAMES: Mapping[int, str] = dict(
    sorted(
        [
            *_ASEG_SINGLE.items(),
            *((left, f"Left-{name}") for name, (left, _) in _ASEG_PAIRED.items()),
            *((right, f"Right-{name}") for name, (_, right) in _ASEG_PAIRED.items()),
        ]
    )
)


def read_atlas(path: Path, grid: Scan, to_scan: Affine | None = None) -> NDArray[np.uint16]:
    """Read the number of the region of each voxel of a scan; 0 where the atlas has none.

    On another grid, each voxel of the scan gets the number of the nearest voxel of the atlas.

    Args:
        path: of the atlas.
        grid: the scan.
        to_scan: (4, 4), RAS+ mm of the atlas → RAS+ mm of the scan; None: they are the same.

    Raises:
        InputError: the file cannot be read, or is no image of whole numbers.
    """
    atlas = read_scan(path, allow_constant=True)
    numbers = np.rint(atlas.voxels)
    difference = atlas.voxels - numbers
    is_whole = max(difference.max(), -difference.min()) <= _WHOLE
    if not is_whole or numbers.min() < 0 or numbers.max() > _LARGEST_NUMBER:
        lowest, highest = float(atlas.voxels.min()), float(atlas.voxels.max())
        kind = "whole numbers" if is_whole else "numbers that are not whole"
        problem = (
            f"has {kind} from {lowest:g} to {highest:g}, expected whole ones from 0 to"
            f" {_LARGEST_NUMBER}"
        )
        raise InputError(problem, "Give an image of region numbers.", about=path)
    if to_scan is None and (reordered := reordered_to(atlas, grid)) is not None:
        return np.rint(reordered.voxels).astype(np.uint16)
    affine = atlas.affine if to_scan is None else to_scan @ atlas.affine
    return nearest_on_grid(numbers.astype(np.uint16), affine, grid)


def read_region_names(path: Path) -> dict[int, str]:
    """Read the names of numbers.

    Args:
        path: a table with the columns `index` and `name`, a list of FreeSurfer, or the .xml file
            of an atlas of FSL.

    Raises:
        InputError: the file is none of them, or an index is no whole number.
    """
    if path.suffix.lower() in TABLE_SUFFIXES:
        rows = _rows_of_table(path)
    elif path.suffix.lower() == ".xml":
        rows = _rows_of_xml(path)
    else:
        rows = _rows_of_list(path)
    for index, name in rows:
        if not index.isdecimal():
            problem = f"has the index {index!r} of {name!r}, expected a whole number"
            raise InputError(problem, "Correct the row.", about=path)
    names = {int(index): name for index, name in rows if int(index)}
    if len(names) < sum(int(index) > 0 for index, _ in rows):
        raise InputError("has an index twice", "Give each region one row.", about=path)
    if not names or not all(names.values()):
        problem = "has no names of regions"
        advice = (
            "Give a table with the columns index and name, a list as FreeSurferColorLUT.txt, or the"
            " .xml file of an atlas of FSL."
        )
        raise InputError(problem, advice, about=path)
    return names


def read_matrix(path: Path) -> Affine:
    """Read an affine transform: four rows of four numbers, the last one 0 0 0 1.

    Raises:
        InputError: it is not one, or cannot be inverted.
    """
    try:
        matrix = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        problem = f"cannot be read as a matrix ({reason_of(error)})"
        raise InputError(problem, "Give four rows of four numbers.", about=path) from error
    is_affine = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all())
    if (
        not is_affine
        or not np.allclose(matrix[3], [0, 0, 0, 1])
        or abs(np.linalg.det(matrix[:3, :3])) < 1e-6
    ):
        problem = "is not an affine transform that can be inverted"
        advice = "Give four rows of four numbers, in RAS+ mm; the last row is 0 0 0 1."
        raise InputError(problem, advice, about=path)
    return matrix


def _rows_of_table(path: Path) -> list[tuple[str, str]]:
    """Return the cells of the columns `index` and `name`."""
    table = read_table(path)
    columns = list(table[0]) if table else []
    if not {"index", "name"} <= {*columns}:
        problem = f"has the columns {columns}, expected 'index' and 'name'"
        advice = "Rename the columns, and put tabs between them in a .tsv, commas in a .csv."
        raise InputError(problem, advice, about=path)
    return [(row["index"], row["name"]) for row in table]


def _rows_of_xml(path: Path) -> list[tuple[str, str]]:
    """Return number and name of each label of an atlas of FSL, such as `JHU-labels.xml`.

    The number is the index of the label. In the images of maximum probability it is one more,
    because 0 is the background.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"cannot be read as XML ({reason_of(error)})", about=path) from error
    is_probabilistic = (root.findtext("header/type") or "").lower().startswith("prob")
    offset = 1 if is_probabilistic else 0
    try:
        return [
            (str(int(label.attrib["index"]) + offset), (label.text or "").strip())
            for label in root.iter("label")
        ]
    except (KeyError, ValueError) as error:
        raise InputError(f"has a label without a number ({error})", about=path) from error


def _rows_of_list(path: Path) -> list[tuple[str, str]]:
    """Return number and name of each line; lines that begin with # are comments."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"cannot be read ({reason_of(error)})", about=path) from error
    cells = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for row in cells:
        if len(row) != 2 + _COLOR_COLUMNS or not all(cell.isdigit() for cell in row[2:]):
            problem = f"has the line {' '.join(row)!r}, expected a number, a name and four numbers"
            advice = "Give a table with the columns index and name instead."
            raise InputError(problem, advice, about=path)
    return [(row[0], row[1]) for row in cells]
