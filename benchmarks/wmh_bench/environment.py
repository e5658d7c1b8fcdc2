"""Under which circumstances a result came about: when, by which code, on what, of which model."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from wmh_bench.ceilings.operations import flop_a_slice
from wmh_bench.machine import Machine, this_machine
from wmh_runtime.bundle.bundle import MANIFEST_NAME, Bundle
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.schema import StrictModel

_WAIT_S = 20


class Model(StrictModel):
    """What is executed."""

    name: str
    model_id: str = Field(description="hash of all that decides a mask; empty without a bundle")
    bundle_sha256: str = Field(description="of its manifest, which has the hashes of all files")
    size_px: int
    parameters: int
    gflop_a_view: float = Field(description="products and convolutions of the float32 graph")

    @classmethod
    def of(cls, bundle: Bundle) -> Model:
        """Describe a bundle's."""
        manifest = bundle.manifest
        one_view = bundle.graph(views=1, precision="fp32")
        return cls(
            name=manifest.name,
            model_id=manifest.model_id,
            bundle_sha256=sha256_file(bundle.folder / MANIFEST_NAME),
            size_px=manifest.preprocessing.size_px,
            parameters=manifest.training.parameters,
            gflop_a_view=round(flop_a_slice(bundle.path_of(one_view)) / 1e9, 3),
        )


class Circumstances(StrictModel):
    """What every result begins with."""

    made: str = Field(description="when it began, UTC, ISO 8601")
    commit: str = Field(description="of this program; '+' where it was changed; empty: not known")
    machine: Machine
    model: Model

    @classmethod
    def of(cls, model: Model) -> Circumstances:
        """Describe here and now."""
        return cls(
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=commit(),
            machine=this_machine(),
            model=model,
        )


def commit() -> str:
    """Return the commit that this code is checked out from, as far as git knows it."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # or it lies in a checkout of something else
        changed = git("status", "--porcelain", "--untracked-files=no", ":/")
        return git("rev-parse", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return ""
