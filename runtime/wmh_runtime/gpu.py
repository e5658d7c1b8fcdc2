"""Which GPUs of NVIDIA this machine has."""

from __future__ import annotations

from dataclasses import dataclass

from wmh_runtime.errors import BackendError

_INSTALL = "Run: pip install cuda-bindings"


@dataclass(frozen=True)
class Gpu:
    """One of them."""

    name: str
    target: str  # its compute capability, such as sm89


def find_gpus() -> list[Gpu]:
    """Ask the driver, which is safe where there is none.

    Raises:
        BackendError: cuda-bindings is not installed, or there is no GPU or no driver.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendError("is not installed", _INSTALL, about="cuda-bindings") from error
    status, count = runtime.cudaGetDeviceCount()
    if status != runtime.cudaError_t.cudaSuccess or not count:
        raise BackendError(
            f"no GPU can be used ({status.name})", "Check the driver with nvidia-smi."
        )
    gpus = []
    for number in range(count):
        status, facts = runtime.cudaGetDeviceProperties(number)
        if status != runtime.cudaError_t.cudaSuccess:
            raise BackendError(f"GPU {number} cannot be asked ({status.name})", "Check the driver.")
        name = facts.name.rstrip(b"\0").decode()
        gpus.append(Gpu(name, f"sm{facts.major}{facts.minor}"))
    return gpus
