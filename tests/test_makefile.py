"""The Makefile with Pythons that are scripts: what it says, and when it makes an environment."""

import shutil
import subprocess

import pytest

from tests.conftest import REPOSITORY

# It answers its version, and makes environments whose programs do nothing.
PYTHON = """#!/bin/sh
case "$2" in
    *print*) echo {version} ;;
    *exit*) exit {too_old} ;;
    venv)
        mkdir -p "$3/bin"
        ln -sf "$0" "$3/bin/python"
        for program in pip wmh-phantom wmh-infer; do
            printf '#!/bin/sh\\n' > "$3/bin/$program"
            chmod +x "$3/bin/$program"
        done ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make_demo(tmp_path):
    """Return a function that runs `make demo` with a Python of some version."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")

    def run(version):
        python = tmp_path / f"python{version}"
        too_old = int(tuple(map(int, version.split("."))) < (3, 11))
        python.write_text(PYTHON.format(version=version, too_old=too_old))
        python.chmod(0o755)
        command = ["make", "--no-print-directory", "demo", f"PYTHON={python}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_a_python_that_is_too_old_is_named_before_anything_is_installed(make_demo, tmp_path):
    done = make_demo("3.10")
    assert done.returncode != 0
    assert f"Python 3.11 or later is needed; {tmp_path}/python3.10 is 3.10." in done.stdout
    assert "Name another one: make demo PYTHON=python3.12" in done.stdout
    assert not (tmp_path / ".venv-demo").exists()


def test_a_python_that_does_not_exist_is_named(make_demo, tmp_path):
    command = ["make", "--no-print-directory", "demo", "PYTHON=python9"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11 or later is needed; python9 is missing." in done.stdout


def test_the_demo_ends_with_the_commands_for_own_scans(make_demo):
    done = make_demo("3.12")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("    . .venv-demo/bin/activate\n    wmh-infer FOLDER results\n")


def test_another_python_makes_the_environment_again(make_demo, tmp_path):
    leftover = tmp_path / ".venv-demo" / "leftover"
    assert make_demo("3.11").returncode == 0
    leftover.touch()
    (tmp_path / "pyproject.toml").touch()  # newer than the environment
    assert make_demo("3.11").returncode == 0
    assert leftover.exists()  # the same environment, updated
    (tmp_path / ".venv-demo" / ".done-3.11").unlink()  # as after an installation that failed
    assert make_demo("3.12").returncode == 0
    assert not leftover.exists()
