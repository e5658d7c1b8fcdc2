"""Look for many files in a folder and its subfolders without asking for any that is missing.

On NFS, a machine remembers for up to a minute that a file is missing. It would then not see the
file that another machine writes in the meantime. Names in a list of a folder leave no such memory.
"""

from __future__ import annotations

import os
from pathlib import Path


class Listing:
    """The names in a folder and its subfolders, each read when it is needed, and once.

    Args:
        root: the top folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, frozenset[str]] = {}

    def has(self, path: Path) -> bool:
        """Return whether there was a file or folder, when its folder was read.

        Args:
            path: in the top folder.
        """
        return path.name in self._names_in(path.parent)

    def _names_in(self, folder: Path) -> frozenset[str]:
        known = self._names.get(folder)
        if known is None:
            is_there = folder == self._root or self.has(folder)
            known = self._names[folder] = _list(folder) if is_there else frozenset()
        return known


def _list(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except OSError:  # it cannot be read: whoever reads a file in it says why
        return frozenset()
