"""Test-time augmentation inside the graph: run all eight views as one batch and average them.

The nodes are built from the table of views (`wmh_runtime.tta.VIEWS`), so graphs of every precision
get the same ones. The names of nodes and tensors are part of the graph's bytes, and so of the
model id: do not change them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from wmh_runtime.tta import VIEWS, View

_NETWORK_INPUT, _NETWORK_OUTPUT = "views", "seen"
_SWAP_ROWS_AND_COLUMNS = (0, 1, 3, 2)
_TO_THE_START = np.iinfo(np.int64).min  # end of a Slice with step −1 that includes index 0


def with_eight_views(one_view: ModelProto, *, has_mean: bool = True) -> ModelProto:
    """Return a graph that averages the output of another graph over the eight views of its input.

    Args:
        one_view: [N, C, S, S] to [N, K, S, S], with a dynamic batch size N; not changed.
        has_mean: whether what executes the graph has the operator Mean. If not, it is a sum and a
            product.
    """
    model = ModelProto()
    model.CopyFrom(one_view)
    graph = model.graph
    image, probability = graph.input[0].name, graph.output[0].name
    network = list(graph.node)
    for node in network:
        _rename_tensors(node, {image: _NETWORK_INPUT, probability: _NETWORK_OUTPUT})

    before = _NodeList("looking")
    views = [_flip(view, _transpose(view, image, before), before) for view in VIEWS]
    before.add("Concat", views, [_NETWORK_INPUT], axis=0)

    after = _NodeList("averaging")
    outputs = [f"{_NETWORK_OUTPUT}_{i}" for i in range(len(VIEWS))]
    after.add("Split", [_NETWORK_OUTPUT], outputs, axis=0, num_outputs=len(VIEWS))
    restored = [
        _transpose(view, _flip(view, output, after), after)
        for view, output in zip(VIEWS, outputs, strict=True)
    ]
    if has_mean:
        after.add("Mean", restored, [probability])
    else:
        share = numpy_helper.from_array(np.array(1 / len(VIEWS), np.float32), "averaging/share")
        graph.initializer.append(share)
        after.add("Mul", [after.add("Sum", restored), share.name], [probability])

    del graph.node[:]
    graph.node.extend([*before.nodes, *network, *after.nodes])
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in {**before.constants, **after.constants}.items()
    )
    del graph.value_info[:]  # shapes for a batch of N; the network now runs on 8 N
    return model


class _NodeList:
    """Nodes with a common name prefix, and their constants."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, tuple[int, ...]] = {}
        self._prefix = prefix

    def add(
        self, operator: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any
    ) -> str:
        """Add a node and return the name of its first output."""
        name = f"{self._prefix}/{operator}_{len(self.nodes)}"
        outputs = outputs or [f"{name}_output"]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name, **attributes))
        return outputs[0]

    def add_constant(self, values: tuple[int, ...]) -> str:
        """Add a list of integers and return its name."""
        name = f"{self._prefix}/{'_'.join(map(str, values))}"
        self.constants[name] = values
        return name


def _transpose(view: View, image: str, nodes: _NodeList) -> str:
    if not view.transpose:
        return image
    return nodes.add("Transpose", [image], perm=_SWAP_ROWS_AND_COLUMNS)


def _flip(view: View, image: str, nodes: _NodeList) -> str:
    axes = view.flipped_axes
    if not axes:
        return image
    minus_ones = (-1,) * len(axes)
    starts, ends, steps = minus_ones, (_TO_THE_START,) * len(axes), minus_ones
    slice_inputs = [nodes.add_constant(values) for values in (starts, ends, axes, steps)]
    return nodes.add("Slice", [image, *slice_inputs])


def _rename_tensors(node: NodeProto, new_names: dict[str, str]) -> None:
    for names in (node.input, node.output):
        for i, name in enumerate(names):
            names[i] = new_names.get(name, name)
