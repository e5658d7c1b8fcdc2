"""Stages of a training: each has the settings of the recipe, with some changes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from wmh_runtime.schema import StrictModel


class StageSettings(StrictModel):
    """A stage: its name, which masks it learns from, and what differs from the recipe.

    The tables are those of the recipe, with the keys that differ only.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="also the name of its masks")
    data: dict[str, Any] = Field(default={})
    augmentation: dict[str, Any] = Field(default={})
    loss: dict[str, Any] = Field(default={})
    optimizer: dict[str, Any] = Field(default={})
    schedule: dict[str, Any] = Field(default={})

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """The tables that differ."""
        return {name: table for name, table in self if name != "name" and table}
