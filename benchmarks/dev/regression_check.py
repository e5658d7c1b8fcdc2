"""Compare two measurements and find what got worse.

Counts are compared exactly. Times depend on the machine, so of baselines only the speedups are
compared: each is a ratio of two times in the same run, and small changes of it are noise.
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

_PEAK_TOLERANCE = 0.03  # Python's allocations vary a little with the versions of libraries
SPEEDUP_TOLERANCE = 0.15
_FUSED = "fused attention layers"
_ADAPTER: TypeAdapter[Counts | Baseline] = TypeAdapter(
    Annotated[Counts | Baseline, Field(discriminator="kind")]
)


class Change(StrictModel):
    """A value that changed. None: it does not exist before, or after."""

    name: str
    before: float | None
    after: float | None
    is_worse: bool

    def __str__(self) -> str:
        word = "worse" if self.is_worse else "better"
        before, after = (
            "none" if value is None else f"{value:g}" for value in (self.before, self.after)
        )
        return f"{word}: {self.name}, {before} before, {after} now"


def find_changes(before: Path, after: Path) -> list[Change]:
    """Compare two files.

    Raises:
        InputError: a file contains neither counts nor a baseline, or the two files are not of the
            same kind, network and device.
    """
    old, new = _read(before), _read(after)
    is_comparable = _describe(old) == _describe(new)
    if isinstance(old, Counts) and isinstance(new, Counts) and is_comparable:
        return changed_counts(old, new)
    if isinstance(old, Baseline) and isinstance(new, Baseline) and is_comparable:
        return changed_speedups(old, new)
    problem = f"contains {_describe(new)}, {before} contains {_describe(old)}"
    raise InputError(problem, "Give two of the same network and device.", about=after)


def _describe(measured: Counts | Baseline) -> str:
    """Describe what was measured. Two files are compared only if this is equal."""
    if isinstance(measured, Counts):
        return f"counts of {measured.recipe} at {measured.size_px} pixels"
    model = measured.environment.model
    return f"a baseline of {model.name} at {model.size_px} pixels on {measured.device}"


def _read(path: Path) -> Counts | Baseline:
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = (
            describe_validation_error(error)
            if isinstance(error, ValidationError)
            else error.strerror
        )
        advice = "Give results of python -m benchmarks.dev counts, or of wmh-bench baseline."
        raise InputError(f"cannot be compared: {reason}", advice, about=path) from error


def changed_counts(before: Counts, after: Counts) -> list[Change]:
    """Return all counts that changed.

    A larger count is worse, except for fused layers. A new operator is worse, and so is any other
    count that disappeared. Fused layers are compared only if both measurements have them.
    """
    changes = []
    old_counts, new_counts = dict(_flatten(before)), dict(_flatten(after))
    for name in dict.fromkeys((*old_counts, *new_counts)):
        old, new = old_counts.get(name), new_counts.get(name)
        if name == _FUSED:
            if old is not None and new is not None and old != new:
                changes.append(Change(name=name, before=old, after=new, is_worse=new < old))
        elif old is None or new is None:
            is_operator = name.partition(" in ")[0].isalpha() and " in " in name
            is_worse = new is not None if is_operator else new is None
            changes.append(Change(name=name, before=old, after=new, is_worse=is_worse))
        elif abs(new - old) > (_PEAK_TOLERANCE * old if name.endswith("peak_kb") else 0.0):
            changes.append(Change(name=name, before=old, after=new, is_worse=new > old))
    return changes


def changed_speedups(
    before: Baseline, after: Baseline, tolerance: float = SPEEDUP_TOLERANCE
) -> list[Change]:
    """Return all variants whose speedup changed by more than the tolerance.

    A variant that disappeared is worse; a new variant is not a change.
    """
    new_speedups = _speedups(after)
    changes = []
    for name, old in sorted(_speedups(before).items()):
        new = new_speedups.get(name)
        if new is None:
            changes.append(Change(name=name, before=old, after=None, is_worse=True))
        elif abs(new / old - 1) > tolerance:
            changes.append(Change(name=name, before=old, after=new, is_worse=new < old))
    return changes


def _speedups(measured: Baseline) -> Mapping[str, float]:
    return {
        f"speedup of {row.name}, {row.precision}, batch size {row.batch_size}": row.speedup
        for row in measured.rows
    }


def _flatten(counts: Counts) -> Iterator[tuple[str, float]]:
    yield "GFLOP per view", counts.gflop_per_view
    for precision, size in counts.weights_bytes.items():
        yield f"bytes of weights in {precision}", size
    for graph_name, graph in counts.graphs.items():
        yield f"bytes of {graph_name}", graph.file_bytes
        for operator, count in graph.operators.items():
            yield f"{operator} in {graph_name}", count
    if counts.fused_attention_layers is not None:
        yield _FUSED, counts.fused_attention_layers
    for scan in counts.scans:
        yield f"{scan.scan} slices executed", scan.slices_executed
        yield f"{scan.scan} slices in all views", scan.slices_in_all_views
        yield f"{scan.scan} peak_kb", scan.peak_kb
