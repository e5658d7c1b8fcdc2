"""Describe the machine of a measurement: CPU, memory, GPUs, library versions."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

import psutil
from pydantic import Field

from wmh_runtime.machine import available_cores, cpu_info, cpu_name
from wmh_runtime.schema import StrictModel

_LIBRARIES = (
    *("wmh-lora", "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("tensorrt", "tensorrt-rtx", "cuda-bindings", "pycuda"),
)
_INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
# Columns of nvidia-smi, which is installed with every driver; in the order of the fields of `Gpu`.
_COLUMNS = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "power.limit")
_TIMEOUT_S = 20


class Gpu(StrictModel):
    """A GPU as nvidia-smi describes it. None: nvidia-smi does not report the value."""

    name: str
    driver: str
    memory_mib: float | None
    clock_mhz: float | None = Field(
        description="of the streaming multiprocessors, before the measurement"
    )
    max_clock_mhz: float | None
    power_limit_w: float | None


class Machine(StrictModel):
    """CPU, memory, GPUs and library versions. The host name is not included."""

    cpu: str
    cores: int = Field(description="CPU cores that this process may use")
    clock_mhz: float | None = Field(description="of the CPU, before the measurement")
    memory_gb: float
    instructions: list[str] = Field(description="instruction sets of the CPU")
    gpus: list[Gpu]
    system: str
    python: str
    versions: dict[str, str] = Field(description="by library")


def describe_machine() -> Machine:
    """Describe this machine."""
    flags = cpu_info().get("flags", "").split()
    return Machine(
        cpu=cpu_name(),
        cores=available_cores(),
        clock_mhz=_cpu_clock_mhz(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        instructions=[flag for flag in _INSTRUCTION_SETS if flag in flags],
        gpus=_list_gpus(),
        system=platform.system(),
        python=platform.python_version(),
        versions=_library_versions(),
    )


def read_clock_mhz(gpu_index: int | None) -> float | None:
    """Return the present clock of a GPU or of the CPU in MHz. None: it cannot be read.

    Args:
        gpu_index: as nvidia-smi counts, from 0. None: the CPU.
    """
    if gpu_index is None:
        return _cpu_clock_mhz()
    gpus = _list_gpus()
    return gpus[gpu_index].clock_mhz if gpu_index < len(gpus) else None


def _cpu_clock_mhz() -> float | None:
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return round(frequency.current) if frequency and frequency.current else None


def _list_gpus() -> list[Gpu]:
    """Run nvidia-smi. Return no GPU if it is missing or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, f"--query-gpu={','.join(_COLUMNS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_nvidia_smi(done.stdout)


def parse_nvidia_smi(table: str) -> list[Gpu]:
    """Parse the output of nvidia-smi: one line per GPU, values separated by commas."""
    gpus = []
    for line in table.strip().splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_COLUMNS):  # for example: No devices were found
            continue
        name, driver, *numbers = cells
        memory_mib, clock_mhz, max_clock_mhz, power_w = map(_parse_number, numbers)
        gpus.append(
            Gpu(
                name=name,
                driver=driver,
                memory_mib=memory_mib,
                clock_mhz=clock_mhz,
                max_clock_mhz=max_clock_mhz,
                power_limit_w=power_w,
            )
        )
    return gpus


def _parse_number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:  # for example [N/A]
        return None


def _library_versions() -> dict[str, str]:
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions
