"""Split scans into training, validation and test: by subject, balanced over sites."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from wmh_runtime.errors import RecipeError
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_train.data.annotated import AnnotatedScan, group_by
from wmh_train.recipe.recipe import DataSettings


class Split(StrictModel):
    """Sorted names of scans. All scans of a subject are in the same list."""

    training: list[str]
    validation: list[str]
    test: list[str]


@dataclass(frozen=True)
class _Subject:
    """A subject with all of its scans."""

    name: str
    site: str
    hash: bytes  # SHA-256 of seed and subject; gives a random but reproducible order
    scans: tuple[str, ...]


def split_scans(
    scans: Sequence[AnnotatedScan],
    settings: DataSettings,
    seed: int,
    *,
    for_validation: Collection[str] = (),
) -> Split:
    """Split scans. The result depends on seed, names and sites, not on the order of the scans.

    Within each site, subjects are ordered by hash, and the i-th of n gets the position
    (i + 0.5) / n. All subjects are then sorted by position. The first `test_share` of them are the
    test subjects. The next `validation_share`, at least one, are the validation subjects. So the
    totals are exact, and sites of equal size contribute equally, up to one subject. A site with a
    single subject has the position 0.5, so it is used for training unless the two shares together
    reach one half.

    Args:
        scans: annotated scans.
        settings: shares of validation and test.
        seed: of the split.
        for_validation: subjects that are validation subjects in any case. They count for the share;
            if they are more than that, all of them are used, and no others.

    Raises:
        RecipeError: no subject remains for training.
    """
    subjects = _interleave_sites(_group_by_subject(scans, seed))
    test_count = round(settings.test_share * len(subjects))
    return _split(
        test=subjects[:test_count],
        others=subjects[test_count:],
        settings=settings,
        of=subjects,
        for_validation=for_validation,
    )


def fold_splits(
    scans: Sequence[AnnotatedScan], folds: int, settings: DataSettings, seed: int
) -> list[Split]:
    """Return one split per fold. Each subject is a test subject in exactly one fold.

    Subjects are sorted by site and hash and assigned to the folds in turn. Of the other subjects,
    `validation_share`, at least one, are validation subjects, selected as in `split_scans`.

    Raises:
        RecipeError: there are fewer than two folds, more folds than subjects, or no subject
            remains for training.
    """
    subjects = sorted(
        _group_by_subject(scans, seed), key=lambda subject: (subject.site, subject.hash)
    )
    if not 2 <= folds <= len(subjects):
        problem = f"{folds} folds are not possible with {count_noun(len(subjects), 'subject')}"
        raise RecipeError(problem, "Use two or more folds, and at most one per subject.")
    splits = []
    for fold in range(folds):
        others = [subject for i, subject in enumerate(subjects) if i % folds != fold]
        splits.append(
            _split(
                test=subjects[fold::folds],
                others=_interleave_sites(others),
                settings=settings,
                of=others,
            )
        )
    return splits


def _group_by_subject(scans: Sequence[AnnotatedScan], seed: int) -> list[_Subject]:
    """Group scans by subject. A subject with several sites counts for the first one by name."""
    scans_of = group_by([scan.subject for scan in scans], scans)
    return [
        _Subject(
            name=subject,
            site=min(scan.site for scan in own),
            hash=hashlib.sha256(f"{seed}:{subject}".encode()).digest(),
            scans=tuple(scan.name for scan in own),
        )
        for subject, own in scans_of.items()
    ]


def _interleave_sites(subjects: Iterable[_Subject]) -> list[_Subject]:
    """Order subjects so that any first part of the list has about the same share of each site."""
    ordered = sorted(subjects, key=lambda subject: subject.hash)
    sites = group_by([subject.site for subject in ordered], ordered)
    placed = [
        ((i + 0.5) / len(site), subject.hash, subject)
        for site in sites.values()
        for i, subject in enumerate(site)
    ]
    return [subject for _, _, subject in sorted(placed, key=lambda entry: entry[:2])]


def _split(
    test: Sequence[_Subject],
    others: Sequence[_Subject],
    settings: DataSettings,
    of: Sequence[_Subject],
    for_validation: Collection[str] = (),
) -> Split:
    """Use the first of `others` for validation and the rest for training.

    `validation_share` refers to the number of subjects in `of`.
    """
    others = sorted(others, key=lambda subject: subject.name not in for_validation)
    fixed_count = sum(subject.name in for_validation for subject in others)
    validation_count = max(1, round(settings.validation_share * len(of)), fixed_count)
    if validation_count >= len(others):
        raise RecipeError(
            f"{count_noun(len(of), 'subject')} cannot be split into {len(test)} for test,"
            f" {validation_count} for validation and the rest for training",
            "Give scans of more subjects.",
        )
    return Split(
        training=_names(others[validation_count:]),
        validation=_names(others[:validation_count]),
        test=_names(test),
    )


def _names(subjects: Iterable[_Subject]) -> list[str]:
    return sorted(name for subject in subjects for name in subject.scans)
