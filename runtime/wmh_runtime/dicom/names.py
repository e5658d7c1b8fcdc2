"""Names of scans from DICOM, without names, numbers or dates of patients."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset

from wmh_runtime.claims.claims import Claims
from wmh_runtime.dicom.series import Series
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.listing import Listing
from wmh_runtime.files.os_errors import input_error
from wmh_runtime.files.tables import read_table, write_table_atomically

_CLAIMS_FOLDER = ".wmh-claims"
KEY_NAME = "key"
CORRESPONDENCE_NAME = "correspondence.csv"
_KEY_BYTES = 32
_GROUP_DIGITS, _SERIES_DIGITS = 10, 6  # hexadecimal
_DAY_ZERO = date(1900, 1, 1)
_MAX_SHIFT_DAYS = 3650
_ONLY_THE_OWNER = 0o700


class ScanNames(Protocol):
    """Names scans."""

    def entities(self, series: Series) -> str:
        """Return the first part of the names of a series' files."""
        ...

    @property
    def remark(self) -> str:
        """What the user has to know about the names; empty: nothing."""
        ...

    def digest(self, text: str) -> str:
        """Return a hash that recognizes a text."""
        ...

    def keep(self, named: Mapping[str, Series]) -> None:
        """Keep which name is of which series, if that is wanted."""
        ...


class HashedNames:
    """Names from the UIDs of study and series, by a hash without a key.

    Who has the UIDs, as a PACS does, can find the series of a name; nobody else can.
    """

    remark = ""

    def entities(self, series: Series) -> str:
        """Return `study-<10 digits>_series-<6 digits>`, hexadecimal."""
        study, own = (hashlib.sha256(uid.encode()) for uid in (series.study_uid, series.uid))
        return (
            f"study-{study.hexdigest()[:_GROUP_DIGITS]}_series-{own.hexdigest()[:_SERIES_DIGITS]}"
        )

    def digest(self, text: str) -> str:
        """Return the SHA-256."""
        return hashlib.sha256(text.encode()).hexdigest()

    def keep(self, named: Mapping[str, Series]) -> None:
        """Keep nothing."""


class Pseudonyms:
    """Names by a hash with a secret key, and a table of correspondence.

    A patient has one name in all studies. A session is the number of its day, counted from a day
    that the key decides for each patient: order and intervals of sessions stay, dates do not.

    Args:
        folder: of key and table, for nobody else to read. It is made when names are first kept.

    Raises:
        InputError: the folder cannot be used.
    """

    remark = (
        "the converted scans, and pages of the viewer, show the face: remove it before you give"
        " them away"
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        known = _read_key(folder / KEY_NAME)
        if known is None and (folder / CORRESPONDENCE_NAME).exists():
            problem = f"has a table of correspondence, but no key ({KEY_NAME})"
            advice = "Restore the key, or choose another folder."
            raise InputError(problem, advice, about=folder)
        self._is_new = known is None
        self._key = known or secrets.token_bytes(_KEY_BYTES)

    def entities(self, series: Series) -> str:
        """Return `sub-<10 digits>_ses-<day>_acq-<6 digits>`."""
        patient = _patient_of(series.head) or f"study {series.study_uid}"
        subject = self._hash("patient", patient).hex()[:_GROUP_DIGITS]
        own = self._hash("series", series.uid).hex()[:_SERIES_DIGITS]
        return f"sub-{subject}_ses-{self._session(patient, series.head)}_acq-{own}"

    def digest(self, text: str) -> str:
        """Return a hash that needs the key."""
        return self._hash("digest", text).hex()

    def keep(self, named: Mapping[str, Series]) -> None:
        """Write the key, if it is new, and add the series to the table of correspondence.

        Raises:
            InputError: the folder cannot be used, or another run has made a key for it.
        """
        make_folder(self._folder)
        with suppress(OSError):  # a file system without permissions
            self._folder.chmod(_ONLY_THE_OWNER)
        with (
            Claims(self._folder / _CLAIMS_FOLDER) as claims,
            claims.wait_for(CORRESPONDENCE_NAME),
        ):
            if self._is_new:
                _write_key(self._folder / KEY_NAME, self._key)
                self._is_new = False
            table = self._folder / CORRESPONDENCE_NAME
            rows = {row["name"]: row for row in _read_rows(table)}
            rows |= {name: _row(name, series) for name, series in named.items()}
            write_table_atomically(table, [rows[name] for name in sorted(rows)])

    def _session(self, patient: str, head: Dataset) -> str:
        try:
            day = datetime.strptime(str(head.get("StudyDate")), "%Y%m%d").date()
        except ValueError:
            return "unknown"
        shift = int.from_bytes(self._hash("day", patient)[:4], "big") % _MAX_SHIFT_DAYS
        return f"{(day - _DAY_ZERO).days + shift:05d}"

    def _hash(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}\0{text}".encode(), "sha256")


def open_names(folder: Path | None, out: Path) -> ScanNames:
    """Return pseudonyms with the key in a folder, or hashed names if there is none.

    Args:
        folder: of key and table; None: no pseudonyms.
        out: folder of the results.

    Raises:
        InputError: the folder cannot be used, or would be given away with the results.
    """
    if folder is None:
        return HashedNames()
    if folder.resolve().is_relative_to(out.resolve()):
        problem = "is in the folder of the results, which are given to others"
        raise InputError(problem, "Choose a folder apart.", about="pseudonyms")
    return Pseudonyms(folder)


def _patient_of(head: Dataset) -> str:
    number = str(head.get("PatientID") or "").strip()
    issuer = str(head.get("IssuerOfPatientID") or "").strip()
    return f"{issuer}\0{number}" if number else ""


def _row(name: str, series: Series) -> dict[str, str]:
    head = series.head
    return {
        "name": name,
        "patient_id": str(head.get("PatientID") or ""),
        "study_date": str(head.get("StudyDate") or ""),
        "study_uid": series.study_uid,
        "series_uid": series.uid,
        "series_number": "" if series.number is None else str(series.number),
        "description": series.description,
        "folder": series.files[0].folder,
    }


def _read_rows(table: Path) -> Iterable[dict[str, str]]:
    if not table.exists():
        return []
    rows = read_table(table)
    if any("name" not in row for row in rows):
        raise InputError("is no table of correspondence", "Choose another folder.", about=table)
    return rows


def _read_key(path: Path) -> bytes | None:
    """Return the key in a file; None if there is no file."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise input_error(error, "cannot be used", path) from error
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        problem = f"is no key of {2 * _KEY_BYTES} hexadecimal digits"
        raise InputError(problem, "Choose another folder, or restore the key.", about=path)
    return key


def _write_key(path: Path, key: bytes) -> None:
    """Write a key; InputError if another run has made one in the meantime."""
    if Listing(path.parent).has(path):
        problem = "was made by another run in the meantime"
        raise InputError(problem, "Run this one again.", about=path)
    write_text_atomically(path, f"{key.hex()}\n")
