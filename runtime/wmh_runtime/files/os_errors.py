"""Explain errors of the operating system to a user."""

from __future__ import annotations

import errno
from pathlib import Path

from wmh_runtime.errors import InputError

_REMEDIES = {
    errno.ENOENT: "Create the folder first.",
    errno.ENOTDIR: "Choose another path; a part of this one is a file, not a folder.",
    errno.EISDIR: "Choose another name; this one is a folder.",
    errno.EACCES: "Check the permissions, and that no other program has the file open.",
    errno.EPERM: "Check the permissions.",
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EROFS: "Write to another disk; this one is read-only.",
    errno.ENAMETOOLONG: "Shorten the name of the file or of its folders.",
    errno.ELOOP: "Remove the link that leads back to itself.",
    errno.EIO: "Check the disk or the network drive.",
}
_OTHER_REMEDY = "Check the folder, its permissions and the disk."


def reason_of(error: Exception) -> str:
    """Return why the operating system refused, such as "Permission denied"."""
    return getattr(error, "strerror", None) or str(error)


def input_error(error: OSError, problem: str, path: Path | str) -> InputError:
    """Return an error about a file or folder, with the reason and a remedy.

    Args:
        error: the reason.
        problem: what could not be done, such as "cannot be written".
        path: the file or folder.
    """
    remedy = _REMEDIES.get(error.errno or 0, _OTHER_REMEDY)
    return InputError(f"{problem} ({reason_of(error)})", remedy, about=path)
