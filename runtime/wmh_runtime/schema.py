"""The base of all stored data, such as manifests and recipes, and readable validation errors."""

from __future__ import annotations

import reprlib

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

_MOST = 3  # problems told


class StrictModel(BaseModel):
    """Facts that are stored and read back: unknown keys, infinities and NaN are refused.

    Values never change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def describe_validation_error(error: ValidationError) -> str:
    """Say which values were refused, what came and what was expected; the first few of many."""
    problems = error.errors(include_url=False)
    told = [_told(problem) for problem in problems[:_MOST]]
    more = len(problems) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _told(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"]))
    match problem["type"]:
        case "extra_forbidden":
            return f"{where} is unknown"
        case "missing":
            return f"{where} is missing"
        case "value_error":  # of our own validators, which say what came
            told = problem["msg"].removeprefix("Value error, ")
        case _:
            expected = problem["msg"].removeprefix("Input should be ").split(",")[0]
            told = f"{reprlib.repr(problem['input'])} came, expected {expected}"
    return f"{where}: {told}" if where else told
