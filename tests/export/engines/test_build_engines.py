"""Engines built with the real TensorRT-RTX, and with a fake TensorRT that needs no GPU."""

import hashlib
import importlib.util
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.fakes import tensorrt as fake_tensorrt
from wmh_export.cli import main
from wmh_export.engines import build_engines as build_engines_module
from wmh_export.engines import compiler
from wmh_export.engines.build_engines import build_engines
from wmh_export.engines.compiler import compile_graph
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_with_shared_weights
from wmh_export.network.half_precision import HalfPrecisionNetwork
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.backends.gpu.driver import find_gpus
from wmh_runtime.backends.tensorrt_library import (
    TensorRtLibrary,
    load_tensorrt,
    require_strong_types,
)
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.errors import BackendError, BundleError, ExportError
from wmh_runtime.inference.engine_selection import select_engine
from wmh_train.model.network import build_network
from wmh_train.recipe.recipe import Recipe, load_recipe

SLICES = BatchProfile(min=1, opt=2, max=4)
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed"
)


def ignore(step):
    """Ignore the description of a step."""


@pytest.fixture(params=["rtx", "tensorrt"])
def tensorrt(request, tmp_path, monkeypatch):
    """The real TensorRT-RTX; a fake TensorRT, on a machine with a fake GPU."""
    if request.param == "rtx":
        pytest.importorskip("tensorrt_rtx")
        return load_tensorrt("rtx")
    monkeypatch.setattr(build_engines_module, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    monkeypatch.setattr(compiler, "user_cache_folder", lambda: tmp_path)
    return TensorRtLibrary("tensorrt", fake_tensorrt)


@pytest.fixture
def own_bundle(bundle, tmp_path):
    """A copy of the bundle to put engines into."""
    return load_bundle(shutil.copytree(bundle.folder, tmp_path / "own"))


def targets_of(tensorrt) -> list[str]:
    return ["sm89"] if tensorrt.kind == "rtx" else []


def test_engines_of_one_and_eight_views_are_added_to_the_bundle(tensorrt, own_bundle):
    built = build_engines(own_bundle, tensorrt, targets_of(tensorrt), SLICES, ignore)
    opened = load_bundle(own_bundle.folder)  # verifies the hashes
    assert opened.manifest.engines == built
    assert [engine.views for engine in built] == [1, 8]
    for engine in built:
        graph = opened.graph(views=engine.views, precision="fp16")
        content = opened.path_of(engine).read_bytes()
        assert hashlib.sha256(content).hexdigest() == engine.sha256
        assert engine.network_sha256 == opened.network_sha256(graph) != graph.sha256
        assert engine.gpu == ("Fake" if tensorrt.kind == "tensorrt" else "")
        assert (engine.kind, engine.version) == (tensorrt.kind, tensorrt.version)
        assert engine.targets == ["sm89"]
        assert engine.attention_layers == 2
    # One slice of the eight-view graph is eight views: both engines run the same number of slices.
    assert built[1].profile == SLICES
    assert built[0].profile == BatchProfile(min=1, opt=16, max=32)


def test_an_engine_changes_neither_the_graphs_nor_the_model_id(tensorrt, own_bundle):
    build_engines(own_bundle, tensorrt, targets_of(tensorrt), SLICES, ignore)
    opened = load_bundle(own_bundle.folder)
    assert opened.manifest.model_id == own_bundle.manifest.model_id
    assert opened.manifest.graphs == own_bundle.manifest.graphs


def test_a_rebuilt_engine_replaces_the_old_one(tensorrt, own_bundle):
    for _ in range(2):
        build_engines(own_bundle, tensorrt, targets_of(tensorrt), SLICES, ignore)
    opened = load_bundle(own_bundle.folder)
    files = {path.name for path in (own_bundle.folder / "engines").iterdir()}
    assert files == {engine.path.split("/")[1] for engine in opened.manifest.engines}
    assert len(files) == 2


def test_a_file_that_is_not_a_graph_is_rejected(tensorrt, tmp_path):
    gpu = Gpu("Fake", "sm89") if tensorrt.kind == "tensorrt" else None
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=rf"broken\.onnx: {tensorrt.kind} rejects the graph"):
        compile_graph(tensorrt, path, SLICES, (1, 8, 8), targets=["sm89"], gpu=gpu)


