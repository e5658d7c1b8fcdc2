"""Parts of a page that is one file: scripts, styles and data, and the policy that protects it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # in JSON: the same characters


@cache  # pages of many scans share it
def page_environment() -> Environment:
    """Return the templates of this package. All values are escaped."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = json_for_script
    return environment


@cache
def asset(name: str) -> Markup:
    """Return a script or style of this package, which is trusted and is not escaped."""
    return Markup((_FOLDER / "assets" / name).read_text(encoding="utf-8"))


def json_for_script(value: Any) -> Markup:
    """Return JSON to put into a script element: nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return Markup(text)


def content_policy(scripts: Sequence[str], styles: Sequence[str], images: str) -> str:
    """Return a Content Security Policy: no network, and no script or style but these.

    Args:
        scripts: contents of the script elements that run.
        styles: contents of the style elements.
        images: where images may come from, such as `data:`.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hashes(scripts)}",
            f"style-src {_hashes(styles)}",
            f"img-src {images}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hashes(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(text.encode("utf-8")).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(one).decode('ascii')}'" for one in digests)
