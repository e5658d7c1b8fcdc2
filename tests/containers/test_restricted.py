"""As in a container: no network, and no folder that can be written except the results."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.conftest import REPOSITORY
from wmh_runtime.phantom.cohort import plan_cohort, write_phantom

UNSHARE = shutil.which("unshare")
NOWHERE = "/proc/nowhere"  # nobody can make it, not even root


def can_leave_the_network():
    return (
        UNSHARE and subprocess.run([UNSHARE, "--net", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(
    not can_leave_the_network(), reason="needs Linux and the right to unshare --net"
)
def test_it_segments_without_network_home_cache_and_temporary_folder(tmp_path):
    (plan,) = plan_cohort(1, 7, (20, 20))
    with coarse_phantoms():
        write_phantom(plan, tmp_path / "data")
    programs = f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"
    environment = {
        "PATH": programs,
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": NOWHERE,
        "XDG_CACHE_HOME": NOWHERE,
        "TMPDIR": NOWHERE,
        "OMP_NUM_THREADS": "1",
    }
    entrypoint = ["sh", REPOSITORY / "containers" / "entrypoint.sh"]
    arguments = [tmp_path / "data", tmp_path / "out", "participant", "--bundle", "demo"]
    done = subprocess.run(
        [UNSHARE, "--net", *entrypoint, *arguments, "--tta", "none"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "sub-7000_label-WMH_mask.nii.gz").exists()
    assert "1 scan finished" in done.stdout
