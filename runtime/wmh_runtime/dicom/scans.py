"""The scans in a folder of DICOM files: which series are segmented, and their conversion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.dataset.bids import scan_name
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.dataset.search import Skipped
from wmh_runtime.dicom.contrast import Contrast
from wmh_runtime.dicom.files import DicomFile, find_files
from wmh_runtime.dicom.names import ScanNames
from wmh_runtime.dicom.scan_files import SeriesVolume, convert, open_volume
from wmh_runtime.dicom.selection import Choice, Selection, select_series
from wmh_runtime.dicom.series import Series, Study, Survey, survey
from wmh_runtime.errors import InputError
from wmh_runtime.text import count_noun

SCANS_NAME = "scans"  # folder of the converted scans, in the folder of the results
_SERIES = "DICOM series"
_MAX_LISTED = 8  # series in an error
_CONTRASTS: tuple[Contrast, ...] = ("flair", "t1")


class NoScanError(InputError):
    """There are DICOM files, but no series to segment."""


@dataclass(frozen=True)
class ScanRules:
    """Which series are scans.

    Attributes:
        channels: of the model; the first one is that of `series`.
        interchangeable: one of the channels is enough.
        series: number or UID of a series, or a pattern for its description; empty: the parameters
            of the sequences decide.
    """

    channels: tuple[str, ...] = ("flair",)
    interchangeable: bool = False
    series: str = ""


@dataclass(frozen=True, eq=False)
class DicomScans:
    """The scans in a folder of DICOM files."""

    found: Discovery  # the images of its scans are where they will be converted to
    remarks: tuple[str, ...]  # about the folder
    names: ScanNames
    choices: Mapping[Path, Mapping[Contrast, Choice]]  # by channel
    others: Mapping[str, Series]  # that are not used, by name

    def keep_names(self) -> None:
        """Keep which name is of which series, if that is wanted; InputError: it cannot be."""
        self.names.keep(
            {
                **self.others,
                **{
                    image.name: choice.series
                    for case in self.found.scans
                    for channel, choice in self.choices[case.relative].items()
                    if (image := case.image_of(channel)) is not None
                },
            }
        )

    def convert(self, case: Case) -> Case:
        """Convert the series of a case, unless they are there already.

        Returns:
            The case with the warnings about its series.

        Raises:
            InputError: a series is no volume, or a file cannot be read or written.
        """
        warnings: list[str] = []
        for channel, choice in self.choices[case.relative].items():
            image = case.image_of(channel)
            if image is not None:
                warnings += convert(choice, image, self.names.digest)
        return replace(case, notes=tuple(warnings))

    def volume(self, case: Case) -> SeriesVolume:
        """Return the volume of the first image of a case; InputError: it cannot be read."""
        first = next(iter(self.choices[case.relative].values()))
        return open_volume(first.series, of_any_kind=first.of_any_kind)[0]


def find_dicom_scans(source: Path, out: Path, rules: ScanRules, names: ScanNames) -> DicomScans:
    """Find the series to segment in a folder, a zip archive or a file.

    Args:
        source: to search.
        out: folder of the results, which is not searched. They are converted to a subfolder.
        rules: which series are scans.
        names: names the scans.

    Raises:
        NoScanError: there is no scan.
        InputError: an archive cannot be read.
    """
    unreadable: list[Path] = []
    found, scans = survey(find_files(source, out, unreadable.append)), out / SCANS_NAME
    contrasts = [one for one in _CONTRASTS if one in rules.channels]
    contrasts.sort(key=rules.channels.index)
    cases: list[Case] = []
    choices: dict[Path, Mapping[Contrast, Choice]] = {}
    skipped: list[Skipped] = []
    selections = [select_series(study, contrasts, rules.series) for study in found.studies]
    others: dict[str, Series] = {}
    without_scan: list[Study] = []
    for study, selection in zip(found.studies, selections, strict=True):
        skipped += _skipped(selection, names)
        others |= {names.entities(series): series for series, _ in selection.others}
        if not _is_enough(selection, rules):
            without_scan.append(study)
            continue
        chosen = _with_doubts(selection.chosen, found)
        case = _case(chosen, scans, names)
        cases.append(case)
        choices[case.relative] = chosen
    if not cases:
        raise _no_scan(selections, rules, source)
    cases.sort(key=lambda case: case.relative.parts)
    remarks = [*_remarks(found, without_scan, unreadable)]
    remarks += [names.remark] if names.remark else []
    discovery = Discovery(tuple(cases), tuple(skipped), tuple(cases), root=scans)
    return DicomScans(discovery, tuple(remarks), names, choices, others)


def _is_enough(selection: Selection, rules: ScanRules) -> bool:
    if rules.interchangeable:
        return bool(selection.chosen)
    return len(selection.chosen) == len(rules.channels)


def _case(chosen: Mapping[Contrast, Choice], scans: Path, names: ScanNames) -> Case:
    (channel, first), *others = chosen.items()
    entities = names.entities(first.series)
    relative = Path(scan_name(entities, channel))
    return Case(
        scans / relative,
        relative,
        channel,
        {other: scans / scan_name(entities, other) for other, _ in others},
        notes=tuple(line for choice in chosen.values() for line in choice.warnings),
        origin=f"{_text(first.series)} in {first.series.files[0].folder}: {first.reason}",
    )


def _text(series: Series) -> str:
    return f"{series.name} ({series.description})" if series.description else series.name


def _with_doubts(chosen: Mapping[Contrast, Choice], found: Survey) -> dict[Contrast, Choice]:
    """Add a warning to a series if files beside it are damaged: they may be slices of it."""
    folders = [file.folder for file in found.damaged]
    return {
        contrast: replace(choice, warnings=(*choice.warnings, *_damaged(choice, folders)))
        for contrast, choice in chosen.items()
    }


def _damaged(choice: Choice, folders: Sequence[str]) -> Iterator[str]:
    own = {file.folder for file in choice.series.files}
    if count := sum(folder in own for folder in folders):
        files = count_noun(count, "DICOM file")
        yield f"{choice.series.name}: {files} beside it cannot be read: slices may be missing"


def _skipped(selection: Selection, names: ScanNames) -> Iterator[Skipped]:
    for series, reason in selection.others:
        yield Skipped(Path(names.entities(series)), _SERIES, f"{series.name}: {reason}")


def _remarks(
    found: Survey, without_scan: Sequence[Study], unreadable: Sequence[Path]
) -> Iterator[str]:
    if unreadable:
        yield f"{len(unreadable)} folders or archives cannot be read, such as {unreadable[0]}"
    if without_scan:
        folders = [study.series[0].files[0].folder for study in without_scan]
        more = len(folders) - _MAX_LISTED
        listed = ", ".join(folders[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
        count = f"{len(without_scan)} of {len(found.studies)} DICOM studies"
        yield f"{count} without a scan to segment: {listed}"
    if found.damaged:
        count = count_noun(len(found.damaged), "DICOM file")
        yield f"{count} cannot be read, such as {_path_text(found.damaged[0])}"


def _path_text(file: DicomFile) -> str:
    return f"{file.path} ({file.member})" if file.member else str(file.path)


def _no_scan(selections: Sequence[Selection], rules: ScanRules, source: Path) -> NoScanError:
    """Return the error that says what a folder without a scan holds."""
    if not selections:
        advice = "Give a folder of DICOM files, a zip archive or NIfTI scans."
        return NoScanError("holds no DICOM images that can be read", advice, about=source)
    channels = " and ".join(channel.upper() for channel in rules.channels)
    wanted = f"series that is {rules.series}" if rules.series else f"series of {channels}"
    all_series = [one for selection in selections for one in selection.others]
    listed = "; ".join(f"{_text(series)}: {reason}" for series, reason in all_series[:_MAX_LISTED])
    more = len(all_series) - _MAX_LISTED
    problem = f"holds no {wanted}. It has {listed}{f'; and {more} more' if more > 0 else ''}"
    return NoScanError(problem, "Choose one by the series option.", about=source)
