"""The gate: what got worse from one measurement to another, where machines are noisy.

Counts are compared as they are. Seconds are not: of a baseline only the ratios are, each of two
ways that took turns in one run, and only beyond what noise does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from benchmarks.dev.counts import Counts
from wmh_bench.baseline.result import Baseline
from wmh_runtime.errors import InputError
from wmh_runtime.schema import StrictModel, describe_validation_error

# Python's allocations vary a little with the versions of libraries.
_PEAK_TOLERANCE = 0.03
RATIO_TOLERANCE = 0.15  # of ratios: what is less is told by a longer look, not by a gate
_FUSED = "fused attention layers"
_KINDS: TypeAdapter[Counts | Baseline] = TypeAdapter(
    Annotated[Counts | Baseline, Field(discriminator="kind")]
)


class Change(StrictModel):
    """One figure that is another than before; None where there is none."""

    what: str
    before: float | None
    after: float | None
    is_worse: bool

    def __str__(self) -> str:
        word = "worse" if self.is_worse else "better"
        then, now = (
            "none" if value is None else f"{value:g}" for value in (self.before, self.after)
        )
        return f"{word}: {self.what}, {then} before, {now} now"


def changes(before: Path, after: Path) -> list[Change]:
    """Compare two files.

    Raises:
        InputError: one is neither counts nor a baseline, or they are of unlike things.
    """
    then, now = _read(before), _read(after)
    if isinstance(then, Counts) and isinstance(now, Counts) and _subject(then) == _subject(now):
        return changed_counts(then, now)
    if isinstance(then, Baseline) and isinstance(now, Baseline) and _subject(then) == _subject(now):
        return changed_ratios(then, now)
    problem = f"is of {_subject(now)}, {before} of {_subject(then)}"
    raise InputError(problem, "Give two of one network on one device.", about=after)


def _subject(measured: Counts | Baseline) -> str:
    """Say what was measured: two are compared only where it is the same."""
    if isinstance(measured, Counts):
        return f"counts of {measured.recipe} at {measured.size_px} pixels"
    model = measured.circumstances.model
    return f"a baseline of {model.name} at {model.size_px} pixels on {measured.device}"


def _read(path: Path) -> Counts | Baseline:
    try:
        return _KINDS.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = (
            describe_validation_error(error)
            if isinstance(error, ValidationError)
            else error.strerror
        )
        advice = "Give results of wmh-bench dev counts, or of wmh-bench baseline."
        raise InputError(f"cannot be compared: {why}", advice, about=path) from error


def changed_counts(before: Counts, after: Counts) -> list[Change]:
    """Return every count that changed; more is worse, but of fused layers, and so is none at all.

    Fused layers are compared only where both could be counted.
    """
    found = []
    then, now = dict(_flat(before)), dict(_flat(after))
    for what in dict.fromkeys((*then, *now)):
        old, new = then.get(what), now.get(what)
        if what == _FUSED:
            if None not in (before.fused_attention, after.fused_attention) and old != new:
                is_worse = bool(old and new is not None and new < old)
                found.append(Change(what=what, before=old, after=new, is_worse=is_worse))
        elif old is None or new is None:
            is_operator = what.partition(" in ")[0].isalpha() and " in " in what
            is_worse = new is not None if is_operator else new is None
            found.append(Change(what=what, before=old, after=new, is_worse=is_worse))
        elif abs(new - old) > (_PEAK_TOLERANCE * old if what.endswith("peak_kb") else 0.0):
            found.append(Change(what=what, before=old, after=new, is_worse=new > old))
    return found


def changed_ratios(
    before: Baseline, after: Baseline, tolerance: float = RATIO_TOLERANCE
) -> list[Change]:
    """Return the ways whose speed, as a multiple of the reference's in the same run, changed.

    A way that is not there any more is worse; one that is new is no change.
    """
    now = _ratios(after)
    found = []
    for what, old in sorted(_ratios(before).items()):
        new = now.get(what)
        if new is None:
            found.append(Change(what=what, before=old, after=None, is_worse=True))
        elif abs(new / old - 1) > tolerance:
            found.append(Change(what=what, before=old, after=new, is_worse=new < old))
    return found


def _ratios(measured: Baseline) -> Mapping[str, float]:
    return {
        f"times faster than the reference, {row.name} {row.precision}, {row.slices} at a time": (
            row.times_faster
        )
        for row in measured.rows
    }


def _flat(counts: Counts) -> Iterator[tuple[str, float]]:
    yield "GFLOP a view", counts.gflop_a_view
    for precision, size in counts.weights_bytes.items():
        yield f"bytes of weights in {precision}", size
    for graph, of_graph in counts.graphs.items():
        yield f"bytes of {graph}", of_graph.file_bytes
        for operator, count in of_graph.operators.items():
            yield f"{operator} in {graph}", count
    if counts.fused_attention is not None:
        yield _FUSED, counts.fused_attention
    for scan in counts.scans:
        yield f"{scan.scan} slices executed", scan.executed
        yield f"{scan.scan} slices looked at again", scan.looked_again
        yield f"{scan.scan} peak_kb", scan.peak_kb
