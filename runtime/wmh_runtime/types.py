"""Types that all parts of the runtime use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
ProbeSource = Literal["phantoms", "scans"]  # where probe slices come from
EngineKind = Literal["rtx", "tensorrt"]
GraphProvider = Literal["", "cuda"]  # of ONNX Runtime, that a graph is made for; empty: any


@dataclass(frozen=True)
class NetworkShape:
    """The shape of a network's input and output, per slice."""

    channels: int  # C
    outputs: int  # K
    size_px: int  # S: slices are S × S pixels

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, S, S)."""
        return self.channels, self.size_px, self.size_px

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(K, S, S)."""
        return self.outputs, self.size_px, self.size_px


@dataclass(eq=False)
class Prediction:
    """The network's output for one scan. It is complete when the predictor returns it."""

    probability: Floats  # [N, K, S, S], in [0, 1]
    slices_in_all_views: int = 0  # with adaptive views: slices that needed more than the first
    seconds: float = 0.0  # device time: the scan's share of its batches

    def of_outputs(self, count: int) -> Prediction:
        """Return it with the first outputs only: those of regions take much memory."""
        return replace(self, probability=self.probability[:, :count].copy())
