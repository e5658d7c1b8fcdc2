"""Whether two visits can be compared: how their masks were made, not what the images show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wmh_runtime.change.visits import Visit
from wmh_runtime.dataset.bids import is_usable, session_of_label
from wmh_runtime.errors import InputError


def require_comparable(visits: Sequence[Visit], subject: str) -> None:
    """Refuse visits of a subject that cannot be compared.

    Raises:
        InputError: there are too few, a visit is there twice, a name cannot be part of a file name,
            or the masks were made with different settings.
    """
    if len(visits) < 2:
        problem = f"has {len(visits)} of the two visits that are needed"
        raise InputError(problem, "Give at least two.", about=subject)
    for name in (subject, *(visit.label for visit in visits)):
        if not is_usable(name):
            problem = f"has the name {name!r}, which cannot be part of a file name"
            advice = "Use letters, digits, dots, hyphens and underscores."
            raise InputError(problem, advice, about=subject)
    sessions = [session_of_label(visit.label) for visit in visits]
    if twice := [session for session in sessions if sessions.count(session) > 1]:
        scans = [
            visit.scan.name
            for visit, session in zip(visits, sessions, strict=True)
            if session == twice[0]
        ]
        problem = f"has more than one scan of the visit {twice[0]}: {', '.join(scans)}"
        advice = "Name one for each visit in a table of visits, or exclude the others in a review."
        raise InputError(problem, advice, about=subject)
    _require_same_settings(visits, subject)


def warnings_about_masks(earlier: Visit, later: Visit) -> Iterator[str]:
    """Yield warnings about two visits whose masks may differ without a change of the lesions."""
    if earlier.scan_sha256 and earlier.scan_sha256 == later.scan_sha256:
        yield f"the visits {earlier.label} and {later.label} are the same file"
    if earlier.is_corrected != later.is_corrected:
        corrected = earlier if earlier.is_corrected else later
        yield (
            f"only the mask of {corrected.label} was corrected by hand: the boundaries of lesions"
            " differ for this reason, too"
        )
    if (earlier.probability is None) != (later.probability is None):
        lacking = earlier if earlier.probability is None else later
        yield (
            f"the visit {lacking.label} has no probability map: its boundaries are less exact."
            " Segment it again in a run that compares visits"
        )


def _require_same_settings(visits: Sequence[Visit], subject: str) -> None:
    """Refuse masks of different models or settings; corrected masks depend on neither."""
    made = [(one.label, one.settings) for one in visits if one.settings and not one.is_corrected]
    for label, settings in made[1:]:
        first_label, first = made[0]
        if differences := first.differences(settings, any_backend=True):
            named = [f"{name} ({one} and {other})" for name, (one, other) in differences.items()]
            problem = (
                f"has masks of {first_label} and {label} with different settings:"
                f" {', '.join(named)}"
            )
            raise InputError(problem, "Segment them with the same ones.", about=subject)
