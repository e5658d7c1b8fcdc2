"""Refusals in words that name what came."""

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from wmh_runtime.schema import describe_validation_error


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epochs: int = Field(gt=0)
    precision: Literal["no", "bf16"] = "no"
    rate: float = 1.0

    @field_validator("rate")
    @classmethod
    def _odd(cls, value: float) -> float:
        if value == 13:
            raise ValueError("13 is no rate")
        return value


class Outer(BaseModel):
    name: str
    schedule: Inner


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ({"epochs": 1, "batchsize": 2}, "schedule.batchsize is unknown"),
        ({}, "schedule.epochs is missing"),
        ({"epochs": "one"}, "schedule.epochs: 'one' came, expected a valid integer"),
        ({"epochs": 0}, "schedule.epochs: 0 came, expected greater than 0"),
        (
            {"epochs": 1, "precision": "fp8"},
            "schedule.precision: 'fp8' came, expected 'no' or 'bf16'",
        ),
        ({"epochs": 1, "rate": 13}, "schedule.rate: 13 is no rate"),
    ],
)
def test_what_came_and_what_was_expected(schedule, told):
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"name": "x", "schedule": schedule})
    assert describe_validation_error(raised.value) == told


def test_the_first_three_of_many():
    with pytest.raises(ValidationError) as raised:
        Inner.model_validate({"a": 1, "b": 2, "c": 3, "epochs": 1, "d": 4})
    assert (
        describe_validation_error(raised.value)
        == "a is unknown; b is unknown; c is unknown; and 1 more"
    )
