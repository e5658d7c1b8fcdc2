"""Who is learned from, who validates and who is the test: by person, each site giving its share."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wmh_runtime.errors import RecipeError
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.recipe.recipe import DataSettings


class Split(StrictModel):
    """Names of scans, each list sorted, no two lists with a person in common."""

    training: list[str]
    validation: list[str]
    test: list[str]


@dataclass(frozen=True)
class _Person:
    """Somebody with all scans of theirs."""

    site: str
    hash: bytes  # SHA-256 of seed and person: an order that has nothing to do with names
    scans: tuple[str, ...]


def split_scans(scans: Sequence[AnnotatedScan], settings: DataSettings, seed: int) -> Split:
    """Split scans the same way in every process, on every machine and in every order.

    Within each site persons are ordered by hash, and the i-th of n gets the position
    (i + 0.5) / n. In the order of positions over all sites, the first `test_share` of all N
    persons are the test and the next `validation_share`, at least one, validate. So the totals
    are exact and sites of one size give their share to within a person; a site of a single person
    stands at the middle, and so is learned from unless the shares together reach one half.

    Raises:
        RecipeError: nobody remains to learn from.
    """
    persons = _in_turn(_persons(scans, seed))
    tested = round(settings.test_share * len(persons))
    return _split(test=persons[:tested], others=persons[tested:], settings=settings, of=persons)


def fold_splits(
    scans: Sequence[AnnotatedScan], folds: int, settings: DataSettings, seed: int
) -> list[Split]:
    """Split scans into folds, each of which is the test once.

    Persons are ordered by site and hash and dealt to the folds in turn. Of those who are not in
    the fold, `validation_share`, at least one, validate, chosen as `split_scans` does.

    Raises:
        RecipeError: there are fewer persons than folds, fewer than two folds, or nobody remains
            to learn from.
    """
    persons = sorted(_persons(scans, seed), key=lambda person: (person.site, person.hash))
    if not 2 <= folds <= len(persons):
        problem = f"{folds} folds of {count_noun(len(persons), 'person')} asked for"
        raise RecipeError(problem, "Ask for two or more, and for no more than persons.")
    splits = []
    for fold in range(folds):
        others = [person for i, person in enumerate(persons) if i % folds != fold]
        splits.append(
            _split(test=persons[fold::folds], others=_in_turn(others), settings=settings, of=others)
        )
    return splits


def _persons(scans: Sequence[AnnotatedScan], seed: int) -> list[_Person]:
    """Gather scans by person; who was at two sites counts for the first by name."""
    scans_of: dict[str, list[AnnotatedScan]] = defaultdict(list)
    for scan in scans:
        scans_of[scan.person].append(scan)
    return [
        _Person(
            site=min(scan.site for scan in own),
            hash=hashlib.sha256(f"{seed}:{person}".encode()).digest(),
            scans=tuple(scan.name for scan in own),
        )
        for person, own in scans_of.items()
    ]


def _in_turn(persons: Iterable[_Person]) -> list[_Person]:
    """Order persons so that sites of any size progress at one pace."""
    sites: dict[str, list[_Person]] = defaultdict(list)
    for person in sorted(persons, key=lambda person: person.hash):
        sites[person.site].append(person)
    placed = [
        ((i + 0.5) / len(site), person.hash, person)
        for site in sites.values()
        for i, person in enumerate(site)
    ]
    return [person for _, _, person in sorted(placed, key=lambda entry: entry[:2])]


def _split(
    test: Sequence[_Person],
    others: Sequence[_Person],
    settings: DataSettings,
    of: Sequence[_Person],
) -> Split:
    """Let the first of the others validate, a share of `of`, and the rest be learned from."""
    validating = max(1, round(settings.validation_share * len(of)))
    if validating >= len(others):
        raise RecipeError(
            f"{count_noun(len(of), 'person')} cannot be split into {len(test)} for the test,"
            f" {validating} for validation and some to learn from",
            "Give scans of more.",
        )
    return Split(
        training=_names(others[validating:]),
        validation=_names(others[:validating]),
        test=_names(test),
    )


def _names(persons: Iterable[_Person]) -> list[str]:
    return sorted(name for person in persons for name in person.scans)
