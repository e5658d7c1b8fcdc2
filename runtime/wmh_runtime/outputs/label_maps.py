"""Write an image of numbers with a table of them: lesions, or regions of the brain.

BIDS names both `_dseg`, and one JSON file describes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.files.atomic import remove, write_json_atomically
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.paths import LabelMapPaths
from wmh_runtime.outputs.tables.columns import Column, dictionary

REGION_COLUMNS = (
    Column("index", "Number of the region in the image", format="integer"),
    Column("name", "Name of the region"),
)


def write_label_map(
    scan: Scan,
    numbers: NDArray[np.unsignedinteger | np.float32],
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, object]],
    description: Mapping[str, Any],
    to: LabelMapPaths,
) -> None:
    """Write image, table and JSON file.

    Args:
        scan: that has the grid.
        numbers: (x, y, z), uint8, uint16 or, for more than 65,535, float32.
        columns: of the table; the first one is the number.
        rows: of the table, column → cell; may be empty.
        description: of the image, for the JSON file.
        to: where to write.

    Raises:
        InputError: a file cannot be written.
    """
    write_on_grid_of(scan, numbers, to.image)
    names = [column.name for column in columns]
    write_table_atomically(to.table, rows, delimiter="\t", columns=names)
    write_json_atomically(to.sidecar, {**description, **dictionary(columns)})


def remove_label_map(to: LabelMapPaths) -> None:
    """Remove image, table and JSON file, unless the image is of somebody else.

    Raises:
        InputError: a file cannot be removed.
    """
    if not to.hold_foreign_files:
        for file in to.files:
            remove(file)
