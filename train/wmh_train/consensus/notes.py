"""What to be careful with in a consensus: for each scan, and summed up over many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wmh_runtime.text import count_noun

_NAMED = 3  # scans in a line


@dataclass(frozen=True)
class Note:
    """What to be careful with in the consensus of one scan."""

    kind: str  # the same words for each scan
    detail: str = ""  # of this scan

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def summarize_notes(notes: Iterable[tuple[str, Note]]) -> list[str]:
    """Return a line for each kind of note, with the number of scans and the first names.

    Args:
        notes: name of a scan, and a note about it.
    """
    by_kind: dict[str, list[tuple[str, Note]]] = {}
    for name, note in notes:
        by_kind.setdefault(note.kind, []).append((name, note))
    return [_line(kind, found) for kind, found in by_kind.items()]


def _line(kind: str, found: list[tuple[str, Note]]) -> str:
    if len(found) == 1:
        ((name, note),) = found
        return f"{name}: {note}"
    names = ", ".join(name for name, _ in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{count_noun(len(found), 'scan')}, {names}{more}: {kind}"
