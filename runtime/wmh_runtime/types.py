"""The few types that every part of the runtime shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8+bf16"]  # that something computes in
GraphPrecision = Literal["fp32", "fp16", "int8"]  # that a graph is written in
Views = Literal[1, 8]
Tta = Literal["full", "none", "adaptive"]  # eight views of a slice, one, or as many as it needs
WRITTEN_AS: dict[Precision, GraphPrecision] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "fp32",
    "int8": "int8",
    "int8+bf16": "int8",  # bf16 in what is not int8
}
Data = Literal["phantoms", "scans"]  # what slices show
ALL_VIEWS: tuple[Views, ...] = (1, 8)


def first_views(tta: Tta) -> Views:
    """Return how many views a graph averages that every slice is executed with first."""
    return 8 if tta == "full" else 1


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
