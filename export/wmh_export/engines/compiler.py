"""TensorRT and TensorRT-RTX, whose interfaces are one: from an ONNX graph to an engine.

They take a graph as it is: its types say which precision each operator has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.backends.tensorrt_library import (
    MODULES,
    TensorRtLibrary,
    load_tensorrt,
    make_logger,
)
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.errors import ExportError
from wmh_runtime.files.user_cache import read_cache, user_cache_folder, write_cache

TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")  # of RTX
# How the log of a detailed build begins the line of a kernel that a whole attention became.
_FUSED_ATTENTION = "Name: _gemm_mha_v2"


def toolkit_named(name: str) -> TensorRtLibrary:
    """Import a library by its name.

    Raises:
        ExportError: there is none of this name.
        BackendError: it is not installed, or too old.
    """
    for kind in MODULES:
        if kind == name:
            return load_tensorrt(kind)
    raise ExportError(
        f"there is no runtime {name}", f"Choose from: {', '.join(MODULES)}.", about="--runtime"
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
    toolkit: TensorRtLibrary,
    graph: Path,
    profile: BatchProfile,
    slice_in: tuple[int, int, int],
    *,
    targets: Sequence[str] = (),
    gpu: Gpu | None = None,
) -> Compiled:
    """Compile a graph.

    Args:
        toolkit: to build with.
        graph: strongly typed.
        profile: of its batches, in slices.
        slice_in: (C, S, S).
        targets: compute capabilities, of RTX.
        gpu: at hand, of TensorRT.

    Raises:
        ExportError: the library refuses the graph or a target.
    """
    library = toolkit.library
    log = make_logger(library)
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
    aim = (
        _aimed_at_targets(toolkit, config, targets)
        if gpu is None
        else _aimed_at(gpu, toolkit, config)
    )
    with aim:
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"{toolkit.kind} built nothing: {log.reason}", about=graph)
    return Compiled(bytes(plan), log.lines)


@contextmanager
def _aimed_at_targets(
    toolkit: TensorRtLibrary, config: Any, targets: Sequence[str]
) -> Iterator[None]:
    config.num_compute_capabilities = len(targets)
    for i, target in enumerate(targets):
        capability = getattr(toolkit.library.ComputeCapability, target.upper())
        if not config.set_compute_capability(capability, i):
            raise ExportError(f"{toolkit.kind} {toolkit.version} does not build for {target}")
    yield


@contextmanager
def _aimed_at(gpu: Gpu, toolkit: TensorRtLibrary, config: Any) -> Iterator[None]:
    """Remember between builds how long each kernel takes here: a second build is much shorter."""
    model = re.sub(r"\W+", "-", gpu.name)
    path = user_cache_folder() / f"tensorrt-{toolkit.version}-{model}.timing"
    if not config.set_timing_cache(config.create_timing_cache(read_cache(path)), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)  # of another driver
    yield
    timings = bytes(config.get_timing_cache().serialize())
    write_cache(path, timings, "how long kernels take cannot be remembered")
