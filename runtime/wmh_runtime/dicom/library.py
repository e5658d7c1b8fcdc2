"""Check that the libraries for DICOM, which are optional, are installed."""

from __future__ import annotations

from importlib.util import find_spec

from wmh_runtime.errors import InputError
from wmh_runtime.text import install_advice

_LIBRARIES = ("pydicom", "highdicom", "pynetdicom", "prometheus_client")


def require_dicom(about: object) -> None:
    """Check that the libraries for DICOM are installed, without loading them.

    Args:
        about: what needs them: a path or a setting.

    Raises:
        InputError: they are not.
    """
    for name in _LIBRARIES:
        if find_spec(name) is None:
            problem = f"needs the library {name}, which is not installed"
            raise InputError(problem, install_advice("dicom"), about=str(about))
