"""The machine a measurement was made on, as far as it decides the figures."""

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
_OF_INTEREST = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
# What nvidia-smi, which comes with every driver, is asked for each GPU; the order of `Gpu`.
_ASKED = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "power.limit")
_WAIT_S = 20


class Gpu(StrictModel):
    """A GPU, as its driver describes it; None is what it does not tell."""

    name: str
    driver: str
    memory_mib: float | None
    clock_mhz: float | None = Field(description="of its multiprocessors, when it was asked")
    most_clock_mhz: float | None
    power_limit_w: float | None


class Machine(StrictModel):
    """A processor, its memory, GPUs and the libraries; the machine's name is left out."""

    processor: str
    cores: int = Field(description="that this process may use")
    clock_mhz: float | None = Field(description="of the processor, when it was asked")
    memory_gb: float
    instructions: list[str]
    gpus: list[Gpu]
    system: str
    python: str
    versions: dict[str, str]


def this_machine() -> Machine:
    """Describe the machine at hand."""
    flags = cpu_info().get("flags", "").split()
    return Machine(
        processor=cpu_name(),
        cores=available_cores(),
        clock_mhz=_clock_mhz(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        instructions=[flag for flag in _OF_INTEREST if flag in flags],
        gpus=_gpus(),
        system=platform.system(),
        python=platform.python_version(),
        versions=_versions(),
    )


def clock_of(gpu: int | None) -> float | None:
    """Return the clock of a GPU, or of the processor, MHz; None where nothing tells it.

    Args:
        gpu: its number as nvidia-smi counts; None: the processor.
    """
    if gpu is None:
        return _clock_mhz()
    gpus = _gpus()
    return gpus[gpu].clock_mhz if gpu < len(gpus) else None


def _clock_mhz() -> float | None:
    found = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return round(found.current) if found and found.current else None


def _gpus() -> list[Gpu]:
    """Ask nvidia-smi; none where it is missing or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    asked = [command, f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_WAIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return gpus_told(done.stdout)


def gpus_told(table: str) -> list[Gpu]:
    """Read what nvidia-smi says: a line for each GPU, commas between."""
    found = []
    for line in table.strip().splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_ASKED):  # such as: No devices were found
            continue
        name, driver, *numbers = cells
        memory_mib, clock, most_clock, power_w = map(_number, numbers)
        found.append(
            Gpu(
                name=name,
                driver=driver,
                memory_mib=memory_mib,
                clock_mhz=clock,
                most_clock_mhz=most_clock,
                power_limit_w=power_w,
            )
        )
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:  # such as [N/A]
        return None


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
