"""A page that shows one scan, its mask and its probability in three dimensions, without a network.

The images are in the page itself: a browser refuses to read the files beside a page that was opened
as a file.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nibabel as nib

from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.figures.probability_color import SMALLEST_SHOWN
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.reading import is_file
from wmh_runtime.imageio.image_files import image_files
from wmh_runtime.imageio.read_errors import read_errors
from wmh_runtime.outputs.paths import OutputPaths
from wmh_runtime.report.inline import asset, content_policy, page_environment
from wmh_runtime.text import INTENDED_USE, as_utf8

_NIIVUE_VERSION = "0.69.0"
_PACKED = {".nii": ".nii.gz", ".mgh": ".mgz"}  # endings of files that are not compressed yet


@dataclass(frozen=True)
class _Layer:
    """An image in the page."""

    id: str
    name: str  # with the ending of the file, which says its format
    base64: str

    @classmethod
    def of(cls, id_: str, file: Path) -> _Layer:
        content, ending = _read(file)
        return cls(id_, f"{id_}{ending}", base64.b64encode(content).decode("ascii"))


def write_viewers(case: Case, paths: Sequence[OutputPaths], *, is_new: bool) -> None:
    """Write a page for each output of a case.

    Args:
        case: that was segmented.
        paths: of its results.
        is_new: replace pages that are there.

    Raises:
        InputError: as of `write_viewer`.
    """
    for to in paths:
        if is_new or not is_file(to.viewer):
            probability = to.probability if is_file(to.probability) else None
            write_viewer(to.viewer, case.path, to.mask, probability)


def write_viewer(to: Path, scan: Path, mask: Path, probability: Path | None = None) -> Path:
    """Write a page with a scan, its mask and its probability map; replace an earlier one.

    The page contains the image of the patient, and says so.

    Args:
        to: the page.
        scan: NIfTI or MGH.
        mask: on the grid of the scan.
        probability: on the grid of the scan; None: there is none.

    Returns:
        The page.

    Raises:
        InputError: an image cannot be read, or the page cannot be written.
    """
    layers = [_Layer.of("scan", scan), _Layer.of("mask", mask)]
    if probability is not None:
        layers.append(_Layer.of("probability", probability))
    niivue, script, style = asset("niivue/niivue.umd.js"), asset("viewer.js"), asset("viewer.css")
    page = (
        page_environment()
        .get_template("viewer.html.j2")
        .render(
            name=as_utf8(image_stem(scan)),
            policy=content_policy([niivue, script], [style], "data: blob:"),
            style=style,
            niivue=niivue,
            script=script,
            license=asset("niivue/LICENSE.txt"),
            layers=layers,
            has_probability=probability is not None,
            page_data={
                "layers": [{"id": layer.id, "name": layer.name} for layer in layers],
                "smallestProbability": SMALLEST_SHOWN,
            },
            intended_use=INTENDED_USE,
            niivue_version=_NIIVUE_VERSION,
            version=version("wmh-lora"),
        )
    )
    write_text_atomically(to, page)
    return to


def _read(file: Path) -> tuple[bytes, str]:
    """Return the compressed content of an image file with the ending of its format."""
    with read_errors(file):
        if len(image_files(file)) == 1:
            ending = file.name.removeprefix(image_stem(file)).lower()
            content = file.read_bytes()
            if packed := _PACKED.get(ending):
                return gzip.compress(content, mtime=0), packed
            return content, ending
        image = nib.Nifti1Image.from_image(nib.load(file))
        return gzip.compress(image.to_bytes(), mtime=0), ".nii.gz"
