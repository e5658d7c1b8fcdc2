"""Entry point of `wmh-export`. Ctrl-C while loading is one line."""

from __future__ import annotations

from wmh_runtime.cli import console


def main() -> None:
    """Run the command line."""
    console.run_module("wmh_export.cli")
