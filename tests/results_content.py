"""What is in a folder of results, to compare runs byte by byte."""

import json
import re

from wmh_runtime.outputs.paths import STATE_FOLDER

_TIME_IN_REPORT = re.compile(rb"<dt>Time</dt><dd><bdi>[0-9.]+ s</bdi></dd>")


def content_of(out):
    """What runs must have in common: all but the seconds that it took, and the hidden files."""
    content = {}
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if path.name.endswith("_mask.json"):
            content[name] = json.loads(path.read_text(encoding="utf-8"))
            del content[name]["seconds"]
        elif path.is_file() and not name.startswith(STATE_FOLDER.name):
            content[name] = _TIME_IN_REPORT.sub(b"", path.read_bytes())
    return content
