"""Compile an ONNX graph to an engine with TensorRT or TensorRT-RTX, which share one interface.

The graphs are strongly typed: each operator computes in the precision that the graph gives it.
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

RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")  # that TensorRT-RTX builds for
# In a detailed build log, the line of a fused attention kernel starts with this.
_FUSED_ATTENTION_KERNEL = "Name: _gemm_mha_v2"


def load_tensorrt_by_name(name: str) -> TensorRtLibrary:
    """Import TensorRT or TensorRT-RTX.

    Args:
        name: rtx or tensorrt.

    Raises:
        ExportError: there is no runtime with this name.
        BackendError: the library is not installed, or too old.
    """
    for kind in MODULES:
        if kind == name:
            return load_tensorrt(kind)
    raise ExportError(
        f"there is no runtime {name}", f"Choose from: {', '.join(MODULES)}.", about="runtime"
    )


@dataclass(frozen=True)
class CompiledEngine:
    """A serialized engine, the lines of its build log, and how many layers are attention."""

    plan: bytes
    log: list[str]
    attention_layers: int

    @property
    def fused_attention_layers(self) -> int:
        """The number of attention layers that were fused into one kernel."""
        return sum(line.startswith(_FUSED_ATTENTION_KERNEL) for line in self.log)


def compile_graph(
    tensorrt: TensorRtLibrary,
    graph: Path,
    profile: BatchProfile,
    input_shape: tuple[int, int, int],
    *,
    targets: Sequence[str] = (),
    gpu: Gpu | None = None,
) -> CompiledEngine:
    """Compile a graph.

    Args:
        tensorrt: library that compiles.
        graph: ONNX file, strongly typed.
        profile: batch sizes, in slices.
        input_shape: (C, S, S).
        targets: TensorRT-RTX only: compute capabilities, such as sm89.
        gpu: TensorRT only: the GPU of this machine.

    Raises:
        ExportError: the library rejects the graph or a target.
    """
    module = tensorrt.module
    log = make_logger(module)
    builder = module.Builder(log)
    network = builder.create_network(0)
    parser = module.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        problems = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ExportError(f"{tensorrt.kind} rejects the graph: {problems}", about=graph)
    config = builder.create_builder_config()
    # Only a detailed log names the kernels.
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    shapes = builder.create_optimization_profile()
    batches = (profile.min, profile.opt, profile.max)
    shapes.set_shape(network.get_input(0).name, *((batch, *input_shape) for batch in batches))
    config.add_optimization_profile(shapes)
    context = (
        _for_targets(tensorrt, config, targets)
        if gpu is None
        else _with_timing_cache(tensorrt, config, gpu)
    )
    with context:
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"{tensorrt.kind} built no engine: {log.reason}", about=graph)
    return CompiledEngine(bytes(plan), log.lines, _count_attention_layers(module, network))


def _count_attention_layers(module: Any, network: Any) -> int:
    """Count the softmax layers: every attention layer has one, and no other layer has any."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    return sum(layer.type == module.LayerType.SOFTMAX for layer in layers)


@contextmanager
def _for_targets(tensorrt: TensorRtLibrary, config: Any, targets: Sequence[str]) -> Iterator[None]:
    """Build for these compute capabilities."""
    config.num_compute_capabilities = len(targets)
    for i, target in enumerate(targets):
        capability = getattr(tensorrt.module.ComputeCapability, target.upper())
        if not config.set_compute_capability(capability, i):
            raise ExportError(f"{tensorrt.kind} {tensorrt.version} does not build for {target}")
    yield


@contextmanager
def _with_timing_cache(tensorrt: TensorRtLibrary, config: Any, gpu: Gpu) -> Iterator[None]:
    """Reuse the kernel timings of earlier builds, which makes a build much shorter."""
    model = re.sub(r"\W+", "-", gpu.name)
    path = user_cache_folder() / f"tensorrt-{tensorrt.version}-{model}.timing"
    if not config.set_timing_cache(config.create_timing_cache(read_cache(path)), False):
        # The file was written with another driver: start with an empty cache.
        config.set_timing_cache(config.create_timing_cache(b""), False)
    yield
    timings = bytes(config.get_timing_cache().serialize())
    write_cache(path, timings, "cannot save TensorRT's kernel timings")
