"""How a model was trained, as its manifest tells."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import Tta


class Teacher(StrictModel):
    """Another model, whose probabilities a training learned on scans without masks."""

    name: str
    model_id: str
    tta: Tta = Field(description="its views of a slice")
    precision: str
    scans: int = Field(description="that were learned from with its probabilities")


class Training(StrictModel):
    """The training of a model."""

    data: str = Field(description="name of the data set")
    training_scans: int
    validation_scans: int
    training_slices: int
    training_sites: dict[str, int] = Field(default={}, description="number of scans by site")
    validation_sites: dict[str, int] = Field(default={}, description="number of scans by site")
    new_heads: int = Field(default=0, description="synthetic heads that were new in each epoch")
    teacher: Teacher | None = Field(default=None, description="null: masks only")
    parameters: int
    trained_parameters: int
    details: dict[str, Any] = Field(description="recipe, losses, machine")
