"""Numeric precisions of backends and of graphs."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "fp16", "bf16", "int8", "int8+bf16"]  # that a backend computes in
GraphPrecision = Literal["fp32", "fp16", "int8"]  # that a graph is stored in

# The graph that a backend executes to compute in a precision.
STORED_PRECISION: dict[Precision, GraphPrecision] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "fp32",
    "int8": "int8",
    "int8+bf16": "int8",  # BF16 in the layers that are not INT8
}
