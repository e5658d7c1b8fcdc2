"""Who a scan is of, and from which site: what names, folders and `participants.tsv` say.

Scans of one person are those that name the same one, at whatever site. Two persons taken for one
widen an interval; one taken for two would be learned from and tested on. Where sites number their
persons alike, the column `person` of a table tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from wmh_runtime.dataset.bids import PARTICIPANTS_NAME
from wmh_runtime.files.tables import read_table

_PARTS_OF_THE_CHALLENGE = ("training", "test")
_PERSON = re.compile(r"(?:^|[/_])(sub-[A-Za-z0-9]+)")
_UNKNOWN = "n/a"  # as BIDS writes what is not known


def person_of(name: str) -> str:
    """Return the person in a scan's name: `sub-1` of `sub-1_ses-2`, and `P1` of `P1_ses-2`.

    A name that says neither `sub-` nor `_ses-` is that of a person.
    """
    found = _PERSON.search(name)
    return found.group(1) if found else name.partition("_ses-")[0]


def site_of(folders: Path) -> str:
    """Return the site that the folders above a subject name; "" where there are none.

    A first folder `training` or `test`, as the WMH challenge has them, is no part of a site.
    """
    parts = folders.parts
    return "/".join(parts[1:] if parts and parts[0] in _PARTS_OF_THE_CHALLENGE else parts)


def read_sites(folders: Iterable[Path]) -> dict[str, str]:
    """Read which participant is of which site.

    Args:
        folders: where `participants.tsv`, with the columns `participant_id` and `site`, may lie;
            the first that is there counts.

    Returns:
        participant → site, those of unknown site left out; empty without such a table.

    Raises:
        InputError: the table cannot be read.
    """
    for folder in folders:
        table = folder / PARTICIPANTS_NAME
        if table.is_file():
            return {
                row["participant_id"]: row["site"]
                for row in read_table(table)
                if row.get("participant_id") and row.get("site", _UNKNOWN) not in ("", _UNKNOWN)
            }
    return {}
