"""What is finished already, by its record, and what a new result would destroy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.outputs.sidecar import Settings, Sidecar, read_sidecar
from wmh_runtime.outputs.writer import OutputPaths
from wmh_runtime.text import count_noun

_REPLACE = "Give --overwrite to replace it, or another output folder."
_REPLACE_ALL = "Give --overwrite to replace them, or another output folder."


def find_existing_results(
    scan: Path,
    paths: Sequence[OutputPaths],
    settings: Sequence[Settings],
    *,
    with_probability: bool,
    any_backend: bool,
) -> list[Sidecar] | None:
    """Return the records of a scan that is finished, None where it is not.

    Args:
        scan: the file.
        paths: of the results of each output.
        settings: that each output is to be made with.
        with_probability: whether a probability map belongs to it.
        any_backend: whether it may have been made by another backend, on another device.

    Raises:
        InputError: what lies there is another result, and would be lost.
    """
    for to in paths:
        if not to.record.exists() and to.hold_foreign_files:
            problem = f"would replace files that this program did not write: {to.mask.name} or its"
            raise InputError(f"{problem} neighbors", _REPLACE, about=scan)
    if not all(to.record.exists() for to in paths):
        return None
    records = [record for to in paths if (record := read_sidecar(to.record)) is not None]
    if len(records) < len(paths):
        problem = f"has a record that this version cannot read, {paths[0].record.name}"
        raise InputError(problem, _REPLACE, about=scan)
    try:
        input_sha256 = sha256_file(scan)
    except OSError:
        return None  # reading the scan will say what is wrong with it
    for to, record, wanted in zip(paths, records, settings, strict=True):
        if record.input_sha256 != input_sha256:
            problem = f"has a result of another input, {to.record.name}"
            raise InputError(problem, _REPLACE, about=scan)
        if differing := ", ".join(_differing(record.settings, wanted, any_backend)):
            problem = f"has a result made with another {differing}, {to.record.name}"
            raise InputError(problem, _REPLACE, about=scan)
        wanted_files = [to.mask, to.picture] + [to.probability] * with_probability
        if not all(path.exists() for path in wanted_files):
            return None
    return records


def require_same_settings(
    out: Path,
    scans: Iterable[Sequence[OutputPaths]],
    settings: Sequence[Settings],
    *,
    any_backend: bool,
) -> None:
    """Refuse a folder whose every result was made with other settings, before anything is added.

    Args:
        out: the folder.
        scans: paths of the results of each output of each scan.
        settings: that each output is to be made with.
        any_backend: as of `find_existing_results`.

    Raises:
        InputError: there are results, and not one of them is of these settings.
    """
    others: Counter[str] = Counter()
    for paths in scans:
        for to, wanted in zip(paths, settings, strict=True):
            if (record := read_sidecar(to.record)) is None:
                continue
            differing = _differing(record.settings, wanted, any_backend)
            if not differing:
                return  # and no more is read
            others[", ".join(differing)] += 1
    if others:
        ((differing_most, count),) = others.most_common(1)
        problem = f"holds {count_noun(count, 'result')} made with another {differing_most}"
        raise InputError(problem, _REPLACE_ALL, about=out)


def _differing(found: Settings, wanted: Settings, any_backend: bool) -> list[str]:
    """Name the settings that differ, each with what was and what would be."""
    before, now = found.model_dump(), wanted.model_dump()
    if any_backend:
        del now["backend"], now["device"]
    before |= before.pop("output")
    now |= now.pop("output")
    return [f"{key} ({before[key]}, now {now[key]})" for key in now if before.get(key) != now[key]]
