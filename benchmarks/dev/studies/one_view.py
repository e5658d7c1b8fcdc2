"""Segment with a trained network in one view, before it is calibrated and exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.preprocessing.slices.planes import Plane
from wmh_train.checkpoint import load_metadata, load_network
from wmh_train.torch_backend import TorchBackend, segmentation_model

_THRESHOLD = 0.5  # nothing is calibrated, so that all networks are treated alike


@contextmanager
def open_segmenter(training: Path, planes: Sequence[Plane] = ()) -> Iterator[Segmenter]:
    """Open a segmenter with one view of a trained network.

    Args:
        training: folder with its checkpoint.
        planes: to segment in; empty: those of its recipe.
    """
    metadata = load_metadata(training)
    recipe = metadata.recipe
    network = load_network(training, metadata, None)
    outputs = [Output(name=name, threshold=_THRESHOLD, min_lesion_mm3=0) for name in recipe.outputs]
    if planes:
        preprocessing = recipe.preprocessing.model_copy(update={"planes": tuple(planes)})
        recipe = recipe.model_copy(update={"preprocessing": preprocessing})
    with ExitStack() as stack:
        backend = stack.enter_context(TorchBackend(network, recipe, views=1))
        yield stack.enter_context(Segmenter(segmentation_model(recipe, outputs), [backend]))
