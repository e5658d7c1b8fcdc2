"""A recipe written out: every key with its value and meaning, to copy and change."""

from __future__ import annotations

import json
from typing import Any

from wmh_runtime.schema import StrictModel
from wmh_train.recipe.recipe import Recipe


def recipe_text(recipe: Recipe) -> str:
    """Write a recipe as TOML that `load_recipe` reads back to the same."""
    return "\n".join(_lines(recipe, path=())).strip() + "\n"


def _lines(table: StrictModel, path: tuple[str, ...]) -> list[str]:
    """Write a table's own keys first, as TOML wants it, then the tables in it."""
    own: list[str] = []
    inner: list[str] = []
    for name, value in table:
        if isinstance(value, StrictModel):
            inner += _lines(value, (*path, name))
        elif value is not None:
            meaning = type(table).model_fields[name].description
            own.append(f"{name} = {_toml(value)}" + (f"  # {meaning}" if meaning else ""))
    head = ["", f"[{'.'.join(path)}]"] if path and own else []
    return [*head, *own, *inner]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
