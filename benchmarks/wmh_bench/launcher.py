"""Where the command starts: before the heavy libraries, so that a missing one is told in words."""

from __future__ import annotations

from wmh_runtime.cli import console


def main() -> None:
    """Run the command line, or say what to install."""
    console.run_module("wmh_bench.cli", extras="bench", needs=("onnx", "scipy", "matplotlib"))
