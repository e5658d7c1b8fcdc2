"""Find the scans in a folder, and the reasons why other files are skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from wmh_runtime.dataset.bids import DERIVATIVES
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.contrast import IN_DOUBT, contrast_from_names
from wmh_runtime.dataset.image_formats import (
    DICOM_ADVICE,
    is_dicom,
    is_image,
    may_be_dicom,
    names_of_other_half,
    why_not_read,
)
from wmh_runtime.dataset.versions import find_processed_versions
from wmh_runtime.dataset.vocabulary import FLAIR, MASK
from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import is_hidden, walk
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.temporary import is_temporary
from wmh_runtime.text import count_noun

_MAX_DICOM_CHECKS = 3  # files of a folder that are opened


@dataclass(frozen=True)
class Skipped:
    """A file that is not segmented, or a folder that holds no scan for this program."""

    path: Path  # relative to the input folder
    kind: str  # in the singular: mask, T1 image, hidden file, …
    reason: str


@dataclass(frozen=True)
class Discovery:
    """The scans in a folder, and what was skipped."""

    scans: tuple[Case, ...]  # sorted by relative path
    skipped: tuple[Skipped, ...]  # sorted by relative path
    images: tuple[Case, ...] = ()  # all images, whatever their names say; sorted
    unreadable: tuple[Case, ...] = ()  # folders that cannot be read, with all scans in them


@dataclass
class _Content:
    """What is in a folder; all paths are relative to it."""

    images: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)

    def skip(self, path: Path, kind: str, reason: str) -> None:
        """Note that a file or a folder is skipped."""
        self.skipped.append(Skipped(path, kind, reason))


def discover(source: Path, out: Path | None = None, pattern: str | None = None) -> Discovery:
    """Find the scans in a folder and its subfolders.

    The names decide. If some files are FLAIR by their name or the names of their folders, these
    are the scans; otherwise all images whose names say no contrast. Processed versions of a scan
    are skipped, and so are masks, other contrasts, hidden files and folders named `derivatives`.
    A single file is always accepted.

    Args:
        source: a folder, or one file.
        out: output folder, which is not searched if it is inside the source.
        pattern: if given, it alone decides: exactly the images whose relative path matches are
            scans. A glob, compared from the end of the path: `*_T2.nii.gz`, `orig/FLAIR*`.

    Raises:
        InputError: the source does not exist, cannot be read, or contains no scan; or the pattern
            is empty.
    """
    if _is_file(source):
        scan = Case(source, Path(source.name))
        return Discovery((scan,), (), (scan,))
    if pattern is not None and not Path(pattern).parts:
        raise InputError("is empty", "Give a glob, such as '*_FLAIR.nii.gz'.", about="pattern")
    content = _search(source, out, with_derivatives=pattern is not None)
    scans = _scans_by_name(content) if pattern is None else _scans_by_pattern(content, pattern)
    if not scans:
        raise _no_scan_error(source, content, pattern)

    def cases(paths: Iterable[Path]) -> tuple[Case, ...]:
        return tuple(Case(source / path, path) for path in sorted(paths))

    skipped = sorted(content.skipped, key=lambda one: one.path)
    return Discovery(cases(scans), tuple(skipped), cases(content.images), cases(content.unreadable))


def summarize_skipped(skipped: Sequence[Skipped]) -> str:
    """Write how much was skipped: `3 files (2 masks, 1 T1 image)`."""
    counts = Counter(one.kind for one in skipped)
    kinds = sorted(counts, key=lambda kind: (-counts[kind], kind))
    parts = ", ".join(count_noun(counts[kind], kind) for kind in kinds)
    return f"{count_noun(len(skipped), 'file')} ({parts})"


def _is_file(source: Path) -> bool:
    """Return whether the source is a file; raise InputError if it is neither file nor folder."""
    try:
        if source.is_file() or source.is_dir():
            return source.is_file()
    except OSError as error:
        reason = reason_of(error)
        advice = "Check its permissions."
        raise InputError(f"cannot be read ({reason})", advice, about=source) from error
    raise InputError("does not exist", "Give a folder of NIfTI scans, or one file.", about=source)


def _search(source: Path, out: Path | None, *, with_derivatives: bool) -> _Content:
    """Find the images in a folder, whatever their names say."""
    content = _Content()

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
            else:
                continue
            subfolders.remove(name)
        siblings = frozenset(names)
        for path in (relative / name for name in names):
            _sort_file(path, siblings, content)
        if _holds_dicom(folder, names):
            content.skip(relative, "DICOM folder", f"DICOM files; {DICOM_ADVICE}")
    return content


def _sort_file(path: Path, siblings: frozenset[str], content: _Content) -> None:
    """Add a file to the images or to what is skipped, unless it is not an image at all."""
    problem = why_not_read(path) or _missing_half(path, siblings)
    if is_temporary(path) or not (is_image(path) or problem):
        return
    if is_hidden(path.name):
        content.skip(path, "hidden file", "hidden")
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


def _scans_by_name(content: _Content) -> list[Path]:
    """Return the images that are scans by their names; note why the others are skipped."""
    flairs: list[Path] = []
    in_doubt: list[Path] = []  # FLAIR or not: segmented with a warning
    unnamed: list[Path] = []  # the names say no contrast
    for path in content.images:
        contrast = contrast_from_names(path)
        if contrast is None or contrast == FLAIR:
            (flairs if contrast else unnamed).append(path)
        elif contrast in IN_DOUBT:
            in_doubt.append(path)
        elif contrast == MASK:
            content.skip(path, "mask", "a mask or a probability map, by its name or folder")
        else:
            content.skip(path, f"{contrast} image", f"{contrast}, by its name or folder")
    if flairs:
        for path in unnamed:
            reason = "its name says no contrast, and other files are FLAIR by their names"
            content.skip(path, "unknown image", reason)
    scans = (flairs or unnamed) + in_doubt
    versions = find_processed_versions(scans)
    for path, scan in versions.items():
        content.skip(path, "processed version", f"another version of {scan.as_posix()}")
    return [path for path in scans if path not in versions]


def _scans_by_pattern(content: _Content, pattern: str) -> list[Path]:
    for path in content.images:
        if not path.match(pattern):
            content.skip(path, "other image", "does not match the pattern")
    return [path for path in content.images if path.match(pattern)]


def _no_scan_error(source: Path, content: _Content, pattern: str | None) -> InputError:
    problem = "contains no NIfTI scan"
    advice = "Check the folder, or give the scan file itself."
    if pattern is not None and content.images:
        problem = f"contains no image that matches {pattern}"
        advice = "Change the pattern."
    elif any(DICOM_ADVICE in one.reason for one in content.skipped):
        problem += ", but DICOM files"
        advice = "Convert them to NIfTI first, for example with dcm2niix."
    elif content.images:
        advice = "Give a pattern that matches the scans, or the scan file itself."
    if content.skipped:
        first = content.skipped[0]
        problem += f" (skipped {summarize_skipped(content.skipped)},"
        problem += f" the first is {first.path.as_posix()}: {first.reason})"
    if content.unreadable:
        problem += f" ({content.unreadable[0]} cannot be read)"
    return InputError(problem, advice, about=source)
