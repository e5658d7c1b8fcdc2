"""PyTorch as a runtime backend, so that calibration and parity use the runtime's own path."""

from __future__ import annotations

import torch

from wmh_runtime.backends.base import BlockingBackend
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats, NetworkShape
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView
from wmh_train.recipe.recipe import Recipe


class TorchBackend(BlockingBackend):
    """Executes a network, eight views or one, on the device it lies on, in its weights' precision.

    Args:
        network: of float32 or float64; put into evaluation mode and the layout that is fastest.
        recipe: that the network was built from.
        views: 8 or 1.
        batch_size: slices executed at a time.
    """

    name = "torch"
    precision: Precision = "fp32"

    def __init__(
        self, network: WmhNetwork, recipe: Recipe, *, views: int = 8, batch_size: int = 1
    ) -> None:
        super().__init__(self.shape_of(recipe), batch_size)
        weight = next(network.parameters(), torch.empty(0))
        self._device, self._dtype = weight.device, weight.dtype
        self.device = self._device.type
        self._module = EightViews(network) if views > 1 else OneView(network)

    @staticmethod
    def shape_of(recipe: Recipe) -> NetworkShape:
        """Return C, K and S of a recipe's network."""
        return NetworkShape(len(recipe.channels), len(recipe.outputs), recipe.preprocessing.size_px)

    @property
    def versions(self) -> dict[str, str]:
        """The version of PyTorch."""
        return {"torch": torch.__version__}

    def _open(self) -> None:
        self._module.eval()
        # The layout oneDNN is fastest in; torch's type stubs do not know of it.
        self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _close(self) -> None:
        """Nothing is held beyond the network, which is the caller's."""

    def _execute(self, batch: Floats) -> Floats:
        with torch.inference_mode():
            probability = self._module(torch.from_numpy(batch).to(self._device, self._dtype))
        given: Floats = probability.float().cpu().numpy()
        return given
