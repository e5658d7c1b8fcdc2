"""Load the libraries for DICOM, which are optional, when they are needed."""

from __future__ import annotations

from wmh_runtime.errors import InputError
from wmh_runtime.text import install_advice


def require_dicom(about: object) -> None:
    """Check that the libraries for DICOM are installed.

    Args:
        about: what needs them: a path or a setting.

    Raises:
        InputError: they are not.
    """
    try:
        import highdicom  # noqa: F401
        import prometheus_client  # noqa: F401
        import pydicom  # noqa: F401
        import pynetdicom  # noqa: F401
    except ImportError as error:
        problem = f"needs the library {error.name}, which is not installed"
        raise InputError(problem, install_advice("dicom"), about=str(about)) from error
