"""The few types that every part of the runtime shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Data = Literal["phantoms", "scans"]  # what slices show


@dataclass(frozen=True)
class NetworkShape:
    """What a network takes and gives, N slices at a time."""

    channels: int  # C
    outputs: int  # K
    size_px: int  # S

    @property
    def slice_in(self) -> tuple[int, int, int]:
        """(C, S, S)."""
        return self.channels, self.size_px, self.size_px

    @property
    def slice_out(self) -> tuple[int, int, int]:
        """(K, S, S)."""
        return self.outputs, self.size_px, self.size_px


EngineKind = Literal["rtx", "tensorrt"]
