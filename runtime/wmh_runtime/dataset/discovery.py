"""Find the scans in a folder, and the reasons why other NIfTI files are skipped."""

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

_DICOM_MAGIC_OFFSET = 128  # DICOM PS3.10: a preamble of 128 bytes, then "DICM"
_MAX_FILES_CHECKED_FOR_DICOM = 100
_NO_FLAIR = "no FLAIR in the file or folder name"


@dataclass(frozen=True)
class Discovery:
    """The scans in a folder, and what was skipped."""

    scans: tuple[Case, ...]  # sorted by relative path
    skipped: dict[str, int]  # reason → number of NIfTI files
    unreadable: tuple[Case, ...] = ()  # folders that cannot be read, with all scans in them


def discover(source: Path, out: Path) -> Discovery:
    """Find the scans in a folder and its subfolders.

    If some file or folder names contain FLAIR, only these files are scans. Always skipped: masks,
    names with another contrast, hidden files, folders named `derivatives`, and the output folder
    if it is inside the source. A single file is always accepted.

    Args:
        source: a folder, or one file.
        out: the output folder.

    Raises:
        InputError: the source does not exist, cannot be read, or contains no scan.
    """
    try:
        if source.is_file():
            return Discovery((Case(source, Path(source.name)),), {})
        if not source.is_dir():
            advice = "Give a folder of NIfTI scans, or one file."
            raise InputError("does not exist", advice, about=source)
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "Check its permissions."
        raise InputError(f"cannot be read ({reason})", advice, about=source) from error
    skipped: Counter[str] = Counter()
    candidates: list[Path] = []
    unreadable: list[Path] = []
    for path in _find_niftis(source, unreadable):
        relative = path.relative_to(source)
        skip_reason = _reason_to_skip(relative, _is_in_output_folder(path, out, source))
        if skip_reason is None:
            candidates.append(path)
        else:
            skipped[skip_reason] += 1
    flairs = [path for path in candidates if mentions_flair(path.relative_to(source))]
    if flairs and len(flairs) < len(candidates):
        skipped[_NO_FLAIR] = len(candidates) - len(flairs)
    scans = sorted(flairs or candidates)
    if not scans:
        raise _no_scan_error(source, skipped, unreadable)

    def cases(paths: Iterable[Path]) -> tuple[Case, ...]:
        return tuple(Case(path, path.relative_to(source)) for path in paths)

    return Discovery(cases(scans), dict(skipped), cases(sorted(unreadable)))


def _no_scan_error(source: Path, skipped: Counter[str], unreadable: list[Path]) -> InputError:
    problem = "contains no .nii or .nii.gz scan"
    advice = "Check the folder, or give the scan file itself."
    if _contains_dicom(source):
        problem += ", but DICOM files"
        advice = "Convert them to NIfTI first, for example with dcm2niix."
    problem += "".join(f" (skipped {count}: {reason})" for reason, count in skipped.items())
    if unreadable:
        problem += f" ({unreadable[0]} cannot be read)"
    return InputError(problem, advice, about=source)


def _find_niftis(source: Path, unreadable: list[Path]) -> Iterator[Path]:
    """Yield the NIfTI files in a folder and its subfolders; add unreadable folders to a list."""

    def note(error: OSError) -> None:
        unreadable.append(Path(error.filename))

    for path in _find_files(source, note):
        if is_nifti(path) and not is_temporary(path):
            yield path


def _find_files(source: Path, on_unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    for folder, _, names in walk(source, on_unreadable):
        yield from (folder / name for name in names)


def _contains_dicom(source: Path) -> bool:
    """Return whether one of the first files is DICOM. Its content decides, not its name."""
    files = _find_files(source, lambda _: None)
    return any(_is_dicom(path) for path in islice(files, _MAX_FILES_CHECKED_FOR_DICOM))


def _is_dicom(path: Path) -> bool:
    try:
        if not path.is_file():  # to open a named pipe would block
            return False
        with path.open("rb") as stream:
            return stream.read(_DICOM_MAGIC_OFFSET + 4)[_DICOM_MAGIC_OFFSET:] == b"DICM"
    except OSError:
        return False


def _is_in_output_folder(path: Path, out: Path, source: Path) -> bool:
    """Return whether a file is in the output folder, if that is a subfolder of the source."""
    real_out, real_source = out.resolve(), source.resolve()
    is_subfolder = real_out != real_source and real_out.is_relative_to(real_source)
    return is_subfolder and path.resolve().is_relative_to(real_out)


def _reason_to_skip(relative: Path, in_output_folder: bool) -> str | None:
    if any(part.startswith(".") for part in relative.parts):
        return "hidden"
    if in_output_folder:
        return "in the output folder"
    if DERIVATIVES in relative.parts[:-1]:
        return "in a derivatives folder"
    if is_mask(relative):
        return "a mask or a probability map"
    if mentions_other_contrast(relative):
        return "another contrast in the file name"
    return None
