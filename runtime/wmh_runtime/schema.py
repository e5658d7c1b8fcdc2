"""The base class of stored data, such as manifests and recipes, and readable validation errors."""

from __future__ import annotations

import reprlib

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

_MAX_PROBLEMS = 3  # described in one message


class StrictModel(BaseModel):
    """Base class of stored data. Unknown keys, infinities and NaN are refused.

    Instances are immutable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def json_without_defaults(model: BaseModel) -> str:
    """Return stored data as JSON to hash. A new optional field then changes no existing hash.

    So the default of a field must never change.
    """
    return model.model_dump_json(exclude_defaults=True)


def describe_validation_error(error: ValidationError) -> str:
    """Name each refused value and the expected one. Of many problems, describe the first three."""
    problems = error.errors(include_url=False)
    descriptions = [_describe(problem) for problem in problems[:_MAX_PROBLEMS]]
    more = len(problems) - len(descriptions)
    return "; ".join(descriptions) + (f"; and {more} more" if more else "")


def _describe(problem: ErrorDetails) -> str:
    field = ".".join(map(str, problem["loc"]))
    match problem["type"]:
        case "extra_forbidden":
            return f"{field} is unknown"
        case "missing":
            return f"{field} is missing"
        case "value_error":  # from a validator of this project, which writes the whole message
            message = problem["msg"].removeprefix("Value error, ")
        case "tuple_type" | "list_type":
            message = f"got {reprlib.repr(problem['input'])}, expected a list"
        case "too_short":
            least = problem.get("ctx", {})["min_length"]
            message = f"got {reprlib.repr(problem['input'])}, expected {least} or more"
        case _:
            expected = problem["msg"].removeprefix("Input should be ").split(",")[0]
            message = f"got {reprlib.repr(problem['input'])}, expected {expected}"
    return f"{field}: {message}" if field else message
