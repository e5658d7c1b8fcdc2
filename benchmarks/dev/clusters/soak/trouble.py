"""Take away what a run needs, give it back, and run again: the results are those of a quiet run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.dev.clusters.engines import OK, start_infer
from benchmarks.dev.clusters.soak.kills import faults_of
from wmh_runtime.dataset.bids import DESCRIPTION_NAME, SIDECAR_SUFFIX
from wmh_runtime.schema import StrictModel

_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_SMALL, _LARGE = "1m", "1g"
_CLOCKS = ("-30d", "+0", "+1y", "+2h")
_WAIT_S = 300.0
# libfaketime makes the usual one fail, which asks the system for the end of the pause.
_OWN_SLEEP = "import select, time; time.sleep = lambda s: select.select([], [], [], max(s, 0)); "
_NO_FAULTS = (f"{DESCRIPTION_NAME} differs",)  # its link to the scans depends on where it is


class Trouble(StrictModel):
    """One kind of trouble."""

    kind: str
    status: list[int]  # exit status of the runs in trouble
    faults: list[str]  # after a run without trouble


def full_disk(arguments: list[str], whole: Path, work: Path) -> Trouble:
    """Let a run fill a disk; enlarge the disk, and run again. Needs root."""
    with _disk(work / "disk", _SMALL) as disk:
        out = disk / "out"
        status = _wait(_start(arguments, out))
        subprocess.run(["mount", "-o", f"remount,size={_LARGE}", disk], check=True)
        return _again("full disk", [status], arguments, out, whole)


def read_only_disk(arguments: list[str], whole: Path, work: Path) -> Trouble:
    """Let a disk become read-only in the middle of a run, and run again. Needs root."""
    with _disk(work / "disk", _LARGE) as disk:
        out = disk / "out"
        process = _start(arguments, out)
        _wait_for_results(out, process)
        while subprocess.run(
            ["mount", "-o", "remount,ro", disk], check=False, stderr=subprocess.DEVNULL
        ).returncode:
            time.sleep(0.001)  # a file is open for writing
        status = _wait(process)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        return _again("read-only disk", [status], arguments, out, whole)


def vanishing_scans(arguments: list[str], whole: Path, work: Path) -> Trouble:
    """Remove scans in the middle of a run, put them back, and run again."""
    scans, away, out = Path(arguments[0]), work / "away", work / "out"
    process, moments = _start(arguments, out), random.Random(4)
    _wait_for_results(out, process)
    paths = [path for path in scans.rglob("*.nii*") if path.is_file()]
    for path in moments.sample(paths, len(paths) // 2):
        to = away / path.relative_to(scans)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, to)
    status = _wait(process)
    shutil.copytree(away, scans, dirs_exist_ok=True)
    return _again("vanishing scans", [status], arguments, out, whole)


def jumping_clocks(arguments: list[str], whole: Path, work: Path) -> Trouble:
    """Let runs with wrong clocks share a folder; all clocks jump while they run."""
    out, clocks = work / "out", [work / f"clock-{number}" for number in range(len(_CLOCKS))]
    for clock, offset in zip(clocks, _CLOCKS, strict=True):
        clock.write_text(offset)
    processes = [_start(arguments, out, clock) for clock in clocks]
    _wait_for_results(out, processes[0])
    moments = random.Random(5)
    while any(process.poll() is None for process in processes):
        moments.choice(clocks).write_text(moments.choice(_CLOCKS))
        time.sleep(0.2)
    statuses = [_wait(process) for process in processes]
    trouble = _again("jumping clocks", statuses, arguments, out, whole)
    failed = [f"a run ended with exit status {one}" for one in statuses if one not in OK]
    return trouble.model_copy(update={"faults": [*failed, *trouble.faults]})


def kinds_of_trouble() -> list[Callable[[list[str], Path, Path], Trouble]]:
    """Return the kinds that can be made on this machine."""
    kinds: list[Callable[[list[str], Path, Path], Trouble]] = [vanishing_scans]
    if os.name == "posix" and os.getuid() == 0:
        kinds += [full_disk, read_only_disk]
    if _FAKETIME.exists():
        kinds.append(jumping_clocks)
    return kinds


def _again(kind: str, status: list[int], arguments: list[str], out: Path, whole: Path) -> Trouble:
    last = _wait(_start(arguments, out))
    faults = [one for one in faults_of(out, whole) if one not in _NO_FAULTS]
    if last not in OK:
        faults.append(f"the last run ended with exit status {last}")
    shutil.rmtree(out)
    return Trouble(kind=kind, status=status, faults=faults)


@contextmanager
def _disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=False)
        folder.rmdir()


def _start(arguments: list[str], out: Path, clock: Path | None = None) -> subprocess.Popen[bytes]:
    source, _, *options = arguments
    environment, first = dict(os.environ), ""
    if clock is not None:
        environment |= {
            "LD_PRELOAD": str(_FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # systems do not set this clock
        }
        first = _OWN_SLEEP
    return start_infer([source, str(out), *options], environment, first)


def _wait(process: subprocess.Popen[bytes]) -> int:
    return process.wait(_WAIT_S)


def _wait_for_results(out: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not any(out.rglob(f"*{SIDECAR_SUFFIX}")):
        time.sleep(0.01)
