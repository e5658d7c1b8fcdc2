"""Run `python -m benchmarks.dev`."""

from benchmarks.dev.cli import main

main()
