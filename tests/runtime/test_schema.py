"""Validation errors name the found and the expected value."""

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
            raise ValueError("13 is not a rate")
        return value


class Outer(BaseModel):
    name: str
    schedule: Inner


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"epochs": 1, "batchsize": 2}, "schedule.batchsize is unknown"),
        ({}, "schedule.epochs is missing"),
        ({"epochs": "one"}, "schedule.epochs: got 'one', expected a valid integer"),
        ({"epochs": 0}, "schedule.epochs: got 0, expected greater than 0"),
        (
            {"epochs": 1, "precision": "fp8"},
            "schedule.precision: got 'fp8', expected 'no' or 'bf16'",
        ),
        ({"epochs": 1, "rate": 13}, "schedule.rate: 13 is not a rate"),
    ],
)
def test_the_message_names_the_found_and_the_expected_value(schedule, message):
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"name": "x", "schedule": schedule})
    assert describe_validation_error(raised.value) == message


def test_three_problems_are_described_and_the_others_counted():
    with pytest.raises(ValidationError) as raised:
        Inner.model_validate({"a": 1, "b": 2, "c": 3, "epochs": 1, "d": 4})
    assert (
        describe_validation_error(raised.value)
        == "a is unknown; b is unknown; c is unknown; and 1 more"
    )
