"""Where commands start that need more than segmenting does: what is missing is told in words."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from wmh_runtime.cli import terminal

# They are imported where they are used, so that segmenting needs neither.
_LIBRARIES = ("scipy", "matplotlib")


def evaluate() -> None:
    """Run `wmh-eval`, or say what to install."""
    for library in _LIBRARIES:
        if find_spec(library) is None:
            terminal.say_error(
                f"{library} is not installed. Run in the project's folder: "
                "pip install '.[cpu,eval]'"
            )
            sys.exit(terminal.EXIT_NOTHING_RAN)
    terminal.run_module("wmh_runtime.cli.evaluate", extra="eval")
