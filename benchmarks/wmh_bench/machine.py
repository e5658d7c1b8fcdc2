"""The machine a measurement was made on, as far as it decides the figures."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import psutil

from wmh_runtime.machine import cpu_facts, processor
from wmh_runtime.strict import Strict

_LIBRARIES = (
    *("wmh-lora", "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tensorrt", "tensorrt-rtx", "cuda-bindings"),
)
_OF_INTEREST = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


class Machine(Strict):
    """A processor, its memory and the libraries on it."""

    processor: str
    cores: int
    memory_gb: float
    instructions: list[str]
    system: str
    python: str
    versions: dict[str, str]


def this_machine() -> Machine:
    """Describe the machine at hand; its name is left out."""
    flags = cpu_facts().get("flags", "").split()
    return Machine(
        processor=processor(),
        cores=psutil.cpu_count() or 1,
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        instructions=[flag for flag in _OF_INTEREST if flag in flags],
        system=platform.system(),
        python=platform.python_version(),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
