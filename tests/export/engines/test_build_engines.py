"""Engines: real ones of TensorRT-RTX, and the same steps with a TensorRT that has no GPU."""

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
from wmh_export.engines import compiler, engines
from wmh_export.engines.compiler import compile_graph
from wmh_export.engines.engines import build_engines
from wmh_export.graphs.trace import trace
from wmh_export.graphs.views import with_eight_views
from wmh_export.graphs.weights import save_sharing_weights
from wmh_export.network.half import HalfView
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_runtime.backends.gpu.device import Gpu
from wmh_runtime.backends.gpu.driver import find_gpus
from wmh_runtime.backends.tensorrt_library import (
    TensorRtLibrary,
    load_tensorrt,
    require_strong_types,
)
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.errors import BackendError, BundleError, ExportError
from wmh_runtime.inference.engine_selection import select_engine
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import load_recipe

SLICES = BatchProfile(least=1, best=2, most=4)
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed"
)


def silent(step):
    """Nobody is told."""


@pytest.fixture(params=["rtx", "tensorrt"])
def toolkit(request, tmp_path, monkeypatch):
    """The real TensorRT-RTX; a fake TensorRT, on a machine with a fake GPU."""
    if request.param == "rtx":
        pytest.importorskip("tensorrt_rtx")
        return load_tensorrt("rtx")
    monkeypatch.setattr(engines, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    monkeypatch.setattr(compiler, "user_cache_folder", lambda: tmp_path)
    return TensorRtLibrary("tensorrt", fake_tensorrt)


@pytest.fixture
def own_bundle(bundle, tmp_path):
    """A copy of the bundle to put engines into."""
    return open_bundle(shutil.copytree(bundle.folder, tmp_path / "own"))


def targets_of(toolkit) -> list[str]:
    return ["sm89"] if toolkit.kind == "rtx" else []


def test_engines_of_one_and_of_eight_views_go_into_the_bundle(toolkit, own_bundle):
    built = build_engines(own_bundle, toolkit, targets_of(toolkit), SLICES, silent)
    opened = open_bundle(own_bundle.folder)  # verifies the hashes
    assert opened.manifest.engines == built
    assert [engine.views for engine in built] == [1, 8]
    for engine in built:
        graph = opened.graph(views=engine.views, precision="fp16")
        content = opened.path_of(engine).read_bytes()
        assert hashlib.sha256(content).hexdigest() == engine.sha256
        assert engine.network_sha256 == opened.network_sha256(graph) != graph.sha256
        assert engine.gpu == ("Fake" if toolkit.kind == "tensorrt" else "")
        assert (engine.kind, engine.version) == (toolkit.kind, toolkit.version)
        assert engine.targets == ["sm89"]
        assert engine.attention_layers == 2
    # One slice of the eight-view graph is eight views: both engines do the same at a time.
    assert built[1].profile == SLICES
    assert built[0].profile == BatchProfile(least=1, best=16, most=32)


def test_an_engine_changes_neither_the_model_nor_its_id(toolkit, own_bundle):
    build_engines(own_bundle, toolkit, targets_of(toolkit), SLICES, silent)
    opened = open_bundle(own_bundle.folder)
    assert opened.manifest.model_id == own_bundle.manifest.model_id
    assert opened.manifest.graphs == own_bundle.manifest.graphs


def test_a_rebuilt_engine_takes_the_place_of_the_old_one(toolkit, own_bundle):
    for _ in range(2):
        build_engines(own_bundle, toolkit, targets_of(toolkit), SLICES, silent)
    opened = open_bundle(own_bundle.folder)
    files = {path.name for path in (own_bundle.folder / "engines").iterdir()}
    assert files == {engine.path.split("/")[1] for engine in opened.manifest.engines}
    assert len(files) == 2


def test_a_file_that_is_no_graph_is_refused(toolkit, tmp_path):
    gpu = Gpu("Fake", "sm89") if toolkit.kind == "tensorrt" else None
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=rf"broken\.onnx: {toolkit.kind} refuses the graph"):
        compile_graph(toolkit, path, SLICES, (1, 8, 8), targets=["sm89"], gpu=gpu)


@needs_rtx
def test_engines_for_other_gpus_stay(own_bundle):
    toolkit = load_tensorrt("rtx")
    for targets in (["sm120"], ["sm89", "sm86"], ["sm86"]):
        build_engines(own_bundle, toolkit, targets, SLICES, silent)
    kept = [engine.targets for engine in open_bundle(own_bundle.folder).manifest.engines]
    assert kept == [["sm120"]] * 2 + [["sm86", "sm89"]] * 2 + [["sm86"]] * 2
    build_engines(own_bundle, toolkit, ["sm86", "sm89", "sm120"], SLICES, silent)
    opened = open_bundle(own_bundle.folder)
    assert [e.targets for e in opened.manifest.engines] == [["sm86", "sm89", "sm120"]] * 2
    assert len(list((own_bundle.folder / "engines").iterdir())) == 2


