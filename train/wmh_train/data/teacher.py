"""Scans without masks, and what a teacher, another network, found in them: its probabilities.

The maps of the teacher are results of `wmh-infer` with its option for probabilities.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.bundle.training_record import Teacher
from wmh_runtime.errors import InputError, RecipeError
from wmh_runtime.files.reading import is_file
from wmh_runtime.imageio.image_files import sha256_of_image
from wmh_runtime.outputs.paths import output_paths
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.outputs.sidecar import read_sidecar
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan, Dataset
from wmh_train.data.file_hashes import file_hashes
from wmh_train.data.layouts import find_scans, require_images

_NAMED = 3  # scans, in a note


@dataclass(frozen=True)
class TaughtScans:
    """Scans to learn from with the probabilities of a teacher."""

    teacher: Teacher
    scans: tuple[AnnotatedScan, ...]  # sorted by name
    notes: tuple[str, ...]  # warnings for the user: which scans are left out


def find_unlabelled(folder: Path, channels: Sequence[str]) -> Dataset:
    """Find the scans of a folder that a teacher is to segment.

    Args:
        folder: in the layouts of `find_dataset`, but no table: results are found by folders.
        channels: of the recipe.

    Raises:
        InputError: `folder` is no folder.
        RecipeError: there is no scan, an image is missing, or files are ambiguous.
    """
    if not folder.is_dir():
        advice = "Give a folder of scans: BIDS, flat, or as in the WMH challenge."
        raise InputError("is not a folder", advice, about=folder)
    found = find_scans([folder], channels)
    require_images(found.scans)
    return found


def with_maps(unlabelled: Dataset, folder: Path, maps: Path, outputs: Sequence[str]) -> TaughtScans:
    """Return the scans that a teacher has segmented, with its probabilities.

    Args:
        unlabelled: from `find_unlabelled`.
        folder: of the scans.
        maps: results of `wmh-infer` for this folder.
        outputs: of the recipe.

    Raises:
        InputError: no scan has a map, or the maps are of several models or settings.
    """
    scans: list[AnnotatedScan] = []
    left_out = defaultdict[str, list[str]](list)
    made_by: dict[str, Settings] = {}
    for scan in unlabelled.scans:
        relative = scan.channels[0].relative_to(folder)
        paths = [output_paths(maps, relative, output) for output in outputs]
        sidecars = [sidecar for one in paths if (sidecar := read_sidecar(one.sidecar))]
        if len(sidecars) < len(paths) or not all(is_file(one.probability) for one in paths):
            left_out["without probabilities of the teacher"].append(scan.name)
        elif any(one.input_sha256 != sha256_of_image(scan.channels[0]) for one in sidecars):
            why = "with another image than the one that was segmented"
            left_out[why].append(scan.name)
        else:
            made_by |= {_describe(one.settings): one.settings for one in sidecars}
            probabilities = tuple(one.probability for one in paths)
            scans.append(replace(scan, references=probabilities, is_taught=True))
    notes = _left_out_notes(left_out)
    if not scans:
        raise InputError(
            f"has no probabilities of {', '.join(outputs)} for the scans in {folder}:"
            f" {'; '.join(notes)}",
            "Segment that folder with wmh-infer and --probability, and give its results.",
            about=maps,
        )
    if len(made_by) > 1:
        problem = f"has results of several models or settings: {' and '.join(sorted(made_by))}"
        raise InputError(problem, "Use the same for all scans.", about=maps)
    (settings,) = made_by.values()
    teacher = Teacher(
        name=settings.bundle,
        model_id=settings.model_id,
        tta=settings.tta,
        precision=settings.precision,
        scans=len(scans),
    )
    return TaughtScans(teacher, tuple(scans), (*unlabelled.notes, *notes))


def _describe(settings: Settings) -> str:
    made_by = f"{settings.bundle} ({settings.model_id})"
    return f"{made_by} in {settings.precision}, views {settings.tta}"


def without_known(unlabelled: Dataset, annotated: Dataset, held_out: Iterable[str]) -> Dataset:
    """Leave out scans that are in the annotated data, or of a person of the validation or test.

    The same image is the same file, under any name. The same person has the same subject.

    Args:
        unlabelled: scans to learn from.
        annotated: scans with masks.
        held_out: names of those for validation and test.

    Raises:
        InputError: an image cannot be read.
        RecipeError: another image has the same name as an annotated scan, or no scan is left.
    """
    images = {one for scan in annotated.scans for one in file_hashes(scan.channels)}
    names = set(held_out)
    persons = {scan.subject for scan in annotated.scans if scan.name in names}
    known = {scan.name: scan for scan in annotated.scans}
    kept: list[AnnotatedScan] = []
    left_out = defaultdict[str, list[str]](list)
    for scan in unlabelled.scans:
        if images.intersection(file_hashes(scan.channels)):
            left_out["also among the annotated ones"].append(scan.name)
        elif scan.subject in persons:
            left_out["of persons of the validation or test"].append(scan.name)
        elif scan.name in known:
            files = f"{known[scan.name].channels[0]} and {scan.channels[0]}"
            problem = f"are both named {scan.name}: {files}"
            raise RecipeError(problem, "Rename one.", about="two scans")
        else:
            kept.append(scan)
    notes = _left_out_notes(left_out)
    if not kept:
        raise RecipeError(
            f"no unlabelled scan is left of {len(unlabelled.scans)}: {'; '.join(notes)}",
            "Give scans of other persons.",
        )
    return replace(unlabelled, scans=tuple(kept), notes=(*unlabelled.notes, *notes))


def _left_out_notes(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """Say how many scans are not learned, why, and the first names."""
    return [
        f"not learned: {count_noun(len(names), 'unlabelled scan')} {why}:"
        f" {', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"
        for why, names in left_out.items()
    ]
