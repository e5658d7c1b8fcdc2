"""Verification: whatever executes a graph on this machine is asked what the network was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.answers import Answers, ask
from wmh_runtime.backends.graph import GraphBackend
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.bundle import Bundle
from wmh_runtime.errors import BackendError
from wmh_runtime.parity import Data, Parity, measure_parity
from wmh_runtime.questions import scan_questions
from wmh_runtime.types import GraphPrecision, NetworkShape, Precision, Views

_SCAN_SLICES = 8
_OF_THEM_IN_EIGHT_VIEWS = 1
_ALSO: dict[GraphPrecision, tuple[Precision, ...]] = {"fp32": ("bf16",)}


@dataclass(frozen=True)
class GraphFile:
    """A graph on disk, in a bundle or on its way into one."""

    path: Path
    precision: GraphPrecision
    views: Views


def measure_graph(
    graph: GraphFile,
    shape: NetworkShape,
    asked: Mapping[Data, Answers],
    thresholds: Sequence[float],
    backends: Sequence[type[GraphBackend]],
) -> Iterator[Parity]:
    """Execute a graph with each backend, in each precision that it runs it in here.

    Args:
        graph: to execute.
        shape: of the network in it.
        asked: what the network was asked.
        thresholds: of the K outputs, for the masks.
        backends: installed.

    Raises:
        BackendError: an execution failed, or the network finds no lesion in the slices.
    """
    for backend in backends:
        here = (*backend.precisions_here(), *backend.emulates)
        for precision in (graph.precision, *_ALSO.get(graph.precision, ())):
            if precision in here:
                with backend(graph.path, shape, precision=precision) as candidate:
                    for data, answers in asked.items():
                        yield measure_parity(answers, candidate, graph.views, thresholds, data)


def verify(
    bundle: Bundle,
    backends: Sequence[type[GraphBackend]],
    scans: Path | None,
    on_measured: Callable[[Parity], None],
) -> list[Parity]:
    """Execute every graph of a bundle on this machine and compare with the trained network.

    Args:
        bundle: open, so its files are those of its manifest.
        backends: to execute with, installed.
        scans: folder of a user's scans; on these the float32 graph stands for the network.
        on_measured: is told of each comparison.

    Raises:
        BackendError: an execution failed.
        InputError: the scans cannot be used.
    """
    manifest = bundle.manifest
    asked: dict[Data, Answers] = {"phantoms": bundle.answers()}
    if scans is not None:
        asked["scans"] = _ask_about_scans(bundle, scans)
    measured = []
    for graph in manifest.graphs:
        file = GraphFile(bundle.path_of(graph), graph.precision, graph.views)
        for parity in measure_graph(
            file, manifest.network_shape, asked, manifest.thresholds, backends
        ):
            on_measured(parity)
            measured.append(parity)
    if not measured:
        raise BackendError(
            "none of these backends executes any of the bundle's graphs", "Choose another backend."
        )
    return measured


def _ask_about_scans(bundle: Bundle, scans: Path) -> Answers:
    manifest = bundle.manifest
    questions = scan_questions(scans, manifest.preparation, len(manifest.channels), _SCAN_SLICES)
    with OnnxRuntimeBackend.of_bundle(bundle, views=1, precision="fp32") as network:
        return ask(network, questions, manifest.thresholds, _OF_THEM_IN_EIGHT_VIEWS)
