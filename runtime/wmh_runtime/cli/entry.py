"""Where commands start that need more than segmenting does: what is missing is told in words."""

from __future__ import annotations

from wmh_runtime.cli import terminal


def evaluate() -> None:
    """Run `wmh-eval`, or say what to install."""
    # They are imported where they are used, so that segmenting needs neither.
    terminal.run_module("wmh_runtime.cli.evaluate", extra="eval", needs=("scipy", "matplotlib"))
