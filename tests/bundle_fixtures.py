"""A small network and its bundle, exported once for all tests of a folder that ask for it."""

import os
import shutil
from contextlib import suppress

import pytest

from tests.networks import TWO, write_checkpoint
from tests.toys import small_recipe
from wmh_export import phantom_probes
from wmh_export.build import build


@pytest.fixture(scope="session", autouse=True)
def phantoms_made_once(tmp_path_factory):
    """Every build asks about the same phantoms; making them is most of a small build's time.

    One site's instead of three, and those once for all processes of the run.
    """
    one, write_phantom = tmp_path_factory.mktemp("phantoms"), phantom_probes.write_phantom
    of_run = tmp_path_factory.getbasetemp()
    made = (of_run.parent if "PYTEST_XDIST_WORKER" in os.environ else of_run) / "made"

    def copy_phantom(plan, folder):
        kept = made / str(plan.seed)
        if not kept.exists():
            write_phantom(plan, one / kept.name)
            with suppress(OSError):  # another process was faster
                made.mkdir(exist_ok=True)
                (one / kept.name).rename(kept)
        shutil.copytree(kept, folder, dirs_exist_ok=True)

    patch = pytest.MonkeyPatch()
    patch.setattr(phantom_probes, "write_phantom", copy_phantom)
    patch.setattr(phantom_probes, "SITES", ["utrecht"])
    yield
    patch.undo()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Two channels, two outputs, of a network that was taught a little."""
    return write_checkpoint(tmp_path_factory.mktemp("run"), small_recipe(**TWO))


@pytest.fixture(scope="session")
def built(tmp_path_factory, checkpoint):
    return build(checkpoint, tmp_path_factory.mktemp("out") / "bundle", lambda step: None)


@pytest.fixture(scope="session")
def bundle(built):
    return built.bundle
