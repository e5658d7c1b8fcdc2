"""A page that shows one scan, its mask and its probability in three dimensions, without a network.

The images are in the page itself: a browser refuses to read the files beside a page that was opened
as a file.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.errors import InputError
from wmh_runtime.figures.probability_color import SMALLEST_SHOWN
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.report.inline import asset, content_policy, page_environment
from wmh_runtime.report.links import as_utf8
from wmh_runtime.text import INTENDED_USE

_NIIVUE_VERSION = "0.69.0"


@dataclass(frozen=True)
class _Layer:
    """An image in the page."""

    id: str
    name: str  # with the ending of the file, which says its format
    base64: str

    @classmethod
    def of(cls, id_: str, file: Path) -> _Layer:
        ending = file.name.removeprefix(image_stem(file))
        return cls(id_, f"{id_}{ending}", base64.b64encode(_read(file)).decode("ascii"))


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


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({reason_of(error)})"
        raise InputError(problem, "Check path and permissions.", about=file) from error
