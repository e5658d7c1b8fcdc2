"""Numeric precisions: what a backend computes in, and what a graph is stored in."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "fp16", "bf16", "int8", "int8+bf16"]  # that something computes in


GraphPrecision = Literal["fp32", "fp16", "int8"]  # that a graph is written in


WRITTEN_AS: dict[Precision, GraphPrecision] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "fp32",
    "int8": "int8",
    "int8+bf16": "int8",  # bf16 in what is not int8
}
