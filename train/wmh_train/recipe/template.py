"""Write a recipe as TOML with all keys, values and descriptions, to copy and edit."""

from __future__ import annotations

import json
from typing import Any

from wmh_runtime.schema import StrictModel
from wmh_train.recipe.recipe import Recipe

_LISTS_OF_TABLES = ("stage",)


def recipe_to_toml(recipe: Recipe) -> str:
    """Return a recipe as TOML. `load_recipe` reads the same recipe back."""
    return "\n".join(_lines(recipe, path=())).strip() + "\n"


def _lines(table: StrictModel, path: tuple[str, ...]) -> list[str]:
    """Return the lines of a table: its own keys first, as TOML requires, then its subtables."""
    keys: list[str] = []
    subtables: list[str] = []
    for name, value in table:
        if isinstance(value, StrictModel):
            subtables += _lines(value, (*path, name))
        elif name in _LISTS_OF_TABLES:
            for entry in value:
                subtables += ["", f"[[{name}]]", *_changed_lines(entry)]
        else:
            description = type(table).model_fields[name].description
            comment = f"  # {description}" if description else ""
            key = f"{name} = {_toml_value(value)}" if value is not None else f"# {name} is not set"
            keys.append(f"{key}{comment}")
    header = ["", f"[{'.'.join(path)}]"] if path and keys else []
    return [*header, *keys, *subtables]


def _changed_lines(table: StrictModel) -> list[str]:
    """Return the keys of an entry of a list that differ from their defaults, each on one line."""
    changed = table.model_dump(exclude_defaults=True)
    return [f"{name} = {_toml_value(value)}" for name, value in changed.items()]


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + " }"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
