"""The Boutiques descriptor of `wmh-infer`: its command line for platforms that run tools.

    python -m benchmarks.dev.boutiques_descriptor > containers/wmh-infer.boutiques.json

Boutiques (https://boutiques.github.io) describes a command line in JSON. This descriptor is made
from the command line itself, so both say the same.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperOption
from typer.main import get_command

from wmh_runtime.cli.infer.segment import app

SCHEMA_VERSION = "0.5"
_FILES = {"source", "atlas_names"}  # the others are patterns, names, or do not exist yet
_LEVEL = "level"


def describe() -> dict[str, Any]:
    """Return the descriptor, as the JSON schema of Boutiques has it."""
    command = get_command(app)
    assert isinstance(command, TyperCommand)
    inputs = [_describe(one) for one in command.params if not one.is_eager]  # --version is eager
    return {
        "name": "wmh-infer",
        "description": " ".join((command.help or "").split()),
        "author": "the wmh-lora authors",
        "tool-version": version("wmh-lora"),
        "schema-version": SCHEMA_VERSION,
        "command-line": " ".join(["wmh-infer", *(one["value-key"] for one in inputs)]),
        "inputs": inputs,
        "output-files": [
            {
                "id": "results",
                "name": "Results",
                "description": "Masks, tables and pictures.",
                "path-template": _value_key("out"),
            }
        ],
        "tags": {"domain": ["neuroinformatics"], "modality": ["mri"]},
    }


def _describe(parameter: Any) -> dict[str, Any]:
    """Describe an argument or an option of the command line."""
    assert isinstance(parameter, TyperArgument | TyperOption)
    name = parameter.name
    described: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " ").capitalize(),
        "description": parameter.help,
        "value-key": _value_key(name),
        "optional": not parameter.required,
        **_type_of(parameter),
    }
    if isinstance(parameter, TyperOption):
        described["command-line-flag"] = parameter.opts[0]
    if parameter.multiple:  # the option is given again for each value
        flag = described.pop("command-line-flag")
        described |= {"list": True, "list-separator": f" {flag} ", "command-line-flag": flag}
    if name == _LEVEL:
        described["value-choices"] = [str(parameter.metavar).strip("[]")]
    return described


def _type_of(parameter: TyperArgument | TyperOption) -> dict[str, Any]:
    """Return the type of a value, and its limits."""
    if isinstance(parameter, TyperOption) and parameter.is_flag:
        return {"type": "Flag"}
    annotation = parameter.type_descriptor.annotation
    if annotation in (int, float):
        limits = {"minimum": parameter.min} if parameter.min is not None else {}
        return {"type": "Number", "integer": annotation is int, **limits}
    return {"type": "File" if parameter.name in _FILES else "String"}


def _value_key(name: str) -> str:
    return f"[{name.upper()}]"


if __name__ == "__main__":
    print(json.dumps(describe(), indent=2, ensure_ascii=False))  # noqa: T201 - this is the output
