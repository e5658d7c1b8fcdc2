"""The heads of the study: seven synthetic scanners, four to learn from and three to test on."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.layouts import find_dataset
from wmh_train.recipe.recipe import load_recipe
from wmh_train.recipe.synthesis import SynthesisSettings
from wmh_train.synthesis.cohort import HeadMaker, Sources

SCANNERS_FILE = Path(__file__).with_name("scanners.toml")
TRAINING_SCANNERS = ("A", "B", "C", "D")
TEST_SCANNERS = ("E", "F", "G")
_FIRST_SEED = 101  # of scanner A; the others follow
_BASE = "base"  # recipe with the ranges that scanners.toml does not name


@dataclass(frozen=True)
class HeadCounts:
    """How many heads each scanner makes."""

    unlabelled: int = 27  # to learn from, with automatic masks
    expert: int = 3  # to learn from, with true masks, too
    test: int = 10

    def of(self, scanner: str) -> int:
        """Return how many heads a scanner makes."""
        return self.test if scanner in TEST_SCANNERS else self.unlabelled + self.expert


def make_heads(
    sources: Mapping[str, Sources],
    folder: Path,
    counts: HeadCounts,
    workers: int,
    on_scanner: Callable[[str, int], Callable[[], None]],
) -> None:
    """Make the heads of all scanners that are not there yet, each scanner in its own folder.

    Args:
        sources: of each scanner.
        folder: with a subfolder for each scanner.
        counts: of the heads.
        workers: number of processes.
        on_scanner: called with the name of each scanner and the number of its heads; returns what
            is called after each head.
    """
    for seed, (name, settings) in enumerate(scanners().items(), start=_FIRST_SEED):
        heads = counts.of(name)
        advance = on_scanner(name, heads)
        with HeadMaker(sources[name], settings, workers) as maker:
            maker.write(folder / name, heads=heads, seed=seed, on_written=advance)


def share_sources(sources: Sources) -> dict[str, Sources]:
    """Divide label maps and lesion masks between the scanners of training and test.

    So the anatomy and the lesions of a test head are in no training head, if each file is of
    another person. Every third file is for the test.

    Raises:
        InputError: there are fewer than three of either.
    """
    maps, masks = sources.label_maps, sources.lesion_masks
    if min(len(maps), len(masks)) < 3:
        problem = f"are {len(maps)} and {len(masks)}, too few to share between training and test"
        raise InputError(problem, "Give three at least.", about="label maps and lesion masks")
    test = Sources(maps[2::3], masks[2::3])
    training = Sources(*([one for k, one in enumerate(own) if k % 3 != 2] for own in (maps, masks)))
    return dict.fromkeys(TRAINING_SCANNERS, training) | dict.fromkeys(TEST_SCANNERS, test)


def scanners() -> Mapping[str, SynthesisSettings]:
    """Return the ranges of each scanner."""
    base = load_recipe(_BASE).synthesis.model_dump()
    tables = tomllib.loads(SCANNERS_FILE.read_text(encoding="utf-8"))
    return {
        name: SynthesisSettings.model_validate(
            base | {key: base[key] | table for key, table in changes.items()}
        )
        for name, changes in tables.items()
    }


def find_heads(folder: Path, names: Iterable[str]) -> list[AnnotatedScan]:
    """Find the heads of some scanners, with their true masks; their site is the scanner."""
    return [
        replace(scan, site=name)
        for name in names
        for scan in find_dataset(folder / name, ["flair"], ["wmh"]).scans
    ]


def expert_heads(heads: Iterable[AnnotatedScan], counts: HeadCounts) -> list[AnnotatedScan]:
    """Return the heads with masks of experts: the last ones of each training scanner."""
    by_scanner: dict[str, list[AnnotatedScan]] = {}
    for head in heads:
        by_scanner.setdefault(head.site, []).append(head)
    return [head for own in by_scanner.values() for head in own[-counts.expert :]]
