"""Parse options that several command lines take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, get_args

from wmh_runtime.errors import InputError
from wmh_runtime.precision import Precision
from wmh_runtime.tta import Tta

PARTICIPANT_LEVEL = "participant"  # of BIDS Apps: each participant alone
_LABEL_OPTIONS = ("--participant-label", "--session-label")

_Name = TypeVar("_Name", bound=str)


def parse_precision(name: str) -> Precision:
    """Return a precision; upper and lower case are the same. InputError: there is no such one."""
    precisions: tuple[Precision, ...] = get_args(Precision)
    return _parse_name(name, precisions, field="precision")


def parse_tta(name: str) -> Tta:
    """Return a mode of test-time augmentation, in either case. InputError: there is no such one."""
    modes: tuple[Tta, ...] = get_args(Tta)
    return _parse_name(name, modes, field="tta")


def parse_devices(indices: str) -> tuple[int, ...]:
    """Return the GPU indices of a list such as `0,1`; empty for an empty text.

    Raises:
        InputError: it is not a list of indices, or names one twice.
    """
    parts = [part.strip() for part in indices.split(",")] if indices else []
    if all(part.isdecimal() for part in parts) and len({*parts}) == len(parts):
        return tuple(map(int, parts))
    raise InputError(f"is {indices}", "Give GPU indices, such as 0 or 0,1.", about="gpus")


def separate_labels(arguments: Sequence[str]) -> list[str]:
    """Repeat an option for labels before each of them, if the program is called as a BIDS App.

    BIDS Apps take `IN OUT participant --participant-label 01 02`. The labels end with the next
    option.
    """
    separated: list[str] = []
    repeated = ""  # the option that each label needs
    is_app = False
    for argument in arguments:
        is_app = is_app or argument == PARTICIPANT_LEVEL
        name = argument.replace("_", "-")
        if argument.startswith("-"):
            repeated = name if is_app and name in _LABEL_OPTIONS else ""
            separated += [] if repeated else [name if name in _LABEL_OPTIONS else argument]
        else:
            separated += [repeated, argument] if repeated else [argument]
    return separated


def _parse_name(name: str, names: tuple[_Name, ...], field: str) -> _Name:
    for known in names:
        if known == name.lower():
            return known
    raise InputError(f"is {name}", f"Choose from: {', '.join(names)}.", about=field)
