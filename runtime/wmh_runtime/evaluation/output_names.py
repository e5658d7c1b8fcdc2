"""Which outputs, such as `wmh`, have masks in the folders of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset import bids, challenge
from wmh_runtime.dataset.image_formats import image_stem, is_image
from wmh_runtime.files.folders import is_hidden, walk

WMH = "wmh"


@dataclass(frozen=True)
class OutputNames:
    """Names of outputs in lower case, sorted."""

    shared: tuple[str, ...]  # on both sides
    only_predicted: tuple[str, ...]
    only_in_references: tuple[str, ...]


def find_outputs(predictions: Path, references: Path) -> OutputNames:
    """Find the outputs that have masks in two folders; one may be inside the other."""
    predicted = _outputs_in(predictions, except_in=references)
    reference = _outputs_in(references, except_in=predictions)
    return OutputNames(
        shared=tuple(sorted(predicted & reference)),
        only_predicted=tuple(sorted(predicted - reference)),
        only_in_references=tuple(sorted(reference - predicted)),
    )


def output_of(name: str) -> str | None:
    """Return the output of a mask, from its file name; None if it is not such a name."""
    path = Path(name)
    if is_image(path) and image_stem(path) == challenge.REFERENCE_STEM:
        return WMH
    return bids.output_of_mask(path)


def _outputs_in(folder: Path, except_in: Path) -> set[str]:
    found: set[str | None] = set()
    for _, subfolders, names in walk(folder, except_for=except_in):
        subfolders[:] = (name for name in subfolders if not is_hidden(name))
        found |= {output_of(name) for name in names if not is_hidden(name)}
    return {output for output in found if output}
