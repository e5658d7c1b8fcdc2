"""Run `wmh-infer`: the command that segments, or one that looks after a folder of results."""

from __future__ import annotations

import sys

from wmh_runtime.cli import console
from wmh_runtime.cli.infer import collect, segment, status, submit
from wmh_runtime.cli.options import separate_labels

_COMMANDS = {"collect": collect.app, "status": status.app, "submit": submit.app}


def main() -> None:
    """Run the command that is named first; without a name, segment."""
    first, *others = sys.argv[1:] or [""]
    if first in _COMMANDS:
        console.run(_COMMANDS[first], others, program=f"wmh-infer {first}")
    else:
        console.run(segment.app, separate_labels(sys.argv[1:]))
