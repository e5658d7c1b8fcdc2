"""What is in a folder of results, to compare runs byte by byte."""

from __future__ import annotations

import json
import re
from pathlib import Path

from wmh_runtime.dataset.bids import SIDECAR_SUFFIX
from wmh_runtime.outputs.paths import STATE_FOLDER

_TIME_IN_REPORT = re.compile(rb"<dt>Time</dt><dd><bdi>[0-9.]+ s</bdi></dd>")


def content_of(out: Path) -> dict[str, object]:
    """Return what runs must have in common: all but the seconds that it took.

    What runs tell each other in the hidden folder is left out.

    Args:
        out: folder of results.

    Returns:
        Path → content.
    """
    content: dict[str, object] = {}
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if path.name.endswith(SIDECAR_SUFFIX):
            sidecar = json.loads(path.read_text(encoding="utf-8"))
            del sidecar["seconds"]
            content[name] = sidecar
        elif path.is_file() and not name.startswith(STATE_FOLDER.name):
            content[name] = _TIME_IN_REPORT.sub(b"", path.read_bytes())
    return content
