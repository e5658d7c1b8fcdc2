"""Eight views around a graph of one: every symmetry in one batch, turned back and averaged.

Built node by node from the table of views, so that a graph of any precision gets the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from wmh_runtime.tta import VIEWS, View

_LOOKED_AT, _SEEN = "views", "seen"
_SWAPPED = (0, 1, 3, 2)
_PAST_THE_START = np.iinfo(np.int64).min


def with_eight_views(one_view: ModelProto) -> ModelProto:
    """Return a graph that gives the mean of what another gives for the eight views of its input.

    Args:
        one_view: [N, C, S, S] to [N, K, S, S], the batch N open; left as it is.
    """
    model = ModelProto()
    model.CopyFrom(one_view)
    graph = model.graph
    image, probability = graph.input[0].name, graph.output[0].name
    inner = list(graph.node)
    for node in inner:
        _rename(node, {image: _LOOKED_AT, probability: _SEEN})

    looking = _Nodes("looking")
    views = [_flip(view, _transpose(view, image, looking), looking) for view in VIEWS]
    looking.add("Concat", views, [_LOOKED_AT], axis=0)

    averaging = _Nodes("averaging")
    seen = [f"{_SEEN}_{i}" for i in range(len(VIEWS))]
    averaging.add("Split", [_SEEN], seen, axis=0, num_outputs=len(VIEWS))
    undone = [
        _transpose(view, _flip(view, one, averaging), averaging)
        for view, one in zip(VIEWS, seen, strict=True)
    ]
    averaging.add("Mean", undone, [probability])

    del graph.node[:]
    graph.node.extend([*looking.nodes, *inner, *averaging.nodes])
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in {**looking.constants, **averaging.constants}.items()
    )
    del graph.value_info[:]  # shapes of N views, not of 8 N
    return model


class _Nodes:
    """A list of nodes in the making."""

    def __init__(self, place: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, tuple[int, ...]] = {}
        self._place = place

    def add(
        self, operator: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any
    ) -> str:
        """Add a node and return the name of its first output."""
        name = f"{self._place}/{operator}_{len(self.nodes)}"
        outputs = outputs or [f"{name}_output"]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name, **attributes))
        return outputs[0]

    def constant(self, values: tuple[int, ...]) -> str:
        """Add a list of integers and return its name."""
        name = f"{self._place}/{'_'.join(map(str, values))}"
        self.constants[name] = values
        return name


def _transpose(view: View, image: str, nodes: _Nodes) -> str:
    return nodes.add("Transpose", [image], perm=_SWAPPED) if view.transpose else image


def _flip(view: View, image: str, nodes: _Nodes) -> str:
    axes = view.flipped_axes
    if not axes:
        return image
    backwards = (-1,) * len(axes)  # from the last, in steps of −1
    bounds = [backwards, (_PAST_THE_START,) * len(axes), axes, backwards]
    return nodes.add("Slice", [image, *map(nodes.constant, bounds)])


def _rename(node: NodeProto, new: dict[str, str]) -> None:
    for names in (node.input, node.output):
        for i, name in enumerate(names):
            names[i] = new.get(name, name)
