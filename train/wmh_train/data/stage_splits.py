"""Split the scans of several stages, so that no stage learns from persons that judge the last one.

Only the last stage has test persons. The stages share persons: a scan with an expert mask usually
has automatic masks, too. The last stage is split first. Its test persons are left out of all
others. Its validation persons are used for validation only in the stages before, so that no stage
has learned from them; they count for the share of validation persons of these stages.
"""

from __future__ import annotations

from collections.abc import Sequence

from wmh_runtime.errors import RecipeError
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.split import Split, split_scans
from wmh_train.recipe.recipe import DataSettings


def split_stages(
    stages: Sequence[tuple[str, Sequence[AnnotatedScan], DataSettings]], seed: int
) -> list[Split]:
    """Return the split of each stage.

    Args:
        stages: name, scans and settings of each, in the order of the training.
        seed: of the training.

    Raises:
        RecipeError: nothing is left for the training of a stage, or a stage before the last one has
            test scans: a later stage would learn from them.
    """
    for name, _, settings in stages[:-1]:
        if settings.test_share:
            raise RecipeError(
                f"stage {name} has a share of test scans ({settings.test_share:g}), but only the"
                " last stage can have one",
                f"Set data.test_share = 0 in stage {name}.",
            )
    test: set[str] = set()
    validation: set[str] = set()
    splits: list[Split] = []
    for name, scans, settings in reversed(stages):
        usable = [scan for scan in scans if scan.subject not in test]
        if not {scan.subject for scan in usable} - validation:
            raise RecipeError(
                f"stage {name} has only scans of persons that later stages need for validation or"
                " test",
                "Give masks of more persons.",
            )
        split = split_scans(usable, settings, seed, for_validation=validation)
        splits.insert(0, split)
        subject_of = {scan.name: scan.subject for scan in scans}
        test |= {subject_of[name] for name in split.test}
        validation |= {subject_of[name] for name in split.validation}
    return splits
