"""Fixtures: a small network and its bundle, exported once for all tests of a module."""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import onnx
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.networks import TWO, write_checkpoint
from tests.training_toys import small_recipe
from wmh_export import cuda_graphs, graph_exporter, phantom_probes
from wmh_export.build import BuildResult, build
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.files.atomic import atomic_path


def _folder_of_the_run(tmp_path_factory) -> Path:
    """Return a folder that all worker processes of a test run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="module", autouse=True)
def cached_traces(tmp_path_factory):
    """Trace each network once per test run. Most builds of the tests are of the same network."""
    folder = _folder_of_the_run(tmp_path_factory) / "trace-cache"
    folder.mkdir(exist_ok=True)
    trace = graph_exporter.trace

    def trace_once(module, channels, size_px):
        tensors = module.state_dict()
        key = hashlib.sha256(f"{module} {channels} {size_px} {sorted(tensors)}".encode())
        for name in sorted(tensors):
            key.update(tensors[name].numpy().tobytes())
        path = folder / key.hexdigest()
        if path.exists():
            return onnx.load(path)
        model = trace(module, channels, size_px)
        with atomic_path(path) as partial:
            onnx.save(model, partial)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_exporter, "trace", trace_once)
        patch.setattr(cuda_graphs, "trace", trace_once)
        yield trace


@pytest.fixture(scope="module", autouse=True)
def cached_phantoms(tmp_path_factory):
    """Use coarse phantoms of one site instead of three, and make each once per test run.

    Every build needs the same phantoms, and they take most of the time of a small build. All
    processes of a run share them.
    """
    own_folder, write_phantom = tmp_path_factory.mktemp("phantoms"), phantom_probes.write_phantom
    cache = _folder_of_the_run(tmp_path_factory) / "phantom-cache"

    def copy_phantom(plan, folder):
        cached = cache / f"{plan.seed}{'-with-t1' * plan.with_t1}"
        if not cached.exists():
            with coarse_phantoms():
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


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A calibrated checkpoint of a briefly trained network with two channels and two outputs."""
    return write_checkpoint(tmp_path_factory.mktemp("run"), small_recipe(**TWO))


@pytest.fixture(scope="module")
def built(tmp_path_factory, request):
    """The bundle of `checkpoint`. It is built once per test run, and each module gets a copy."""
    own, once = tmp_path_factory.mktemp("out"), _folder_of_the_run(tmp_path_factory) / "built"
    if not once.exists():
        checkpoint = request.getfixturevalue("checkpoint")
        result = build(checkpoint, own / "first" / "bundle", lambda step: None)
        said = {"skipped_precisions": result.skipped_precisions, "warnings": result.warnings}
        (own / "first" / "said.json").write_text(json.dumps(said))
        with suppress(OSError):  # another process was faster
            (own / "first").rename(once)
    shutil.copytree(once, own / "copy")
    said = json.loads((own / "copy" / "said.json").read_text())
    return BuildResult(load_bundle(own / "copy" / "bundle"), **said)


@pytest.fixture(scope="module")
def bundle(built):
    return built.bundle