def test_what_tensorrt_is_told(own_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    monkeypatch.setattr(compiler, "user_cache_folder", lambda: tmp_path)
    toolkit = TensorRtLibrary("tensorrt", fake_tensorrt)
    for _ in range(2):
        build_engines(own_bundle, toolkit, [], SLICES, silent)
    config = fake_tensorrt.told.config
    assert config.profile.shapes == {"slices": ((1, 2, 64, 64), (2, 2, 64, 64), (4, 2, 64, 64))}
    assert config.profiling_verbosity == "detailed"
    assert config.ignore_mismatch is False
    assert fake_tensorrt.told.flags == 0  # from version 11 on: types are the graph's
    # Each of four builds began with the timings that the one before had left.
    timings = tmp_path / "tensorrt-11.0.0-Fake.timing"
    assert timings.read_bytes() == b"++++"
    timings.write_bytes(b"of another GPU")
    build_engines(own_bundle, toolkit, [], SLICES, silent)
    assert timings.read_bytes() == b"++"


@pytest.fixture(scope="module")
def eight_views_of_the_method(tmp_path_factory):
    """The method's whole network at 512 pixels, all eight views in the graph."""
    torch.manual_seed(0)
    recipe = load_recipe("wmh-lora")
    one_view = trace(HalfView(rewrite(merge(WmhNetwork(recipe)))), 1, recipe.preprocessing.size_px)
    folder = tmp_path_factory.mktemp("method")
    save_sharing_weights({"8-view.onnx": with_eight_views(one_view)}, folder, "w.bin")
    return folder / "8-view.onnx"


def test_an_engine_is_kept_where_timings_cannot_be(own_bundle, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(engines, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(compiler, "user_cache_folder", lambda: tmp_path / "file")
    assert (
        len(
            build_engines(
                own_bundle, TensorRtLibrary("tensorrt", fake_tensorrt), [], SLICES, silent
            )
        )
        == 2
    )
    assert "how long kernels take cannot be remembered" in caplog.text


def test_where_one_engine_cannot_be_built_nothing_is_left(own_bundle, monkeypatch, toolkit):
    compiled = engines.compile_graph

    def fail_later(toolkit, graph, *arguments, **options):
        if graph.name.startswith("8-view"):
            raise ExportError("no memory")
        return compiled(toolkit, graph, *arguments, **options)

    monkeypatch.setattr(engines, "compile_graph", fail_later)
    with pytest.raises(ExportError, match="no memory"):
        build_engines(own_bundle, toolkit, targets_of(toolkit), SLICES, silent)
    assert not list((own_bundle.folder / "engines").iterdir())


@pytest.mark.parametrize("targets", [["sm86"], ["sm89"], ["sm120"], ["sm86", "sm89", "sm120"]])
def test_attention_is_fused_in_all_layers_of_the_method(eight_views_of_the_method, targets):
    pytest.importorskip("tensorrt_rtx")
    profile = BatchProfile(least=1, best=1, most=4)
    compiled = compile_graph(
        load_tensorrt("rtx"), eight_views_of_the_method, profile, (1, 512, 512), targets=targets
    )
    assert compiled.fused_attention == 12
    assert not [line for line in compiled.log if line.startswith("Name: ") and "MaxrSub" in line]
    assert 150e6 < len(compiled.plan) < 250e6  # 94 M parameters of two bytes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["rtx"], "--targets: is missing. Name the GPUs it is for: sm86 is RTX 30"),
        (["rtx", "--targets", "sm12"], "no target sm12. TensorRT-RTX builds for: sm75, sm80"),
        (["rtx", "--targets", "sm89", "--slices", "4,1,1"], "--slices: is 4,1,1. Give three"),
        (["cuda"], "--runtime: there is no runtime cuda. Choose from: rtx, tensorrt"),
    ],
)
def test_what_cannot_be_built_is_one_line(own_bundle, run_command, options, says):
    status, _, errors = run_command(main, "engines", own_bundle.folder, "--runtime", *options)
    assert status == 2
    assert says in errors
    assert errors.count("\n") == 1


def test_tensorrt_takes_no_targets(own_bundle, monkeypatch):
    monkeypatch.setattr(engines, "find_gpus", lambda: [Gpu("Fake", "sm89")])
    with pytest.raises(ExportError, match="builds for the GPU at hand"):
        build_engines(
            own_bundle, TensorRtLibrary("tensorrt", fake_tensorrt), ["sm89"], SLICES, silent
        )


@needs_rtx  # and with it cuda-bindings, which ask the driver
def test_without_a_gpu_tensorrt_has_nothing_to_build_for(own_bundle):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match="no GPU can be used"):
        build_engines(own_bundle, TensorRtLibrary("tensorrt", fake_tensorrt), [], SLICES, silent)


def has_gpu() -> bool:
    try:
        return bool(find_gpus())
    except BackendError:
        return False


@needs_rtx
def test_the_command_says_what_was_built(own_bundle, run_command):
    command = ("engines", own_bundle.folder, "--runtime", "rtx", "--targets", "sm89")
    status, said, _ = run_command(main, *command)
    assert status == 0
    assert len(re.findall(r"attention fused in \d of 2 layers", said)) == 2
    assert said.count("for sm89") == 2
    # By default one to four slices at a time, of one view or of eight.
    assert said.count("1 to 4 slices of eight views") == 2


