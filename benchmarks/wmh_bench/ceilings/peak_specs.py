"""What GPUs reach on paper: their tensor cores, dense, float16 with float32 accumulation.

White papers print several rates; the one that counts here is neither with sparsity nor with float16
accumulation, which GeForce cards do twice as fast. NVIDIA's documents were not at hand when this
was written: the figures are those that public code and pages quote from them, checked against
2 × cores × boost clock. On GeForce cards of these generations float16 is 2 ×, INT8 8 × of float32.
A GPU that is not listed is compared with its own matrix products alone (`products.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from wmh_runtime.precision import Precision


@dataclass(frozen=True)
class Peak:
    """Of one model of GPU, 10¹² operations a second."""

    fp32: float
    fp16: float
    int8: float
    source: str
    bf16: float | None = None  # where it is not that of float16

    def of(self, precision: Precision) -> float | None:
        """Return that of a precision; None where it has none of its own."""
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

# By the name that the driver gives.
PEAKS: dict[str, Peak] = {
    "NVIDIA GeForce RTX 3060": Peak(12.7, 25.5, 102, "3584 cores at 1.777 GHz; ratios of GA102"),
    "NVIDIA GeForce RTX 3070": Peak(20.3, 40.6, 162.6, _GPUMAP),
    "NVIDIA GeForce RTX 3080": Peak(29.8, 59.5, 238, _GPUMAP),
    "NVIDIA GeForce RTX 3090": Peak(35.6, 71, 284, f"{_GA102}, by {_MATMUL}"),
    "NVIDIA GeForce RTX 4060": Peak(15.1, 30.2, 120.9, "3072 cores at 2.46 GHz; ratios of Ada"),
    "NVIDIA GeForce RTX 4070": Peak(29.1, 58.3, 233, _GPUMAP),
    "NVIDIA GeForce RTX 4080": Peak(48.7, 97.5, 389.9, _GPUMAP),
    "NVIDIA GeForce RTX 4090": Peak(82.6, 165.2, 660.6, f"{_ADA}, by {_MATMUL}"),
    "NVIDIA GeForce RTX 5070": Peak(30.8, 61.7, 247, f"{_BLACKWELL}, table 6, and {_GPUMAP}"),
    "NVIDIA GeForce RTX 5080": Peak(56.3, 112.6, 450, _GPUMAP),
    "NVIDIA GeForce RTX 5090": Peak(104.8, 209.5, 838, f"{_BLACKWELL}, by {_MATMUL}"),
    "NVIDIA RTX A6000": Peak(38.7, 154.8, 309.7, f"{_GA102}, table 3, by {_MATMUL}"),
    "NVIDIA RTX 6000 Ada Generation": Peak(91.1, 364.2, 728, f"{_ADA}, by {_MATMUL}"),
    "Tesla T4": Peak(8.1, 65, 130, _TENSWARD, bf16=0),
    "NVIDIA L4": Peak(30.3, 121, 242, _TENSWARD),
    "NVIDIA L40S": Peak(91.6, 362.05, 733, _TENSWARD),
    "NVIDIA A10": Peak(31.2, 125, 250, _TENSWARD),
    "NVIDIA A100-SXM4-40GB": Peak(19.5, 312, 624, f"{_TENSWARD}; {_LIGHTNING}"),
    "NVIDIA A100-SXM4-80GB": Peak(19.5, 312, 624, f"{_TENSWARD}; {_LIGHTNING}"),
    "NVIDIA H100 80GB HBM3": Peak(66.9, 989.4, 1979, f"{_TENSWARD}; {_LIGHTNING}"),
    "NVIDIA H100 PCIe": Peak(51.2, 756, 1513, _LIGHTNING),
    "NVIDIA H200": Peak(67, 989.5, 1979, "NVIDIA's product page, halved: it counts sparsity"),
}


def share_of_peak(device: str, precision: Precision, tflop_per_s: float) -> float | None:
    """Return which share of its peak on paper a device reached; None where it is not known.

    Args:
        device: name that the driver gives.
        precision: that was computed in.
        tflop_per_s: reached.
    """
    peak = PEAKS[device].of(precision) if device in PEAKS else None
    return None if peak is None else round(tflop_per_s / peak, 4)
