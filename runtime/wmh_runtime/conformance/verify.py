"""Verification: whatever executes a graph on this machine is asked what the network was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.registry import installed_backends
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.probe_slices import scan_probes
from wmh_runtime.conformance.reference_outputs import (
    ReferenceOutputs,
    compute_reference_outputs,
    load_reference_outputs,
)
from wmh_runtime.errors import BackendError
from wmh_runtime.precision import WRITTEN_AS, GraphPrecision
from wmh_runtime.tta import Views
from wmh_runtime.types import NetworkShape

SCANS_IN_EIGHT_VIEWS = 1  # slices; each costs eight


@dataclass(frozen=True)
class GraphFile:
    """A graph on disk, in a bundle or on its way into one."""

    path: Path
    precision: GraphPrecision
    views: Views


def measure_graph(
    graph: GraphFile,
    shape: NetworkShape,
    asked: Sequence[ReferenceOutputs],
    backends: Sequence[type[CpuBackend]],
) -> Iterator[Parity]:
    """Execute a graph with each backend, in each precision that it runs it in here.

    Args:
        graph: to execute.
        shape: of the network in it.
        asked: what the network was asked.
        backends: installed.

    Raises:
        BackendError: an execution failed, or the network finds no lesion in the slices.
    """
    for backend in backends:
        for precision in (*backend.precisions_here(), *backend.emulates):
            if WRITTEN_AS[precision] == graph.precision:
                with backend(graph.path, shape, precision=precision) as candidate:
                    for answers in asked:
                        yield measure_parity(answers, candidate, graph.views)


def verify(
    bundle: Bundle,
    backends: Sequence[type[CpuBackend]],
    scans: Sequence[Path],
    on_measured: Callable[[Parity], None],
    on_warning: Callable[[str], None],
) -> list[Parity]:
    """Execute every graph of a bundle on this machine and compare with the trained network.

    Args:
        bundle: open, so its files are those of its manifest.
        backends: to execute with, installed.
        scans: of a user, or none; on these the float32 graph, of one view and executed by ONNX
            Runtime where that is installed, stands for the network.
        on_measured: is told of each comparison.
        on_warning: is told what could not be compared.

    Raises:
        BackendError: an execution failed, or nothing is installed that executes.
        InputError: the scans cannot be used.
    """
    if not backends:
        raise BackendError(
            "nothing that executes graphs is installed",
            "Run: pip install onnxruntime, or pip install openvino",
        )
    asked = [load_reference_outputs(bundle)]
    has_proven = OnnxRuntimeBackend in installed_backends()
    reference = OnnxRuntimeBackend if has_proven else backends[0]
    if scans:
        answers = _ask_about_scans(bundle, reference, scans)
        if answers.finds_lesions:
            asked.append(answers)
        else:
            on_warning("nothing is found in the scans: compared on phantoms alone")
    measured = []
    for graph in bundle.manifest.graphs:
        file = GraphFile(bundle.path_of(graph), graph.precision, graph.views)
        for parity in measure_graph(file, bundle.manifest.network_shape, asked, backends):
            if parity.data == "scans" and parity.kind == (reference.name, "fp32", 1):
                continue  # with itself
            on_measured(parity)
            measured.append(parity)
    return measured


def _ask_about_scans(
    bundle: Bundle, backend: type[CpuBackend], scans: Sequence[Path]
) -> ReferenceOutputs:
    manifest = bundle.manifest
    questions, _ = scan_probes(scans, manifest.preprocessing, len(manifest.channels))
    with backend.of_bundle(bundle, views=1, precision="fp32") as network:
        return compute_reference_outputs(
            network, questions, manifest.thresholds, SCANS_IN_EIGHT_VIEWS
        )
