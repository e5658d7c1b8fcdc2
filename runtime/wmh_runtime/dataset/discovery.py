"""Find the scans in a folder, with the further images of each, and why other files are skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.dataset.bids_dataset import BidsDataset, read_bids_dataset
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.channels import ChannelImages, ChannelRules, is_of_channel, select_images
from wmh_runtime.dataset.image_formats import DICOM_ADVICE, is_image
from wmh_runtime.dataset.names.contrast import contrast_from_names
from wmh_runtime.dataset.names.pairs import find_pairs, without_scan
from wmh_runtime.dataset.search import FolderContent, Skipped, search_folder
from wmh_runtime.dataset.table import LIST_SUFFIX, cases_of_table
from wmh_runtime.dataset.visit_filter import ALL_VISITS, VisitFilter
from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.tables import TABLE_SUFFIXES
from wmh_runtime.text import count_noun


@dataclass(frozen=True)
class Discovery:
    """The scans in a folder, and what was skipped."""

    scans: tuple[Case, ...]  # sorted by relative path
    skipped: tuple[Skipped, ...] = ()  # sorted by relative path
    images: tuple[Case, ...] = ()  # all images, whatever their names say; sorted
    unreadable: tuple[Case, ...] = ()  # folders that cannot be read, with all scans in them
    dataset: BidsDataset | None = None  # that the folder is; None: it is none
    root: Path = Path()  # that the relative paths begin at


def discover(source: Path, out: Path | None = None, pattern: str | None = None) -> Discovery:
    """Find the FLAIR scans in a folder and its subfolders, see `find_cases`.

    Args:
        source: a folder, or one file.
        out: output folder, which is not searched if it is inside the source.
        pattern: if given, it alone decides: exactly the images whose relative path matches are
            scans. A glob, compared from the end of the path: `*_T2.nii.gz`, `orig/FLAIR*`.
    """
    patterns = {} if pattern is None else {"flair": pattern}
    return find_cases(source, out, ChannelRules(patterns=patterns))


def find_cases(
    source: Path, out: Path | None, rules: ChannelRules, visits: VisitFilter = ALL_VISITS
) -> Discovery:
    """Find the scans in a folder and its subfolders, each with the images of its other channels.

    The names decide. If some files are FLAIR by their name or the names of their folders, these
    are the scans; otherwise all images whose names say no contrast. Processed versions of a scan
    are skipped, and so are masks, other contrasts, hidden files and folders named `derivatives`.
    Images of further channels are found by their names too, see `names/pairs.py`.

    Args:
        source: a folder; one file, which is always accepted; a table with a column for each
            channel; or a list of paths. In a BIDS data set, `.bidsignore` is obeyed.
        out: output folder, which is not searched if it is inside the source.
        rules: channels of the model, and patterns for the images of some of them.
        visits: participants and sessions to take.

    Raises:
        InputError: the source does not exist, cannot be read, or contains no scan; a pattern is
            empty; a participant has no scan; a scan lacks an image that the model needs; or images
            are ambiguous.
    """
    for channel, pattern in rules.patterns.items():
        if not Path(pattern).parts:
            field = "pattern" if channel == rules.channels[0] else f"{channel}_pattern"
            raise InputError("is empty", "Give a glob, such as '*_FLAIR.nii.gz'.", about=field)
    if not _is_file(source):
        found = _find_in_folder(source, out, rules)
    elif source.suffix.lower() in (*TABLE_SUFFIXES, LIST_SUFFIX):
        found = Discovery(cases_of_table(source, rules.channels), ())
    else:
        found = _find_beside(source, rules)
    root = source.parent if source.is_file() else source
    found = replace(found, scans=visits.apply(found.scans, source), root=root)
    _require_channels(found.scans, rules, source)
    return found


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


def _find_in_folder(source: Path, out: Path | None, rules: ChannelRules) -> Discovery:
    dataset = read_bids_dataset(source)
    content = search_folder(
        source,
        out,
        with_derivatives=bool(rules.patterns),
        dataset=dataset,
    )
    selections = {
        channel: select_images(content.images, channel, rules) for channel in rules.channels
    }
    cases = _combine(source, selections, rules)
    if dataset is not None:
        cases = [replace(case, dataset=source) for case in cases]
    used = {case.relative for case in cases}
    used |= {path.relative_to(source) for case in cases for path in case.others.values()}
    skipped = [*content.skipped]
    for path, (kind, reason) in selections[rules.channels[0]].others.items():
        if path not in used:
            skipped.append(Skipped(path, kind, reason))
    skipped.sort(key=lambda one: one.path)
    if not cases:
        raise _no_scan_error(source, content, skipped, rules.patterns.get(rules.channels[0]))

    def as_cases(paths: Iterable[Path]) -> tuple[Case, ...]:
        return tuple(Case(source / path, path) for path in sorted(paths))

    return Discovery(
        tuple(sorted(cases, key=lambda case: case.relative)),
        tuple(skipped),
        as_cases(content.images),
        as_cases(content.unreadable),
        dataset,
    )


def _find_beside(source: Path, rules: ChannelRules) -> Discovery:
    """Take one file as the scan, and find its further images in its folder."""
    first, *others = rules.channels
    contrast = contrast_from_names(Path(source.name))
    channel = next((one for one in others if is_of_channel(contrast, one)), first)
    if not rules.interchangeable:
        channel = first
    scan = Case(source, Path(source.name), channel)
    if others and channel == first:
        images = [Path(path.name) for path in source.parent.iterdir() if is_image(path)]
        selections = {one: select_images(sorted(images), one, rules) for one in others}
        selections[first] = select_images(sorted(images), first, rules)  # so that none gets its T1
        if scan.relative not in selections[first].scans:
            selections[first].scans.append(scan.relative)
        cases = _combine(source.parent, selections, replace(rules, interchangeable=False))
        scan = next(case for case in cases if case.relative == scan.relative)
    return Discovery((scan,), (), (scan,))


def _combine(
    source: Path, selections: Mapping[str, ChannelImages], rules: ChannelRules
) -> list[Case]:
    """Make a case of each scan of the first channel, with the images of the others.

    If channels are interchangeable, an image of another channel that belongs to no scan is a case
    of its own.
    """
    first, *others = rules.channels
    cases = [Case(source / path, path, first) for path in selections[first].scans]
    for channel in others:
        scans = [case.relative for case in cases]
        images = [path for path in selections[channel].scans if path not in scans]
        pairs = find_pairs(scans, images, is_explicit=channel in rules.patterns)
        cases = [
            replace(case, others={**case.others, channel: source / pairs[case.relative]})
            if case.relative in pairs
            else case
            for case in cases
        ]
        if rules.interchangeable:
            alone = without_scan(sorted(set(images) - set(pairs.values())), scans)
            cases += [Case(source / path, path, channel) for path in alone]
    return cases


def _require_channels(cases: Sequence[Case], rules: ChannelRules, source: Path) -> None:
    """Refuse scans that lack an image that the model needs, all at once; InputError."""
    if rules.interchangeable:
        return
    for channel in rules.channels:
        lacking = [case for case in cases if case.image_of(channel) is None]
        if lacking:
            name = channel.upper()
            count = count_noun(len(cases), "scan")
            problem = (
                f"has no {name} image for {len(lacking)} of {count}, such as"
                f" {lacking[0].relative.as_posix()}"
            )
            advice = (
                f"Give a pattern for the {name} images, list the images in a table, or use a bundle"
                " that does not need them."
            )
            raise InputError(problem, advice, about=source)


def _no_scan_error(
    source: Path, content: FolderContent, skipped: Sequence[Skipped], pattern: str | None
) -> InputError:
    problem = "contains no NIfTI scan"
    advice = "Check the folder, or give the scan file itself."
    if pattern is not None and content.images:
        problem = f"contains no image that matches {pattern}"
        advice = "Change the pattern."
    elif any(DICOM_ADVICE in one.reason for one in skipped):
        problem += ", but DICOM files"
        advice = "Give their folder alone."
    elif content.images:
        advice = "Give a pattern that matches the scans, or the scan file itself."
    if skipped:
        first = skipped[0]
        problem += f" (skipped {summarize_skipped(skipped)},"
        problem += f" the first is {first.path.as_posix()}: {first.reason})"
    if content.unreadable:
        problem += f" ({content.unreadable[0]} cannot be read)"
    return InputError(problem, advice, about=source)
