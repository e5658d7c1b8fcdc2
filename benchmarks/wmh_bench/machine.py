"""The machine a measurement was made on, as far as it decides the figures."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

_LIBRARIES = ("wmh-lora", "torch", "onnxruntime", "openvino", "tensorrt-rtx", "numpy")
_CPU_INFO = Path("/proc/cpuinfo")
_OF_INTEREST = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


class Machine(BaseModel):
    """A processor, its memory and the libraries on it."""

    model_config = ConfigDict(frozen=True)

    processor: str
    cores: int
    memory_gb: float
    instructions: list[str]
    system: str
    python: str
    versions: dict[str, str]


def this_machine() -> Machine:
    """Describe the machine at hand; its name is left out."""
    info = _CPU_INFO.read_text(encoding="utf-8") if _CPU_INFO.exists() else ""
    lines = (line.partition(":") for line in info.splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    flags = facts.get("flags", "").split()
    return Machine(
        processor=facts.get("model name") or platform.processor() or platform.machine(),
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
