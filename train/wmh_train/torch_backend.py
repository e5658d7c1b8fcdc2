"""PyTorch as a runtime backend, so that calibration and parity use the same code as inference."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wmh_runtime.backends.base import BlockingBackend
from wmh_runtime.inference.segmenter import SegmentationModel
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView
from wmh_train.recipe.recipe import Recipe


def segmentation_model(recipe: Recipe, outputs: Sequence[Output]) -> SegmentationModel:
    """Say what decides the masks of a recipe's network, with these thresholds and sizes."""
    return SegmentationModel(
        recipe.channels,
        recipe.preprocessing,
        outputs,
        regions=recipe.regions,
        interchangeable=recipe.interchangeable,
    )


class TorchBackend(BlockingBackend):
    """Runs a network with one view or eight, on the network's device and in its precision.

    Args:
        network: float32 or float64. It is set to evaluation mode and to the fastest memory format.
        recipe: recipe that the network was built from.
        views: 8 or 1.
        batch_size: slices per forward pass.
    """

    name = "torch"
    precision: Precision = "fp32"

    def __init__(
        self, network: WmhNetwork, recipe: Recipe, *, views: int = 8, batch_size: int = 1
    ) -> None:
        super().__init__(recipe.network_shape, batch_size)
        weight = next(network.parameters(), torch.empty(0))
        self._device, self._dtype = weight.device, weight.dtype
        self.device = self._device.type
        self._module = EightViews(network) if views > 1 else OneView(network)

    @property
    def versions(self) -> dict[str, str]:
        """The version of PyTorch."""
        return {"torch": torch.__version__}

    def _open(self) -> None:
        self._module.eval()
        # oneDNN is fastest with channels_last; PyTorch's type stubs lack this argument.
        self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _close(self) -> None:
        """Do nothing: the network belongs to the caller."""

    def _execute(self, batch: Floats) -> Floats:
        with torch.inference_mode():
            probability = self._module(torch.from_numpy(batch).to(self._device, self._dtype))
        result: Floats = probability.float().cpu().numpy()
        return result
