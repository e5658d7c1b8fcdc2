"""Damage series of DICOM files: each is converted or refused in one line, in bounded time."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from wmh_runtime.dicom.names import HashedNames
from wmh_runtime.dicom.scans import ScanRules, find_dicom_scans
from wmh_runtime.errors import WmhError
from wmh_runtime.phantom.cohort import plan_cohort, write_cohort
from wmh_runtime.schema import StrictModel

_LONGEST_S = 20.0
_MAX_CHANGES = 6


class DamagedDicom(StrictModel):
    """What became of the series."""

    series: int
    converted: int
    refused: int  # in one line
    longest_s: float
    faults: list[str]


def check_damaged_dicom(
    count: int, *, seed: int = 0, on_series: Callable[[], None] = lambda: None
) -> DamagedDicom:
    """Damage a file of a series, again and again, and convert the series.

    Args:
        count: of damaged series.
        seed: another seed damages other bytes.
        on_series: called after each.
    """
    converted = refused = 0
    longest_s, faults = 0.0, list[str]()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        plans = plan_cohort(1, seed=6, loads_ml=(5, 5), as_dicom=True)
        write_cohort(plans, work / "phantom", workers=1, on_written=lambda: None)
        files = sorted(path for path in (work / "phantom" / "dicom").rglob("*") if path.is_file())
        contents = [path.read_bytes() for path in files]
        for number in range(count):
            source, out = work / "in", work / "out"
            source.mkdir()
            draws = random.Random(f"{seed} {number}")
            for index, content in enumerate(contents):
                (source / f"{index}.dcm").write_bytes(content)
            victim = draws.randrange(len(contents))
            (source / f"{victim}.dcm").write_bytes(_damage(contents[victim], draws))
            started = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    _convert_all(source, out)
                converted += 1
            except WmhError as error:
                refused += 1
                if len(str(error).splitlines()) != 1:
                    faults.append(f"{number}: not one line: {error}")
            except Exception as error:
                faults.append(f"{number}: {type(error).__name__}: {error}")
            seconds = time.perf_counter() - started
            longest_s = max(longest_s, seconds)
            if seconds > _LONGEST_S:
                faults.append(f"{number}: took {seconds:.0f} s")
            shutil.rmtree(source)
            shutil.rmtree(out, ignore_errors=True)
            on_series()
    return DamagedDicom(
        series=count,
        converted=converted,
        refused=refused,
        longest_s=round(longest_s, 2),
        faults=faults,
    )


def _convert_all(source: Path, out: Path) -> None:
    scans = find_dicom_scans(source, out, ScanRules(("flair",), False, ""), HashedNames())
    for case in scans.found.scans:
        scans.convert(case)


def _damage(content: bytes, draws: random.Random) -> bytes:
    """Return a file with some bytes changed, removed or doubled; most of them in the header."""
    data = bytearray(content)
    header = min(len(data), 3000)
    for _ in range(draws.randint(1, _MAX_CHANGES)):
        at = draws.randrange(header if draws.random() < 0.9 else len(data))
        match draws.randrange(5):
            case 0:
                data[at] = draws.randrange(256)
            case 1:
                del data[at : at + draws.randint(1, 40)]
            case 2:
                data[at:at] = data[at : at + draws.randint(1, 40)]
            case 3:
                data[at : at + 4] = draws.randbytes(4)
            case _:
                del data[draws.randrange(max(at, 1)) :]
        header = min(len(data), 3000)
        if not data:
            break
    return bytes(data)
