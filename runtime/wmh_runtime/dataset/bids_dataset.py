"""A BIDS data set: its description, and which of its files are not part of it.

See bids-specification.readthedocs.io: `dataset_description.json` makes a folder a data set, and
`.bidsignore` lists files that are not part of it, in the syntax of `.gitignore`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from wmh_runtime.dataset.bids import DESCRIPTION_NAME
from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.reading import is_file

IGNORE_NAME = ".bidsignore"
_NO_SCANS = {
    "sourcedata": "source data, from which the scans of the data set were made",
    "code": "a folder for programs, in a BIDS data set",
}


@dataclass(frozen=True)
class BidsDataset:
    """A data set, as its description says."""

    root: Path
    name: str  # that of the folder if the description has none
    ignored: GitIgnoreSpec
    warning: str = ""  # what is wrong with the description; empty: nothing

    def why_not_searched(self, relative: Path, *, is_folder: bool) -> str | None:
        """Return why a file or a folder of the data set holds no scan of it; None if it may."""
        if relative.name in _NO_SCANS and len(relative.parts) == 1:
            return _NO_SCANS[relative.name]
        path = f"{relative.as_posix()}/" if is_folder else relative.as_posix()
        is_ignored = self.ignored.match_file(path)
        return f"listed in {IGNORE_NAME}" if is_ignored else None


def read_bids_dataset(folder: Path) -> BidsDataset | None:
    """Read the description of a data set; None if a folder has none.

    Raises:
        InputError: `.bidsignore` cannot be read.
    """
    description = folder / DESCRIPTION_NAME
    if not is_file(description):
        return None
    name, reason, warning = "", "it has no Name", ""
    try:
        content = json.loads(description.read_text(encoding="utf-8-sig"))
        name = str(content["Name"] or "").strip()
    except KeyError:
        pass
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = reason_of(error)
    if not name:
        name = folder.resolve().name
        warning = f"{description}: does not say the name of the data set ({reason}): {name} is used"
    ignore = folder / IGNORE_NAME
    try:
        ignored = GitIgnoreSpec.from_lines(read_ignored(ignore))
    except ValueError as error:
        raise _ignore_error(ignore, error) from error
    return BidsDataset(folder, name, ignored, warning)


def read_ignored(path: Path) -> list[str]:
    """Return the lines of a `.bidsignore` file; none if it is not there.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines() if is_file(path) else []
    except (OSError, ValueError) as error:
        raise _ignore_error(path, error) from error


def _ignore_error(path: Path, error: Exception) -> InputError:
    return InputError(
        f"cannot be read ({reason_of(error)})", "Correct it, or remove it.", about=path
    )