def test_a_tensorrt_that_would_choose_precisions_itself_is_refused():
    old = SimpleNamespace(__version__="10.13.2")
    with pytest.raises(
        BackendError, match=r"tensorrt: is version 10\.13\.2, 11 or later is needed"
    ):
        require_strong_types(TensorRtLibrary("tensorrt", old))
    require_strong_types(TensorRtLibrary("tensorrt", fake_tensorrt))
    require_strong_types(TensorRtLibrary("rtx", SimpleNamespace(__version__="1.7.1")))


def test_the_shipped_bundle_gets_no_engines(run_command):
    status, _, errors = run_command(main, "engines", "demo", "--runtime", "rtx")
    assert status == 2
    assert "demo: is part of the program, not a folder of yours. Copy it first" in errors


@needs_rtx
def test_another_version_of_the_library_supersedes_nothing(own_bundle, monkeypatch):
    toolkit = load_tensorrt("rtx")
    build_engines(own_bundle, toolkit, ["sm89"], SLICES, silent)
    monkeypatch.setattr(TensorRtLibrary, "version", "1.8")
    build_engines(own_bundle, toolkit, ["sm89"], SLICES, silent)
    kept = [engine.version for engine in open_bundle(own_bundle.folder).manifest.engines]
    assert kept == [toolkit.library.__version__] * 2 + ["1.8"] * 2


@needs_rtx
class TestWhichEngineFits:
    """By library, GPU, batch and network, or refused with the command that builds it."""

    ADA, BLACKWELL = Gpu("RTX 4090", "sm89"), Gpu("RTX 5090", "sm120")

    @pytest.fixture
    def opened(self, own_bundle):
        build_engines(own_bundle, load_tensorrt("rtx"), ["sm86", "sm89"], SLICES, silent)
        return open_bundle(own_bundle.folder)

    def wanted(self, **changes):
        version = load_tensorrt("rtx").version
        fitting = {"kind": "rtx", "version": version, "gpu": self.ADA, "views": 8, "batch_size": 4}
        return fitting | changes

    def test_the_one_that_fits(self, opened):
        assert select_engine(opened, **self.wanted()) == opened.manifest.engines[1]

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"gpu": BLACKWELL}, r"for sm86, sm89, this GPU is sm120.*--targets sm120$"),
            ({"version": "9.9"}, r"by version 1\.7.*, 9\.9 is installed.*--targets sm89$"),
            ({"kind": "tensorrt"}, r"no 8-view engine of tensorrt.*--runtime tensorrt$"),
            ({"batch_size": 5}, r"takes 1 to 4 slices at a time, not 5.* --slices 1,5,5$"),
            ({"views": 1, "batch_size": 33}, r"takes 1 to 32 .*, not 33.* --slices 1,5,5$"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, opened, changes, says):
        command = "Run: wmh-export engines .*--runtime"
        with pytest.raises(BundleError, match=says) as raised:
            select_engine(opened, **self.wanted(**changes))
        assert re.search(command, str(raised.value))

    def test_one_that_is_altered_or_missing_stops_only_who_would_use_it(self, opened, run_command):
        eight_view = opened.manifest.engines[1]
        with opened.path_of(eight_view).open("ab") as stream:
            stream.write(b"!")
        reopened = open_bundle(opened.folder)
        with pytest.raises(BundleError, match="was altered or copied incompletely"):
            select_engine(reopened, **self.wanted())
        status, _, errors = run_command(main, "verify", opened.folder)
        assert status == 2
        assert "was altered" in errors
        opened.path_of(eight_view).unlink()
        status, said, _ = run_command(main, "inspect", opened.folder)
        assert status == 0
        assert "MISSING" in said

    def test_an_engine_of_other_weights_is_refused(self, opened):
        # The graph's own file names its weights and holds none: its hash alone would be the same.
        weights = [file.model_copy(update={"sha256": "0" * 64}) for file in opened.manifest.weights]
        retrained = replace(
            opened, manifest=opened.manifest.model_copy(update={"weights": weights})
        )
        with pytest.raises(BundleError, match=r"was built from another graph.*--targets sm89$"):
            select_engine(retrained, **self.wanted())

    def test_a_tensorrt_engine_is_for_one_model_of_gpu(self, opened):
        (_, eight) = opened.manifest.engines
        made_here = eight.model_copy(update={"kind": "tensorrt", "gpu": "RTX 4060"})
        manifest = opened.manifest.model_copy(update={"engines": [made_here]})
        bundle = replace(opened, manifest=manifest)
        with pytest.raises(BundleError, match=r"for RTX 4060, this GPU is RTX 4090"):
            select_engine(bundle, **self.wanted(kind="tensorrt"))
        same = Gpu("RTX 4060", "sm89")
        assert select_engine(bundle, **self.wanted(kind="tensorrt", gpu=same)) == made_here
