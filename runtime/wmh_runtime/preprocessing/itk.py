"""Load SimpleITK, an optional library, when it is needed."""

from __future__ import annotations

from typing import Any

from wmh_runtime.errors import InputError


def import_itk(setting: str, otherwise: str = "") -> Any:
    """Return the module SimpleITK.

    Args:
        setting: what needs it, for the error.
        otherwise: what to do without it, as a sentence.

    Raises:
        InputError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        problem = "needs the library SimpleITK, which is not installed"
        advice = f'Install it: pip install "wmh-lora[itk]". {otherwise}'
        raise InputError(problem, advice, about=setting) from error
    return SimpleITK


def reason_of_itk(error: RuntimeError) -> str:
    """Return the last line of an error of ITK; the others say where ITK met it."""
    return str(error).strip().splitlines()[-1].strip()
