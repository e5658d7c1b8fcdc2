"""Which files of a folder are scans to segment, and which are passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from wmh_runtime.dataset.bids import (
    DERIVATIVES,
    is_mask,
    is_nifti,
    mentions_flair,
    mentions_other_contrast,
)
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import walk
from wmh_runtime.files.temporary import is_temporary

_DICOM_MARK_AT = 128  # DICOM PS3.10: a preamble of 128 bytes, then "DICM"
_FILES_TRIED_FOR_DICOM = 100


@dataclass(frozen=True)
class Discovery:
    """What a folder holds."""

    scans: tuple[Case, ...]  # in the order of their relative paths
    passed_over: dict[str, int]  # reason → how many NIfTI files
    unreadable: tuple[Case, ...] = ()  # folders, with whatever scans they hold


def discover(source: Path, out: Path) -> Discovery:
    """Find the scans of a folder and of the folders below it.

    Where some names, or folders, say FLAIR, only those are taken. Never taken are masks, names of
    another contrast, hidden files, folders named `derivatives`, and what lies in the output
    folder where that is below the source. A single file is taken as it is.

    Args:
        source: a folder, or one file.
        out: the output folder.

    Raises:
        InputError: the source does not exist, cannot be read, or holds no scan.
    """
    try:
        if source.is_file():
            return Discovery((Case(source, Path(source.name)),), {})
        if not source.is_dir():
            advice = "Give a folder of NIfTI scans or one file."
            raise InputError("does not exist", advice, about=source)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot be read ({reason})", "Check it.", about=source) from error
    passed_over: Counter[str] = Counter()
    candidates: list[Path] = []
    unreadable: list[Path] = []
    for path in _niftis_below(source, unreadable):
        against = _reason_against(path.relative_to(source), _lies_in(path, out, source))
        if against is None:
            candidates.append(path)
        else:
            passed_over[against] += 1
    flairs = [path for path in candidates if mentions_flair(path.relative_to(source))]
    if flairs and len(flairs) < len(candidates):
        passed_over["neither name nor folder says FLAIR"] = len(candidates) - len(flairs)
    scans = sorted(flairs or candidates)
    if not scans:
        problem = "holds no scan to segment, .nii or .nii.gz"
        advice = "Check the folder, or give the scan itself."
        if _holds_dicom(source):
            problem += ", but DICOM"
            advice = "Convert it to NIfTI first, for example by dcm2niix."
        problem += "".join(f" ({count} passed over: {why})" for why, count in passed_over.items())
        problem += f" ({unreadable[0]} cannot be read)" if unreadable else ""
        raise InputError(problem, advice, about=source)

    def found(paths: Iterable[Path]) -> tuple[Case, ...]:
        return tuple(Case(path, path.relative_to(source)) for path in paths)

    return Discovery(found(scans), dict(passed_over), found(sorted(unreadable)))


def _niftis_below(source: Path, unreadable: list[Path]) -> Iterator[Path]:
    """Find the NIfTI files of a folder and of those below it; note what cannot be read."""

    def note(error: OSError) -> None:
        unreadable.append(Path(error.filename))

    for path in _files_below(source, note):
        if is_nifti(path) and not is_temporary(path):
            yield path


def _files_below(source: Path, on_unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    for folder, _, names in walk(source, on_unreadable):
        yield from (folder / name for name in names)


def _holds_dicom(source: Path) -> bool:
    """Say whether one of the first files is DICOM, whose names seldom tell."""
    files = _files_below(source, lambda _: None)
    return any(_is_dicom(path) for path in islice(files, _FILES_TRIED_FOR_DICOM))


def _is_dicom(path: Path) -> bool:
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            return False
        with path.open("rb") as stream:
            return stream.read(_DICOM_MARK_AT + 4)[_DICOM_MARK_AT:] == b"DICM"
    except OSError:
        return False


def _lies_in(path: Path, out: Path, source: Path) -> bool:
    """Say whether a file lies in the output folder, where that is a part of the source."""
    real_out, real_source = out.resolve(), source.resolve()
    is_part = real_out != real_source and real_out.is_relative_to(real_source)
    return is_part and path.resolve().is_relative_to(real_out)


def _reason_against(relative: Path, in_output_folder: bool) -> str | None:
    if any(part.startswith(".") for part in relative.parts):
        return "hidden"
    if in_output_folder:
        return "in the output folder"
    if DERIVATIVES in relative.parts[:-1]:
        return "in a derivatives folder"
    if is_mask(relative):
        return "a mask or a probability map"
    if mentions_other_contrast(relative):
        return "its name says another contrast than FLAIR"
    return None
