"""What the containers run: wmh-infer, unless the first argument is a command."""

import os
import subprocess

import pytest

from tests.conftest import REPOSITORY

ENTRYPOINT = REPOSITORY / "containers" / "entrypoint.sh"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the containers run Linux")


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        (["/data", "/out", "participant"], "wmh-infer /data /out participant"),
        (["wmh-infer", "/my scans", "/out"], "wmh-infer /my scans /out"),
        (["wmh-phantom", "/out"], "wmh-phantom /out"),
        (["--help"], "wmh-infer --help"),
        ([], "wmh-infer"),
    ],
)
def test_the_command_and_its_arguments(tmp_path, arguments, ran):
    for name in ("wmh-infer", "wmh-phantom"):
        fake = tmp_path / name
        fake.write_text('#!/bin/sh\necho "${0##*/}" "$@"\nexit 3\n')
        fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", ENTRYPOINT, *arguments], env={"PATH": path}, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == (ran, 3)
