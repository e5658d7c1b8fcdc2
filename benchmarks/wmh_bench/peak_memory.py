"""The most memory that this process ever held."""

from __future__ import annotations

import resource
import sys

import torch


def peak_bytes() -> int:
    """Return the peak on the GPU where there is one, else of resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, else KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
