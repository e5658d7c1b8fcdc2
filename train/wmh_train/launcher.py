"""Entry point of `wmh-train`. It imports no heavy library, so a missing one gives a clear error."""

from __future__ import annotations

from wmh_runtime.cli import console


def main() -> None:
    """Run the command line, or say which packages to install."""
    console.run_module("wmh_train.cli", extras="cpu,train")
