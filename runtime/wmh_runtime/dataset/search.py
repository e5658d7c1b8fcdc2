"""Search a folder for images, whatever their names say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from wmh_runtime.dataset.bids import DERIVATIVES
from wmh_runtime.dataset.bids_dataset import BidsDataset
from wmh_runtime.dataset.image_formats import (
    DICOM_ADVICE,
    is_dicom,
    is_image,
    is_zip,
    may_be_dicom,
    names_of_other_half,
    why_not_read,
)
from wmh_runtime.files.folders import is_hidden, walk
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.temporary import is_temporary

_MAX_DICOM_CHECKS = 3  # files of a folder that are opened


@dataclass(frozen=True)
class Skipped:
    """A file that is not segmented, or a folder that holds no scan for this program."""

    path: Path  # relative to the input folder
    kind: str  # in the singular: mask, T1 image, hidden file, …
    reason: str


@dataclass
class FolderContent:
    """What is in a folder; all paths are relative to it."""

    images: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    def skip(self, path: Path, kind: str, reason: str) -> None:
        """Note that a file or a folder is skipped."""
        self.skipped.append(Skipped(path, kind, reason))


def search_folder(
    source: Path,
    out: Path | None,
    *,
    with_derivatives: bool,
    dataset: BidsDataset | None = None,
) -> FolderContent:
    """Find the images in a folder and its subfolders, whatever their names say.

    Args:
        source: the folder.
        out: a folder that is not searched if it is inside the source.
        with_derivatives: also search folders named `derivatives`.
        dataset: that the folder is; None: it is none.
    """
    content = FolderContent()

    def note(error: OSError) -> None:
        content.unreadable.append(Path(error.filename).relative_to(source))

    def skip_loop(folder: Path) -> None:
        reason = "a link to a folder that contains it"
        content.skip(folder.relative_to(source), "link", reason)

    for folder, subfolders, names in walk(source, note, except_for=out, on_loop=skip_loop):
        relative = folder.relative_to(source)
        for name in tuple(subfolders):
            if is_hidden(name):
                content.skip(relative / name, "hidden folder", "hidden")
            elif name == DERIVATIVES and not with_derivatives:
                reason = "results and references, not scans"
                content.skip(relative / name, "derivatives folder", reason)
            elif reason_not_to := _reason(dataset, relative / name, is_folder=True):
                content.skip(relative / name, "folder outside the data set", reason_not_to)
            else:
                continue
            subfolders.remove(name)
        siblings = frozenset(names)
        for path in (relative / name for name in names):
            _sort_file(path, siblings, content, _reason(dataset, path, is_folder=False))
        if _holds_dicom(folder, names):
            content.skip(relative, "DICOM folder", f"DICOM files; {DICOM_ADVICE}")
    return content


def holds_only_dicom(source: Path, out: Path | None = None) -> bool:
    """Return whether a source is DICOM: a DICOM file, a zip archive, or a folder of such files.

    A folder with a NIfTI or MGH image is none, whatever else is in it.

    Args:
        source: a file or a folder.
        out: a folder that is not searched.
    """
    if is_file(source):
        return is_zip(source) or (may_be_dicom(source) and is_dicom(source))
    found = False
    for folder, subfolders, names in walk(source, except_for=out):
        subfolders[:] = [
            name for name in subfolders if not (is_hidden(name) or name == DERIVATIVES)
        ]
        visible = [name for name in names if not is_hidden(name)]
        if any(is_image(Path(name)) for name in visible):
            return False
        found = (
            found or _holds_dicom(folder, visible) or any(is_zip(Path(name)) for name in visible)
        )
    return found


def _reason(dataset: BidsDataset | None, path: Path, *, is_folder: bool) -> str | None:
    return dataset.why_not_searched(path, is_folder=is_folder) if dataset else None


def _sort_file(
    path: Path, siblings: frozenset[str], content: FolderContent, why_not: str | None
) -> None:
    """Add a file to the images or to what is skipped, unless it is not an image at all."""
    problem = why_not_read(path) or _missing_half(path, siblings)
    if is_temporary(path) or not (is_image(path) or problem):
        return
    if is_hidden(path.name):
        content.skip(path, "hidden file", "hidden")
    elif why_not:
        content.skip(path, "file outside the data set", why_not)
    elif problem:
        content.skip(path, "other format", problem)
    else:
        content.images.append(path)


def _missing_half(path: Path, siblings: frozenset[str]) -> str | None:
    """Return which half of a pair of files is missing, None if both are there."""
    others = names_of_other_half(path.name)
    if not others or not siblings.isdisjoint(others):
        return None
    return f"its {Path(others[0]).suffix.lower()} file is missing"


def _holds_dicom(folder: Path, names: Iterable[str]) -> bool:
    """Return whether there are DICOM files in a folder."""
    files = (folder / name for name in names if may_be_dicom(Path(name)))
    return any(map(is_dicom, islice(files, _MAX_DICOM_CHECKS)))
