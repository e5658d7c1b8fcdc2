"""Options that several command lines take, from a word to what it means."""

from __future__ import annotations

from typing import TypeVar, get_args

from wmh_runtime.errors import InputError
from wmh_runtime.types import Precision, Tta

_Name = TypeVar("_Name", bound=str)


def precision_named(name: str) -> Precision:
    """Return a precision by its name, in letters of any case.

    Raises:
        InputError: there is none of this name.
    """
    precisions: tuple[Precision, ...] = get_args(Precision)
    return _named(name, precisions, "--precision")


def tta_named(name: str) -> Tta:
    """Return how many views a slice is looked at in, by its name, in letters of any case.

    Raises:
        InputError: there is none of this name.
    """
    ways: tuple[Tta, ...] = get_args(Tta)
    return _named(name, ways, "--tta")


def _named(name: str, names: tuple[_Name, ...], option: str) -> _Name:
    for known in names:
        if known == name.lower():
            return known
    raise InputError(f"is {name}", f"Choose from: {', '.join(names)}.", about=option)
