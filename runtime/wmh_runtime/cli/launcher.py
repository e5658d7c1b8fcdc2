"""Entry points of the commands. Ctrl-C while loading is one line."""

from __future__ import annotations

from wmh_runtime.cli import console


def infer() -> None:
    """Run `wmh-infer`."""
    console.run_module("wmh_runtime.cli.infer.main")


def node() -> None:
    """Run `wmh-node`."""
    console.run_module("wmh_runtime.cli.node")


def phantom() -> None:
    """Run `wmh-phantom`."""
    console.run_module("wmh_runtime.cli.phantom")


def evaluate() -> None:
    """Run `wmh-eval`."""
    console.run_module("wmh_runtime.cli.evaluate")