@needs_rtx
def test_engines_for_other_gpus_are_kept(own_bundle):
    tensorrt = load_tensorrt("rtx")
    for targets in (["sm120"], ["sm89", "sm86"], ["sm86"]):
        build_engines(own_bundle, tensorrt, targets, SLICES, ignore)
    kept = [engine.targets for engine in load_bundle(own_bundle.folder).manifest.engines]
    assert kept == [["sm120"]] * 2 + [["sm86", "sm89"]] * 2 + [["sm86"]] * 2
    build_engines(own_bundle, tensorrt, ["sm86", "sm89", "sm120"], SLICES, ignore)
    opened = load_bundle(own_bundle.folder)
    assert [e.targets for e in opened.manifest.engines] == [["sm86", "sm89", "sm120"]] * 2
    assert len(list((own_bundle.folder / "engines").iterdir())) == 2


def test_the_build_options_of_tensorrt(own_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(build_engines_module, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    monkeypatch.setattr(compiler, "user_cache_folder", lambda: tmp_path)
    tensorrt = TensorRtLibrary("tensorrt", fake_tensorrt)
    for _ in range(2):
        build_engines(own_bundle, tensorrt, [], SLICES, ignore)
    config = fake_tensorrt.state.config
    assert config.profile.shapes == {"slices": ((1, 2, 64, 64), (2, 2, 64, 64), (4, 2, 64, 64))}
    assert config.profiling_verbosity == "detailed"
    assert config.ignore_mismatch is False
    assert fake_tensorrt.state.flags == 0  # from version 11 on, networks are strongly typed
    # Each of the four builds starts with the timings of the build before.
    timings = tmp_path / "tensorrt-11.0.0-Fake.timing"
    assert timings.read_bytes() == b"++++"
    timings.write_bytes(b"of another GPU")
    build_engines(own_bundle, tensorrt, [], SLICES, ignore)
    assert timings.read_bytes() == b"++"


@pytest.fixture(scope="module")
def full_width_eight_view_graph(tmp_path_factory):
    """Four of the twelve layers of the wmh-lora recipe, at 512 pixels, with all eight views."""
    torch.manual_seed(0)
    content = load_recipe("wmh-lora").model_dump()
    content["network"]["encoder"] |= {"depth": 4, "global_blocks": [2]}
    recipe = Recipe.model_validate(content)
    network = build_network(recipe)
    one_view = trace(HalfPrecisionNetwork(rewrite(merge(network))), 1, recipe.preprocessing.size_px)
    folder = tmp_path_factory.mktemp("full-width")
    save_with_shared_weights({"8-view.onnx": with_eight_views(one_view)}, folder, "w.bin")
    return folder / "8-view.onnx"


def test_an_engine_is_kept_if_the_timings_cannot_be_saved(
    own_bundle, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(build_engines_module, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(compiler, "user_cache_folder", lambda: tmp_path / "file")
    assert (
        len(
            build_engines(
                own_bundle, TensorRtLibrary("tensorrt", fake_tensorrt), [], SLICES, ignore
            )
        )
        == 2
    )
    assert "cannot save TensorRT's kernel timings" in caplog.text


def test_if_one_engine_cannot_be_built_no_file_is_written(own_bundle, monkeypatch, tensorrt):
    compile_graph = build_engines_module.compile_graph

    def fail_later(tensorrt, graph, *arguments, **options):
        if graph.name.startswith("8-view"):
            raise ExportError("no memory")
        return compile_graph(tensorrt, graph, *arguments, **options)

    monkeypatch.setattr(build_engines_module, "compile_graph", fail_later)
    with pytest.raises(ExportError, match="no memory"):
        build_engines(own_bundle, tensorrt, targets_of(tensorrt), SLICES, ignore)
    assert not list((own_bundle.folder / "engines").iterdir())


@pytest.mark.exhaustive
def test_attention_is_fused_in_all_layers_of_the_full_width(full_width_eight_view_graph):
    pytest.importorskip("tensorrt_rtx")
    profile, targets = BatchProfile(min=1, opt=1, max=4), ["sm86", "sm120"]
    compiled = compile_graph(
        load_tensorrt("rtx"), full_width_eight_view_graph, profile, (1, 512, 512), targets=targets
    )
    assert compiled.fused_attention_layers == 4
    assert not [line for line in compiled.log if line.startswith("Name: ") and "MaxrSub" in line]
    weights_bytes = full_width_eight_view_graph.with_name("w.bin").stat().st_size
    assert weights_bytes < len(compiled.plan) < 1.3 * weights_bytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["rtx"], "targets: is missing. Name the GPUs to build for: sm86 is RTX 30"),
        (["rtx", "--targets", "sm12"], "no target sm12. TensorRT-RTX builds for: sm75, sm80"),
        (["rtx", "--targets", "sm89", "--slices", "4,1,1"], "--slices: is 4,1,1. Give three"),
        (["cuda"], "runtime: there is no runtime cuda. Choose from: rtx, tensorrt"),
    ],
)
def test_a_build_error_is_one_line(own_bundle, run_command, options, message):
    status, _, errors = run_command(main, "engines", own_bundle.folder, "--runtime", *options)
    assert status == 2
    assert message in errors
    assert errors.count("\n") == 1


def test_tensorrt_accepts_no_targets(own_bundle, monkeypatch):
    monkeypatch.setattr(build_engines_module, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    with pytest.raises(ExportError, match="builds for the GPU of this machine"):
        build_engines(
            own_bundle, TensorRtLibrary("tensorrt", fake_tensorrt), ["sm89"], SLICES, ignore
        )


@needs_rtx  # its extra also installs cuda-bindings, which query the driver
def test_tensorrt_without_a_gpu_is_an_error(own_bundle):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match="no GPU can be used"):
        build_engines(own_bundle, TensorRtLibrary("tensorrt", fake_tensorrt), [], SLICES, ignore)


def has_gpu() -> bool:
    try:
        return bool(find_gpus())
    except BackendError:
        return False


@needs_rtx
def test_the_command_describes_the_engines(own_bundle, run_command):
    command = ("engines", own_bundle.folder, "--runtime", "rtx", "--targets", "sm89")
    status, output, _ = run_command(main, *command)
    assert status == 0
    assert len(re.findall(r"attention fused in \d of 2 layers", output)) == 2
    assert output.count("for sm89") == 2
    # The default batch size is one to four slices, in both engines.
    assert output.count("1 to 4 slices of eight views") == 2


def test_a_tensorrt_without_strong_typing_is_rejected():
    old = SimpleNamespace(__version__="10.13.2")
    with pytest.raises(
        BackendError, match=r"tensorrt: is version 10\.13\.2, 11 or later is needed"
    ):
        require_strong_types(TensorRtLibrary("tensorrt", old))
    require_strong_types(TensorRtLibrary("tensorrt", fake_tensorrt))
    require_strong_types(TensorRtLibrary("rtx", SimpleNamespace(__version__="1.7.1")))


def test_engines_cannot_be_added_to_the_demo_bundle(run_command):
    status, _, errors = run_command(main, "engines", "demo", "--runtime", "rtx")
    assert status == 2
    assert "demo: is a bundle of this program and cannot be changed. Copy it first" in errors


@needs_rtx
def test_engines_of_another_library_version_are_kept(own_bundle, monkeypatch):
    tensorrt = load_tensorrt("rtx")
    build_engines(own_bundle, tensorrt, ["sm89"], SLICES, ignore)
    monkeypatch.setattr(TensorRtLibrary, "version", "1.8")
    build_engines(own_bundle, tensorrt, ["sm89"], SLICES, ignore)
    kept = [engine.version for engine in load_bundle(own_bundle.folder).manifest.engines]
    assert kept == [tensorrt.module.__version__] * 2 + ["1.8"] * 2


@needs_rtx
class TestSelectEngine:
    """By library, GPU, batch and network; an error says how to build the engine."""

    ADA, BLACKWELL = Gpu("RTX 4090", "sm89"), Gpu("RTX 5090", "sm120")

    @pytest.fixture
    def opened(self, own_bundle):
        build_engines(own_bundle, load_tensorrt("rtx"), ["sm86", "sm89"], SLICES, ignore)
        return load_bundle(own_bundle.folder)

    def request(self, **changes):
        version = load_tensorrt("rtx").version
        matching = {"kind": "rtx", "version": version, "gpu": self.ADA, "views": 8, "batch_size": 4}
        return matching | changes

    def test_the_matching_engine(self, opened):
        assert select_engine(opened, **self.request()) == opened.manifest.engines[1]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"gpu": BLACKWELL}, r"for sm86, sm89, this GPU is sm120.*targets sm120\.$"),
            ({"version": "9.9"}, r"by version 1\.7.*, 9\.9 is installed.*targets sm89\.$"),
            ({"kind": "tensorrt"}, r"no 8-view engine of tensorrt.*runtime tensorrt\.$"),
            ({"batch_size": 5}, r"takes 1 to 4 slices per batch, not 5.* slices 1,5,5\.$"),
            ({"views": 1, "batch_size": 33}, r"takes 1 to 32 .*, not 33.* slices 1,5,5\.$"),
        ],
    )
    def test_an_engine_that_does_not_match_is_rejected(self, opened, changes, message):
        with pytest.raises(BundleError, match=message) as raised:
            select_engine(opened, **self.request(**changes))
        assert "Build an engine with wmh-export engines: runtime" in str(raised.value)

    def test_an_altered_or_missing_engine_is_an_error_only_when_used(self, opened, run_command):
        eight_view = opened.manifest.engines[1]
        with opened.path_of(eight_view).open("ab") as stream:
            stream.write(b"!")
        reopened = load_bundle(opened.folder)
        with pytest.raises(BundleError, match="was changed, or is incomplete"):
            select_engine(reopened, **self.request())
        status, _, errors = run_command(main, "verify", opened.folder)
        assert status == 2
        assert "was changed, or is incomplete" in errors
        opened.path_of(eight_view).unlink()
        status, output, _ = run_command(main, "inspect", opened.folder)
        assert status == 0
        assert "MISSING" in output

    def test_an_engine_with_other_weights_is_rejected(self, opened):
        # The graph file itself holds no weights: its hash alone would be the same.
        weights = [file.model_copy(update={"sha256": "0" * 64}) for file in opened.manifest.weights]
        retrained = replace(
            opened, manifest=opened.manifest.model_copy(update={"weights": weights})
        )
        with pytest.raises(BundleError, match=r"was built from another graph.*targets sm89\.$"):
            select_engine(retrained, **self.request())

    def test_a_tensorrt_engine_is_for_one_gpu_model(self, opened):
        (_, eight) = opened.manifest.engines
        tensorrt_engine = eight.model_copy(update={"kind": "tensorrt", "gpu": "RTX 4060"})
        manifest = opened.manifest.model_copy(update={"engines": [tensorrt_engine]})
        bundle = replace(opened, manifest=manifest)
        with pytest.raises(BundleError, match=r"for RTX 4060, this GPU is RTX 4090"):
            select_engine(bundle, **self.request(kind="tensorrt"))
        same = Gpu("RTX 4060", "sm89")
        assert select_engine(bundle, **self.request(kind="tensorrt", gpu=same)) == tensorrt_engine
