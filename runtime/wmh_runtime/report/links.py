"""Addresses of files in a page, whatever characters their names have."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote


def link_to(file: Path) -> str:
    """Return the address of a file, relative to the page, percent-encoded.

    It begins with `./`, so that a name with a colon, such as `javascript:…`, is never taken for
    the scheme of an address.

    Args:
        file: relative to the folder of the page.
    """
    return f"./{quote(os.fsencode(file.as_posix()), safe='/')}"
