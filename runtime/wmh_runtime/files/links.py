"""Files of a folder that are links, as in the caches of model hubs, for libraries that refuse them.

A hub keeps the content of each file under its hash, and a folder of links with the real names.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.files.user_cache import user_cache_folder


@contextmanager
def without_links(paths: list[Path]) -> Iterator[Path]:
    """Yield the folder of files, or if one is a link, a temporary folder with the files themselves.

    The temporary folder is in the user's cache, because that is usually on the same disk as a
    hub's. Then it holds hard links, which take no space; else it holds copies.

    Args:
        paths: files of one folder.

    Raises:
        OSError: a file cannot be copied.
    """
    if not any(path.is_symlink() for path in paths):
        yield paths[0].parent
        return
    parent: Path | None = user_cache_folder()
    try:
        make_writable_folder(user_cache_folder())
    except InputError:
        parent = None  # the system's folder for temporary files
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
        for path in paths:
            _link_or_copy(path.resolve(), Path(folder) / path.name)
        yield Path(folder)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
