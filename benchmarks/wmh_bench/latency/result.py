"""The result of `wmh-bench latency`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wmh_bench.ceilings.matmul_ceiling import Ceiling
from wmh_bench.environment import Environment
from wmh_bench.timing.batch_times import GpuTimes
from wmh_bench.timing.times import Times
from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import Views


class LatencyRow(StrictModel):
    """The measurement of one combination of backend, precision, views and batch size."""

    backend: str
    backend_description: str = Field(description="library, version and device")
    device: str = Field(description="`cpu`, or the name of the GPU")
    precision: Precision
    views: Views
    batch_size: int = Field(description="slices per batch")
    load_s: float = Field(description="time to load the network; the library is imported before")
    first_batch_s: float = Field(description="time of the first batch after loading")
    times: Times = Field(
        description="of a single batch on the whole device, from host memory to host memory"
    )
    gpu_times: GpuTimes | None = Field(description="parts of `times` on a GPU; null on a CPU")
    num_streams: int = Field(description="batches that a run executes at the same time")
    views_per_s: float = Field(description="with as many batches in flight as in a run")
    slices_per_s: float = Field(description="with as many batches in flight as in a run")
    scans_per_hour: float = Field(
        description="from slices_per_s, for scans of slices_per_scan slices; without reading,"
        " preprocessing, postprocessing and writing"
    )
    tflop_per_s: float = Field(
        description="counted with the operations of the float32 graph in every precision"
    )
    share_of_matmul_ceiling: float | None = Field(
        description="of the fastest matrix multiplications in this precision on this device, by any"
        " backend"
    )
    share_of_peak: float | None = Field(
        description="of the peak speed that the manufacturer states; null where it is unknown"
    )
    clock_mhz: float | None = Field(description="of the GPU or CPU, right after the measurement")
    host_memory_mb: float = Field(
        description="peak resident memory, 10⁶ bytes; each row has its own process"
    )
    device_memory_mb: float | None = Field(
        description="GPU memory that the backend took, without the CUDA context, 10⁶ bytes"
    )
    mask_dice: float = Field(
        description="with the masks of the trained network on the probe slices of the bundle"
    )
    volume_percent: float | None = Field(
        description="lesion volume difference from the trained network; null if the network finds"
        " no lesion"
    )
    max_abs_difference: float = Field(description="of the probability, from the trained network")
    refused: str = Field(
        description="why wmh-infer refuses this combination; empty if it accepts it"
    )
    warnings: list[str]


class Latency(StrictModel):
    """The result of `wmh-bench latency`."""

    schema_version: Literal[2] = 2
    kind: Literal["latency"] = "latency"
    environment: Environment
    min_duration_s: float = Field(description="minimum duration of each measurement")
    slices_per_scan: int = Field(description="for scans_per_hour")
    threads: int = Field(description="CPU threads")
    gpu_index: int
    rows: list[LatencyRow]
    ceilings: list[Ceiling]
    skipped: dict[str, str] = Field(description="what could not be measured, with the reason")
