"""The result of `wmh-bench baseline`. Reading it does not need PyTorch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wmh_bench.environment import Environment
from wmh_bench.timing.times import Times
from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel


class CopyBandwidth(StrictModel):
    """Copy bandwidth of a GPU: medians over at least a second."""

    to_device_gb_per_s: float = Field(description="from pinned memory")
    from_device_gb_per_s: float = Field(description="to pinned memory")
    within_device_gb_per_s: float = Field(description="reading and writing both counted")


class BaselineRow(StrictModel):
    """The measurement of one variant, on slices in eight views."""

    name: str = Field(description="PyTorch variant, or backend of the runtime")
    is_runtime: bool = Field(description="a backend of the runtime; false: PyTorch")
    precision: Precision
    batch_size: int = Field(description="slices per batch")
    first_batch_s: float = Field(
        description="time of the first batch, with compilation and CUDA graph capture"
    )
    times: Times = Field(description="per slice; for the runtime the interval between two results")
    views_per_s: float
    speedup: float = Field(
        description="compared with eight views of the reference method: median over the rounds"
    )
    min_speedup: float = Field(description="lowest speedup in a round")
    max_speedup: float = Field(description="highest speedup in a round")
    tflop_per_s: float = Field(
        description="counted with the operations of the rewritten network for every variant"
    )
    share_of_matmul_ceiling: float | None = Field(
        description="of the fastest matrix multiplications in this precision on this device"
    )
    share_of_peak: float | None = Field(
        description="of the peak speed that the manufacturer states; null where it is unknown"
    )
    device_memory_mb: float | None = Field(
        description="GPU memory, 10⁶ bytes: PyTorch's peak, or what a backend of the runtime took"
    )
    max_abs_difference: float = Field(
        description="of the probability, from the float32 network on the CPU"
    )
    mask_dice: float = Field(description="with the masks of the float32 network on the CPU")
    warnings: list[str]


class Baseline(StrictModel):
    """The result of `wmh-bench baseline`."""

    schema_version: Literal[2] = 2
    kind: Literal["baseline"] = "baseline"
    environment: Environment
    device: str = Field(description="name of the CPU or GPU")
    threads: int = Field(description="CPU threads of PyTorch")
    rounds: int = Field(
        description="how often each variant alternated with a view of the reference method"
    )
    matmul_ceiling_tflop_per_s: dict[Precision, float] = Field(
        description="speed of large matrix multiplications, the highest of PyTorch and all backends"
    )
    copies: CopyBandwidth | None = Field(description="null on a CPU")
    rows: list[BaselineRow]
    skipped: dict[str, str] = Field(description="what could not be measured, with the reason")
