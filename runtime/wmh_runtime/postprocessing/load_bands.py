"""Bands of lesion load, to group scans by the volume of their lesions."""

from __future__ import annotations

import math

# Name → upper limit in mL, exclusive. Not "2-5": spreadsheets read this as a date.
LOAD_BANDS = {"under 2": 2, "2 to 5": 5, "5 to 15": 15, "15 to 30": 30, "30 and more": math.inf}


def load_band(volume_ml: float) -> str:
    """Return the name of the band of a lesion load; a limit belongs to the higher band."""
    return next(name for name, below_ml in LOAD_BANDS.items() if volume_ml < below_ml)
