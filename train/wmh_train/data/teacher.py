"""Scans without masks, and what a teacher, another network, found in them: its probabilities.

The maps of the teacher are results of `wmh-infer` with its option for probabilities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.bundle.manifest import Teacher
from wmh_runtime.errors import InputError, RecipeError
from wmh_runtime.files.reading import is_file
from wmh_runtime.outputs.paths import output_paths
from wmh_runtime.outputs.sidecar import read_sidecar
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan, Dataset
from wmh_train.data.file_hashes import image_hash
from wmh_train.data.layouts import find_scans, require_images


@dataclass(frozen=True)
class TaughtScans:
    """Scans to learn from with the probabilities of a teacher."""

    teacher: Teacher
    scans: tuple[AnnotatedScan, ...]  # sorted by name
    notes: tuple[str, ...]  # warnings for the user: which scans are left out


def find_taught_scans(
    folder: Path, maps: Path, channels: Sequence[str], outputs: Sequence[str]
) -> TaughtScans:
    """Find the scans of a folder, and the probabilities of a teacher for each.

    Args:
        folder: scans, in the layouts of `find_dataset`, but no table.
        maps: results of `wmh-infer` for this folder.
        channels: of the recipe.
        outputs: of the recipe.

    Raises:
        InputError: `folder` is a table, no scan has a map, or the maps are of several models.
        RecipeError: there is no scan, or an image is missing.
    """
    if not folder.is_dir():
        problem = "is not a folder, and results are found by the folders of their scans"
        raise InputError(problem, "Give a folder of scans.", about=folder)
    scans, without_map = [], []
    models: Counter[tuple[str, str]] = Counter()
    found = find_scans([folder], channels)
    for scan in found.scans:
        relative = scan.channels[0].relative_to(folder)
        paths = [output_paths(maps, relative, output) for output in outputs]
        sidecars = [read_sidecar(one.sidecar) for one in paths]
        if None in sidecars or not all(is_file(one.probability) for one in paths):
            without_map.append(scan.name)
            continue
        models.update((one.settings.bundle, one.settings.model_id) for one in sidecars if one)
        probabilities = tuple(one.probability for one in paths)
        scans.append(replace(scan, references=probabilities, is_taught=True))
    if not scans:
        raise InputError(
            f"has no probabilities of {', '.join(outputs)} for the scans in {folder}, such as"
            f" {output_paths(maps, relative, outputs[0]).probability.relative_to(maps)}",
            "Segment that folder with the option for probabilities, or give the bundle.",
            about=maps,
        )
    if len(models) > 1:
        names = " and ".join(f"{name} ({model_id})" for name, model_id in sorted(models))
        raise InputError(f"has results of {names}", "Use one model for all scans.", about=maps)
    require_images(scans)
    ((name, model_id),) = models
    notes = list(found.notes)
    if without_map:
        count = count_noun(len(without_map), "scan")
        notes.append(f"{count} without probabilities of the teacher, such as {without_map[0]}")
    return TaughtScans(Teacher(name=name, model_id=model_id), tuple(scans), tuple(notes))


def without_known(taught: TaughtScans, annotated: Dataset, judged: Iterable[str]) -> TaughtScans:
    """Leave out scans that are in the annotated data, or of a person who judges the training.

    Args:
        taught: with scans of any names.
        annotated: scans with masks.
        judged: names of those for validation and test.

    Raises:
        RecipeError: another image has the same name as an annotated scan, or no scan is left.
    """
    images = {image_hash(scan) for scan in annotated.scans}
    judges = set(judged)
    persons = {scan.subject for scan in annotated.scans if scan.name in judges}
    kept, same_image, same_person = [], [], []
    for scan in taught.scans:
        if image_hash(scan) in images:
            same_image.append(scan.name)
        elif scan.subject in persons:
            same_person.append(scan.name)
        else:
            kept.append(scan)
    notes = list(taught.notes)
    for names, why in (
        (same_image, "also among the annotated scans"),
        (same_person, "of persons of the validation or test"),
    ):
        if names:
            count = count_noun(len(names), "unlabelled scan")
            notes.append(f"{count} left out, {why}: {', '.join(names[:3])}")
    clashes = {scan.name for scan in kept} & {scan.name for scan in annotated.scans}
    if clashes:
        raise RecipeError(
            f"are both named {min(clashes)}: an annotated and an unlabelled scan",
            "Rename one.",
            about="two scans",
        )
    if not kept:
        raise RecipeError(
            f"no unlabelled scan is left of {len(taught.scans)}: {'; '.join(notes)}",
            "Give scans of other persons.",
        )
    return replace(taught, scans=tuple(kept), notes=tuple(notes))
