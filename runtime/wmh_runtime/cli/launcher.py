"""Entry points of the commands. A missing library, or Ctrl-C while loading, is one line."""

from __future__ import annotations

from wmh_runtime.cli import console


def infer() -> None:
    """Run `wmh-infer`."""
    console.run_module("wmh_runtime.cli.infer")


def phantom() -> None:
    """Run `wmh-phantom`."""
    console.run_module("wmh_runtime.cli.phantom")


def evaluate() -> None:
    """Run `wmh-eval`, or say what to install."""
    # They are imported where they are used, so that segmenting needs neither.
    console.run_module("wmh_runtime.cli.evaluate", extras="cpu,eval", needs=("scipy", "matplotlib"))
