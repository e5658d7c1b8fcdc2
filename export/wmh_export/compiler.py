"""TensorRT and TensorRT-RTX, whose interfaces are one: from an ONNX graph to an engine.

They take a graph as it is: its types say which precision each operator has.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmh_runtime.atomic import write_bytes_atomically
from wmh_runtime.caches import cache_folder
from wmh_runtime.errors import ExportError
from wmh_runtime.manifest import BatchProfile, EngineKind

TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")  # of RTX
# How the log of a detailed build begins the line of a kernel that a whole attention became.
_FUSED_ATTENTION = "Name: _gemm_mha_v2"
_MODULES: dict[EngineKind, str] = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class Toolkit:
    """One of the two libraries."""

    kind: EngineKind
    library: Any

    @property
    def version(self) -> str:
        """Of the library; no other runs what it builds."""
        return str(self.library.__version__)


def load_toolkit(name: str) -> Toolkit:
    """Import a library.

    Raises:
        ExportError: there is none of this name, or it is not installed.
    """
    for kind, module in _MODULES.items():
        if kind == name:
            try:
                return Toolkit(kind, importlib.import_module(module))
            except ImportError as error:
                advice = f"Run in the project's folder: pip install '.[{kind}]'"
                raise ExportError("is not installed", advice, about=module) from error
    raise ExportError(
        f"there is no runtime {name}", f"Choose from: {', '.join(_MODULES)}.", about="--runtime"
    )


@dataclass(frozen=True)
class Compiled:
    """An engine, and what the log of its build says."""

    plan: bytes
    log: list[str]  # its lines

    @property
    def fused_attention(self) -> int:
        """How many attention layers became one kernel."""
        return sum(line.startswith(_FUSED_ATTENTION) for line in self.log)


def compile_graph(
    toolkit: Toolkit,
    graph: Path,
    targets: Sequence[str],
    profile: BatchProfile,
    slice_in: tuple[int, int, int],
) -> Compiled:
    """Compile a graph.

    Args:
        toolkit: to build with.
        graph: strongly typed.
        targets: compute capabilities; TensorRT builds for the GPU at hand whatever they are.
        profile: of its batches, in slices.
        slice_in: (C, S, S).

    Raises:
        ExportError: the library refuses the graph or a target.
    """
    library = toolkit.library
    log = _log_of(library)
    builder = library.Builder(log)
    network = builder.create_network(0)
    parser = library.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        problems = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ExportError(f"{toolkit.kind} refuses the graph: {problems}", about=graph)
    config = builder.create_builder_config()
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED  # the log names kernels
    shapes = builder.create_optimization_profile()
    batches = (profile.least, profile.best, profile.most)
    shapes.set_shape(network.get_input(0).name, *((batch, *slice_in) for batch in batches))
    config.add_optimization_profile(shapes)
    aim = _aim_at_targets if toolkit.kind == "rtx" else _aim_at_this_gpu
    with aim(toolkit, config, targets):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        reason = log.errors[-1] if log.errors else "it gave no reason"
        raise ExportError(f"{toolkit.kind} built nothing: {reason}", about=graph)
    return Compiled(bytes(plan), log.lines)


@contextmanager
def _aim_at_targets(toolkit: Toolkit, config: Any, targets: Sequence[str]) -> Iterator[None]:
    config.num_compute_capabilities = len(targets)
    for i, target in enumerate(targets):
        capability = getattr(toolkit.library.ComputeCapability, target.upper())
        if not config.set_compute_capability(capability, i):
            raise ExportError(f"{toolkit.kind} {toolkit.version} does not build for {target}")
    yield


@contextmanager
def _aim_at_this_gpu(toolkit: Toolkit, config: Any, targets: Sequence[str]) -> Iterator[None]:
    """Remember between builds how long each kernel takes here: a second build is much shorter."""
    path = cache_folder() / f"tensorrt-{toolkit.version}-{'-'.join(targets)}.timing"
    known = path.read_bytes() if path.exists() else b""
    config.set_timing_cache(config.create_timing_cache(known), False)
    yield
    write_bytes_atomically(path, bytes(config.get_timing_cache().serialize()))


def _log_of(library: Any) -> Any:
    """Make a logger that keeps every line; its base class comes from the library."""

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lines: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.lines.extend(message.splitlines())
            if severity in (library.ILogger.ERROR, library.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()
