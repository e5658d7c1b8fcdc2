"""Entry point of `wmh-bench`. Reports a missing library in one line instead of a traceback."""

from __future__ import annotations

from wmh_runtime.cli import console


def main() -> None:
    """Run the command line."""
    console.run_module("wmh_bench.cli", extras="bench", needs=("onnx", "scipy", "matplotlib"))
