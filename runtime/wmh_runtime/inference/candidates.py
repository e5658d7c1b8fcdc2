"""Every way in which a backend can execute a bundle here, to compare each with the network."""

from __future__ import annotations

from collections.abc import Iterator

from wmh_runtime.backends.registry import (
    CPU_BACKENDS,
    find_backend,
    graph_provider,
    installed_backends,
)
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.conformance.verify import Candidate, GraphFile, executions
from wmh_runtime.errors import InputError
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import build_unverified, list_backends
from wmh_runtime.precision import STORED_PRECISION
from wmh_runtime.tta import VIEW_COUNTS, VIEWS


def list_candidates(bundle: Bundle, name: str, gpus: tuple[int, ...]) -> list[Candidate]:
    """Return a backend for each number of views and each precision. None of them is open.

    Args:
        bundle: an open bundle.
        name: of a backend, in upper or lower case; empty: all CPU backends that are installed.
        gpus: index of the GPU that executes it; empty: the first. For GPU backends only.

    Raises:
        InputError: there is no such backend, or it takes no GPU.
        BackendError: it is not installed, or cannot be used here.
        BundleError: the bundle has no graph or engine for it.
    """
    precisions = dict(list_backends())
    if name and name.lower() not in precisions:
        advice = f"Choose from: {', '.join(precisions)}."
        raise InputError(f"there is no backend {name}", advice, about="backend")
    if name.lower() in ("", *(kind.name for kind in CPU_BACKENDS)):
        if gpus:
            advice = "Leave it out, or choose another backend."
            raise InputError("CPU backends take no GPU", advice, about="gpus")
        return list(_cpu_candidates(bundle, name))
    return list(_gpu_candidates(bundle, name.lower(), gpus))


def _cpu_candidates(bundle: Bundle, name: str) -> Iterator[Candidate]:
    """Yield what a run executes on a CPU: the graph of one view, in one view and in eight."""
    kinds = [find_backend(name)] if name else installed_backends()
    shape = bundle.manifest.network_shape
    for graph in bundle.manifest.graphs:
        if graph.views == 1 and not graph.provider:
            file = GraphFile(bundle.path_of(graph), graph.precision, graph.views)
            for views in VIEW_COUNTS:
                for backend in executions(file, shape, kinds, VIEWS[:views]):
                    yield Candidate(backend, views)


def _gpu_candidates(bundle: Bundle, name: str, gpus: tuple[int, ...]) -> Iterator[Candidate]:
    precisions = dict(list_backends())[name]
    stored = [STORED_PRECISION[precision] for precision in precisions]
    provider = graph_provider(name)
    graphs = [
        graph
        for graph in bundle.manifest.graphs
        if graph.precision in stored and graph.provider == provider
    ]
    if not graphs:  # raise the error that says so
        bundle.graph(views=8, precision=precisions[-1], provider=provider)
    for graph in graphs:
        options = BackendOptions(views=graph.views, precision=graph.precision, gpus=gpus)
        for backend in build_unverified(bundle, name, options):
            yield Candidate(backend, graph.views)
