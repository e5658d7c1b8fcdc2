"""What the measurement of baselines leaves. Reading it needs no PyTorch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wmh_bench.environment import Circumstances
from wmh_bench.timing.times import Times
from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel


class Copies(StrictModel):
    """Medians over a second and more."""

    to_device_gb_per_s: float = Field(description="from pinned memory")
    from_device_gb_per_s: float = Field(description="to pinned memory")
    within_device_gb_per_s: float = Field(description="read and written counted")


class BaselineRow(StrictModel):
    """One way to execute a slice of eight views."""

    name: str
    is_runtime: bool = Field(description="a backend of the runtime; else PyTorch")
    precision: Precision
    slices: int = Field(description="at a time")
    first_s: float = Field(description="the first batch, with compiling and capturing")
    times: Times = Field(description="of a slice; of the runtime the interval between results")
    views_per_s: float
    times_faster: float = Field(
        description="than eight views of the reference method's way: median of common turns"
    )
    least_times_faster: float = Field(description="the least of these turns")
    most_times_faster: float = Field(description="the most")
    tflop_per_s: float = Field(
        description="of the rewritten network's operations, whatever this way has"
    )
    share_of_products: float | None = Field(
        description="of what matrix products in this precision reached on this device before it"
    )
    share_of_peak: float | None = Field(description="of the device's peak on paper, where known")
    device_memory_mb: float | None = Field(
        description="on a GPU, 10⁶ bytes: PyTorch's peak of this way alone; what the runtime took"
    )
    max_abs_difference: float = Field(description="of probability, from the float32 network")
    mask_dice: float = Field(description="with its masks")
    warnings: list[str]


class Baseline(StrictModel):
    """The measurement."""

    schema_version: Literal[1] = 1
    kind: Literal["baseline"] = "baseline"
    circumstances: Circumstances
    device: str = Field(description="the name of the processor or the GPU")
    threads: int = Field(description="of the processor, that PyTorch uses")
    turns: int = Field(description="that each way took with a view of the reference method's way")
    products_tflop_per_s: dict[Precision, float] = Field(
        description="of large matrices: the most of PyTorch and of the runtime's backends"
    )
    copies: Copies | None
    rows: list[BaselineRow]
    skipped: dict[str, str] = Field(description="what could not be measured, and why")
