"""Peak speeds of GPUs, as the manufacturer states them: dense tensor cores, float32 accumulation.

White papers print several peak speeds. The one used here is without sparsity and with float32
accumulation (GeForce cards are twice as fast with float16 accumulation). The figures were taken
from public code and pages that quote NVIDIA's documents, and were checked against 2 × cores ×
boost clock. On GeForce cards of these generations, float16 is 2 × and INT8 is 8 × as fast as
float32. A GPU that is not listed is compared only with its own matrix multiplications
(`matmul_ceiling.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from wmh_runtime.precision import Precision


@dataclass(frozen=True)
class PeakSpec:
    """Peak speeds of one GPU model, 10¹² operations per second."""

    fp32: float
    fp16: float
    int8: float
    source: str
    bf16: float | None = None  # None: as float16; 0: not supported

    def for_precision(self, precision: Precision) -> float | None:
        """Return the peak speed in a precision. None: there is no single figure."""
        if precision == "bf16":
            return self.fp16 if self.bf16 is None else self.bf16 or None
        return {"fp32": self.fp32, "fp16": self.fp16, "int8": self.int8}.get(precision)


_GA102 = "NVIDIA Ampere GA102 white paper"
_ADA = "NVIDIA Ada white paper"
_BLACKWELL = "NVIDIA RTX Blackwell white paper"
_GPUMAP = "lamonoai/gpumap, nvidia/GPU.md"
_MATMUL = "tables of gau-nernst.github.io, 2025-09-08"
_TENSWARD = "Tensward/tensward, platforms/nvidia.py, with NVIDIA's data sheets"
_LIGHTNING = "pytorch-lightning, fabric/utilities/throughput.py"

# By the name that the driver reports.
PEAK_SPECS: dict[str, PeakSpec] = {
    "NVIDIA GeForce RTX 3060": PeakSpec(
        12.7, 25.5, 102, "3584 cores at 1.777 GHz; ratios of GA102"
    ),
    "NVIDIA GeForce RTX 3070": PeakSpec(20.3, 40.6, 162.6, _GPUMAP),
    "NVIDIA GeForce RTX 3080": PeakSpec(29.8, 59.5, 238, _GPUMAP),
    "NVIDIA GeForce RTX 3090": PeakSpec(35.6, 71, 284, f"{_GA102}, by {_MATMUL}"),
    "NVIDIA GeForce RTX 4060": PeakSpec(15.1, 30.2, 120.9, "3072 cores at 2.46 GHz; ratios of Ada"),
    "NVIDIA GeForce RTX 4070": PeakSpec(29.1, 58.3, 233, _GPUMAP),
    "NVIDIA GeForce RTX 4080": PeakSpec(48.7, 97.5, 389.9, _GPUMAP),
    "NVIDIA GeForce RTX 4090": PeakSpec(82.6, 165.2, 660.6, f"{_ADA}, by {_MATMUL}"),
    "NVIDIA GeForce RTX 5070": PeakSpec(30.8, 61.7, 247, f"{_BLACKWELL}, table 6, and {_GPUMAP}"),
    "NVIDIA GeForce RTX 5080": PeakSpec(56.3, 112.6, 450, _GPUMAP),
    "NVIDIA GeForce RTX 5090": PeakSpec(104.8, 209.5, 838, f"{_BLACKWELL}, by {_MATMUL}"),
    "NVIDIA RTX A6000": PeakSpec(38.7, 154.8, 309.7, f"{_GA102}, table 3, by {_MATMUL}"),
    "NVIDIA RTX 6000 Ada Generation": PeakSpec(91.1, 364.2, 728, f"{_ADA}, by {_MATMUL}"),
    "Tesla T4": PeakSpec(8.1, 65, 130, _TENSWARD, bf16=0),
    "NVIDIA L4": PeakSpec(30.3, 121, 242, _TENSWARD),
    "NVIDIA L40S": PeakSpec(91.6, 362.05, 733, _TENSWARD),
    "NVIDIA A10": PeakSpec(31.2, 125, 250, _TENSWARD),
    "NVIDIA A100-SXM4-40GB": PeakSpec(19.5, 312, 624, f"{_TENSWARD}; {_LIGHTNING}"),
    "NVIDIA A100-SXM4-80GB": PeakSpec(19.5, 312, 624, f"{_TENSWARD}; {_LIGHTNING}"),
    "NVIDIA H100 80GB HBM3": PeakSpec(66.9, 989.4, 1979, f"{_TENSWARD}; {_LIGHTNING}"),
    "NVIDIA H100 PCIe": PeakSpec(51.2, 756, 1513, _LIGHTNING),
    "NVIDIA H200": PeakSpec(67, 989.5, 1979, "NVIDIA's product page, halved: it counts sparsity"),
}


def share_of_peak(device: str, precision: Precision, tflop_per_s: float) -> float | None:
    """Return the share of the peak speed that was reached. None: the peak is not known.

    Args:
        device: name that the driver reports.
        precision: of the computation.
        tflop_per_s: measured speed.
    """
    peak = PEAK_SPECS[device].for_precision(precision) if device in PEAK_SPECS else None
    return None if peak is None else round(tflop_per_s / peak, 4)
