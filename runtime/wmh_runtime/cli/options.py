"""Options that several command lines take, from a word to what it means."""

from __future__ import annotations

from typing import TypeVar, get_args

from wmh_runtime.errors import InputError
from wmh_runtime.precision import Precision
from wmh_runtime.tta import Tta

_Name = TypeVar("_Name", bound=str)


def parse_precision(name: str) -> Precision:
    """Return a precision by its name, in letters of any case.

    Raises:
        InputError: there is none of this name.
    """
    precisions: tuple[Precision, ...] = get_args(Precision)
    return _named(name, precisions, "--precision")


def parse_devices(numbers: str) -> tuple[int, ...]:
    """Return the GPUs that a list such as 0,1 names; none where it is empty.

    Raises:
        InputError: it is not a list of numbers, or names one twice.
    """
    named = [number.strip() for number in numbers.split(",")] if numbers else []
    if all(number.isdecimal() for number in named) and len({*named}) == len(named):
        return tuple(map(int, named))
    advice = "Give numbers of GPUs, such as 0 or 0,1."
    raise InputError(f"is {numbers}", advice, about="--device")


def parse_tta(name: str) -> Tta:
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
