"""Read files that may be missing, may be of another version, or may be no files at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

_Model = TypeVar("_Model", bound=BaseModel)


def is_file(path: Path) -> bool:
    """Return whether a path is a file; also False where that cannot be known.

    Without permission, or with too long a name, `Path.is_file` raises. To open a pipe would block.
    """
    try:
        return path.is_file()
    except OSError:
        return False


def real_path(path: Path) -> Path:
    """Return the path of a file with all links of its folders followed, but not its own.

    Data sets of datalad hold links to files that are named after their content: two scans with the
    same content are still two scans.
    """
    return path.parent.resolve() / path.name


def read_json_object(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file of names and values; None if it is no such file.

    A byte order mark at the beginning, which some editors write, is skipped.
    """
    if not is_file(path):  # to open a pipe would block
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_model(path: Path, model: type[_Model]) -> _Model | None:
    """Return the content of a JSON file; None if it is not one of this version.

    Args:
        path: the file.
        model: of its content.
    """
    if not is_file(path):  # to open a pipe would block
        return None
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
