"""The environment of a measurement: when, which source code, which machine, which model."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from wmh_bench.ceilings.operations import flop_per_slice
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.bundle.bundle import MANIFEST_NAME, Bundle
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.schema import StrictModel

_TIMEOUT_S = 20


class Model(StrictModel):
    """The model that is measured."""

    name: str
    model_id: str = Field(
        description="hash of everything that determines a mask; empty without a bundle"
    )
    bundle_sha256: str = Field(
        description="of the manifest, which contains the hashes of all files; empty without a"
        " bundle"
    )
    size_px: int
    parameters: int
    gflop_per_view: float = Field(
        description="of the matrix multiplications and convolutions in the float32 graph"
    )

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Model:
        """Describe the model of a bundle."""
        manifest = bundle.manifest
        one_view = bundle.graph(views=1, precision="fp32")
        return cls(
            name=manifest.name,
            model_id=manifest.model_id,
            bundle_sha256=sha256_file(bundle.folder / MANIFEST_NAME),
            size_px=manifest.preprocessing.size_px,
            parameters=manifest.training.parameters,
            gflop_per_view=round(flop_per_slice(bundle.path_of(one_view)) / 1e9, 3),
        )


class Environment(StrictModel):
    """The first part of every result."""

    started_at: str = Field(description="start of the measurement, UTC, ISO 8601")
    commit: str = Field(
        description="git commit of wmh-lora; '+' at the end: with local changes; empty: unknown"
    )
    machine: Machine
    model: Model

    @classmethod
    def describe(cls, model: Model) -> Environment:
        """Describe the present time, source code and machine."""
        return cls(
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=source_commit(),
            machine=describe_machine(),
            model=model,
        )


def source_commit() -> str:
    """Return the git commit of this source code, or an empty string if git does not know it."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # fails in a checkout of another project
        has_changes = bool(git("status", "--porcelain", "--untracked-files=no", ":/"))
        commit = git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}+" if has_changes else commit
