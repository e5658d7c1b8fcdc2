"""Fixtures: a small network and its bundle, exported once for all tests of a folder."""

import os
import shutil
from contextlib import suppress

import pytest

from tests.networks import TWO, write_checkpoint
from tests.training_toys import small_recipe
from wmh_export import phantom_probes
from wmh_export.build import build


@pytest.fixture(scope="session", autouse=True)
def cached_phantoms(tmp_path_factory):
    """Use phantoms of one site instead of three, and make each phantom once per test run.

    Every build needs the same phantoms, and they take most of the time of a small build. All
    processes of a run share them.
    """
    own_folder, write_phantom = tmp_path_factory.mktemp("phantoms"), phantom_probes.write_phantom
    run_folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run_folder = run_folder.parent  # shared by all worker processes
    cache = run_folder / "phantom-cache"

    def copy_phantom(plan, folder):
        cached = cache / str(plan.seed)
        if not cached.exists():
            write_phantom(plan, own_folder / cached.name)
            with suppress(OSError):  # another process was faster
                cache.mkdir(exist_ok=True)
                (own_folder / cached.name).rename(cached)
        shutil.copytree(cached, folder, dirs_exist_ok=True)

    patch = pytest.MonkeyPatch()
    patch.setattr(phantom_probes, "write_phantom", copy_phantom)
    patch.setattr(phantom_probes, "SITES", ["utrecht"])
    yield
    patch.undo()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A calibrated checkpoint of a briefly trained network with two channels and two outputs."""
    return write_checkpoint(tmp_path_factory.mktemp("run"), small_recipe(**TWO))


@pytest.fixture(scope="session")
def built(tmp_path_factory, checkpoint):
    return build(checkpoint, tmp_path_factory.mktemp("out") / "bundle", lambda step: None)


@pytest.fixture(scope="session")
def bundle(built):
    return built.bundle
