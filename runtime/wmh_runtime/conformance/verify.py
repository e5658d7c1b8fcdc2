"""Verification: execute a bundle here and compare with the reference outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.backends.base import Backend
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
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import NotInstalledError
from wmh_runtime.precision import STORED_PRECISION, GraphPrecision
from wmh_runtime.text import install_advice
from wmh_runtime.tta import VIEWS, View, Views
from wmh_runtime.types import NetworkShape

SCAN_SLICES_IN_EIGHT_VIEWS = 1  # a slice in eight views takes eight times as long


@dataclass(frozen=True)
class GraphFile:
    """A graph file, in a bundle or in a bundle that is being built."""

    path: Path
    precision: GraphPrecision
    views: Views


@dataclass(frozen=True)
class Candidate:
    """A backend to compare with the trained network. It is not open yet."""

    backend: Backend
    views: Views  # that it averages


def executions(
    graph: GraphFile,
    shape: NetworkShape,
    backends: Sequence[type[CpuBackend]],
    views: Sequence[View] = VIEWS[:1],
) -> Iterator[CpuBackend]:
    """Yield each backend in each precision that executes a graph here; none of them is open.

    Args:
        graph: the graph to execute.
        shape: channels, outputs and slice size of the network.
        backends: installed backends.
        views: in which it is executed.
    """
    for backend in backends:
        for precision in (*backend.supported_precisions(), *backend.emulated_precisions):
            if STORED_PRECISION[precision] == graph.precision:
                yield backend(graph.path, shape, precision=precision, views=views)


def measure_graph(
    graph: GraphFile,
    shape: NetworkShape,
    references: Sequence[ReferenceOutputs],
    backends: Sequence[type[CpuBackend]],
) -> Iterator[Parity]:
    """Measure the parity of a graph with each backend, in each precision that executes it here.

    Args:
        graph: the graph to execute.
        shape: channels, outputs and slice size of the network.
        references: reference outputs to compare with.
        backends: installed backends.

    Raises:
        BackendError: the execution failed, or the masks of the reference outputs are empty.
    """
    for backend in executions(graph, shape, backends):
        yield from _measure(Candidate(backend, graph.views), references)


def verify(
    bundle: Bundle,
    candidates: Sequence[Candidate],
    scans: Sequence[Case],
    on_measured: Callable[[Parity], None],
    on_warning: Callable[[str], None],
) -> list[Parity]:
    """Execute a bundle on this machine and compare with the reference outputs.

    Args:
        bundle: an open bundle.
        candidates: backends to execute it with.
        scans: may be empty. The bundle has no reference outputs for scans. So the
            float32 graph of one view gives them, on the CPU, with ONNX Runtime if it is installed.
        on_measured: called with each measurement.
        on_warning: called with a sentence if the scans cannot be compared.

    Returns:
        All measurements, at least one.

    Raises:
        BackendError: the execution failed, or no backend is installed.
        InputError: the scans cannot be used.
    """
    if not candidates:
        raise NotInstalledError("no backend is installed", install_advice("cpu"))
    references = [load_reference_outputs(bundle)]
    own_reference = ""  # library that computed the reference outputs of the scans
    if scans:
        scan_backend, *_ = installed_backends() or [OnnxRuntimeBackend]
        scan_reference = _compute_scan_reference(bundle, scan_backend, scans)
        if scan_reference.has_findings:
            own_reference = scan_backend.name
            references.append(scan_reference)
        else:
            kind = scan_reference.kind
            on_warning(f"no {kind} is found in the scans: compared on phantoms only")
    measured = []
    for candidate in candidates:
        for parity in _measure(candidate, references):
            if parity.data == "scans" and parity.key == (own_reference, "fp32", 1):
                continue  # this would compare the graph with itself
            on_measured(parity)
            measured.append(parity)
    return measured


def _measure(candidate: Candidate, references: Sequence[ReferenceOutputs]) -> Iterator[Parity]:
    with candidate.backend as backend:
        for reference in references:
            yield measure_parity(reference, backend, candidate.views)


def _compute_scan_reference(
    bundle: Bundle, backend: type[CpuBackend], scans: Sequence[Case]
) -> ReferenceOutputs:
    manifest = bundle.manifest
    probes, _ = scan_probes(scans, manifest.preprocessing, manifest.channels)
    with backend.from_bundle(bundle, views=1, precision="fp32") as network:
        return compute_reference_outputs(
            network,
            probes,
            manifest.thresholds,
            SCAN_SLICES_IN_EIGHT_VIEWS,
            len(manifest.regions),
        )
