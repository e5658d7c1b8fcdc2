"""A folder of scans and the results of a single run, to compare the results of many runs with."""

import subprocess
import sys

from benchmarks.dev.clusters.same_results import content_of
from tests.toys import write_head, write_toy_bundle
from wmh_runtime.files.temporary import is_temporary
from wmh_runtime.outputs.paths import CLAIMS_FOLDER, STATE_FOLDER

SCANS = 24
PROGRAM = "from wmh_runtime.cli.infer.main import main; main()"


def make_work(folder):
    """Write scans, one of them broken, a bundle, and the results of a single run in `alone`."""
    for number in range(SCANS):
        site = folder / "scans" / f"site-{number % 3}"
        write_head(site / f"{number:02}.nii.gz", lesions=number % 4, seed=number)
    (folder / "scans" / "site-1" / "broken.nii.gz").write_bytes(b"no image")
    write_toy_bundle(folder / "bundle")
    assert finish(start(folder, folder / "alone"))[0] == 1
    return folder


def options_of(work):
    return ["--bundle", str(work / "bundle"), "--backend", "onnxruntime"]


def start(work, out, *more, program=PROGRAM):
    """Begin a run into a folder."""
    return start_infer(work / "scans", out, *options_of(work), *more, program=program)


def start_infer(*arguments, program=PROGRAM, environment=None):
    """Begin `wmh-infer`."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(run):
    """Wait for a run; return exit status, output and errors."""
    said, errors = run.communicate(timeout=120)
    return run.returncode, said, errors


def require_same(out, work):
    """Compare the results byte by byte with those of the single run."""
    assert content_of(out) == content_of(work / "alone")
    # In the hidden folder, a machine that is gone may leave some until a run on it removes them.
    shown = (path for path in out.rglob("*") if STATE_FOLDER.name not in path.parts)
    assert [path for path in shown if is_temporary(path)] == []
    assert not list((out / CLAIMS_FOLDER).glob("*"))
