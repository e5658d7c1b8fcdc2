"""Verification of a bundle, and the acceptance check before the first use of a backend."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.gpus import install_fake_gpus, with_cuda_graphs, with_engines
from tests.toys import TOY_SIZE_PX, perfect_parity, write_head, write_toy_bundle
from wmh_export.cli import main
from wmh_runtime.backends import tensorrt_engine
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.backends.tensorrt_engine import EngineBackend
from wmh_runtime.bundle.bundle import Bundle, load_bundle
from wmh_runtime.bundle.parity_record import TOLERANCES, Tolerance
from wmh_runtime.cli.infer.main import main as infer
from wmh_runtime.conformance import acceptance
from wmh_runtime.conformance.acceptance import check_acceptance
from wmh_runtime.conformance.verify import verify
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import BackendError
from wmh_runtime.inference import backend_factory
from wmh_runtime.inference.candidates import list_candidates
from wmh_runtime.types import NetworkShape

SHAPE = NetworkShape(channels=1, outputs=1, size_px=TOY_SIZE_PX)


def test_verify_executes_what_a_run_executes_with_every_backend(toy_bundle):
    calls = []
    bundle = with_cuda_graphs(with_engines(load_bundle(toy_bundle), "rtx"))
    graphs = {candidate.backend._graph.name for candidate in list_candidates(bundle, "", ())}
    assert graphs == {"1-view.fp32.onnx"}  # in the toy bundle also for FP16
    measured = verify(bundle, list_candidates(bundle, "", ()), [], calls.append, calls.append)
    assert calls == measured
    assert {(p.views, p.slices) for p in measured} == {(1, 2), (8, 1)}
    assert {p.backend.split()[0] for p in measured} == {"onnxruntime", "openvino"}
    assert not [p for p in measured if p.violation]
    # 96 of 1024 pixels are bright, each 0.08 mL.
    assert measured[0].outputs[0].reference_ml == pytest.approx(2 * 96 * 0.08)


def ignore(_message):
    """Do nothing."""


def test_scans_are_compared_with_the_float32_graph(toy_bundle, tmp_path, monkeypatch):
    scan = write_head(tmp_path / "a_FLAIR.nii.gz", lesions=3)
    bundle = load_bundle(toy_bundle)
    execute = OpenVinoBackend._execute
    monkeypatch.setattr(
        OpenVinoBackend, "_execute", lambda self, batch: execute(self, batch) * np.float32(0.5)
    )
    measured = verify(
        bundle, list_candidates(bundle, "", ()), [Case(scan, Path(scan.name))], ignore, ignore
    )
    on_scans = {(p.library, p.precision, p.views): p for p in measured if p.data == "scans"}
    assert ("onnxruntime", "fp32", 1) not in on_scans  # would compare the graph with itself
    assert not on_scans["onnxruntime", "fp32", 8].violation
    assert "probability differs by up to" in on_scans["openvino", "fp32", 1].violation


def test_scans_without_lesions_are_skipped_with_a_warning(toy_bundle, tmp_path):
    scan = write_head(tmp_path / "a_FLAIR.nii.gz", lesions=0)
    warned = []
    bundle = load_bundle(toy_bundle)
    candidates = list_candidates(bundle, "onnxruntime", ())
    measured = verify(bundle, candidates, [Case(scan, Path(scan.name))], ignore, warned.append)
    assert warned == ["no lesion is found in the scans: compared on phantoms only"]
    assert {p.data for p in measured} == {"phantoms"}


def test_verify_command_lists_the_scans(toy_bundle, run_command, tmp_path):
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz", lesions=3)
    _, output, _ = run_command(main, "verify", toy_bundle, "--scans", tmp_path / "scans")
    assert "scans: a_FLAIR.nii.gz\n" in output


def test_verify_command(toy_bundle, run_command):
    status, output, _ = run_command(main, "verify", toy_bundle, "--backend", "onnxruntime")
    assert status == 0
    assert "3 files match the manifest" in output
    assert output.strip().endswith("2 comparisons within tolerance")


def test_verify_command_fails_if_a_tolerance_is_violated(toy_bundle, run_command, monkeypatch):
    execute = OnnxRuntimeBackend._execute
    monkeypatch.setattr(
        OnnxRuntimeBackend, "_execute", lambda self, batch: execute(self, batch) * np.float32(0.99)
    )
    status, _, errors = run_command(main, "verify", toy_bundle, "--backend", "onnxruntime")
    assert status == 1
    assert "error: fp32 on onnxruntime" in errors
    assert "probability differs by up to" in errors


def test_verify_command_rejects_an_unknown_backend(toy_bundle, run_command):
    status, _, errors = run_command(main, "verify", toy_bundle, "--backend", "cuda")
    assert status == 2
    assert "there is no backend cuda" in errors


GPU_BACKENDS = {  # with the precisions that it is compared in
    "rtx": ["fp16"],
    "tensorrt": ["fp16"],
    "onnxruntime-cuda-graph": ["fp16"],
    "onnxruntime-cuda": ["fp32", "fp16"],
    "onnxruntime-tensorrt": ["fp16"],
}


@pytest.mark.parametrize("name", GPU_BACKENDS)
def test_verify_command_on_a_gpu(toy_bundle, run_command, name, monkeypatch, tmp_path):
    monkeypatch.setattr(backend_factory, "device_type", lambda: CudaDevice)
    monkeypatch.setattr(tensorrt_engine, "user_cache_folder", lambda: tmp_path / "cache")
    install_fake_gpus(monkeypatch)
    with_cuda_graphs(with_engines(with_engines(load_bundle(toy_bundle), "rtx"), "tensorrt"))
    call = (main, "verify", toy_bundle, "--backend", name.upper(), "--device")
    status, output, errors = run_command(*call, 1)
    assert (status, errors) == (0, "")
    compared = [line for line in output.splitlines() if "mask Dice 1.0000" in line]
    expected = [f"{precision}, {views}" for precision in GPU_BACKENDS[name] for views in "18"]
    assert [line[:7] for line in compared] == expected
    assert all(f"{name} " in line and " on Fake" in line for line in compared)
    assert f"{len(expected)} comparisons within tolerance" in output
    unused = [kind for kind in ("rtx", "tensorrt") if kind != name]
    assert f"engines of {' and '.join(unused)} were not executed" in output
    status, _, errors = run_command(*call, 2)
    assert (status, errors.split(".")[0]) == (2, "error: --device: there is no GPU 2")


def test_verify_command_fails_if_an_engine_differs(toy_bundle, run_command, monkeypatch, tmp_path):
    monkeypatch.setattr(backend_factory, "device_type", lambda: CudaDevice)
    monkeypatch.setattr(tensorrt_engine, "user_cache_folder", lambda: tmp_path / "cache")
    install_fake_gpus(monkeypatch)
    with_engines(load_bundle(toy_bundle), "rtx")
    submit = EngineBackend._submit
    monkeypatch.setattr(
        EngineBackend, "_submit", lambda self, batch: lambda: 0.5 * submit(self, batch)()
    )
    status, _, errors = run_command(main, "verify", toy_bundle, "--backend", "rtx")
    assert status == 1
    assert "fp16 on rtx" in errors
    assert "mask Dice is 0.0000, at least 0.999 is required" in errors


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--device", 0), "--device: CPU backends take no GPU. Leave it out, or choose another"),
        (("--backend", "openvino", "--device", 0), "--device: CPU backends take no GPU."),
        (("--backend", "auto"), "--backend: there is no backend auto. Choose from: rtx, tensorrt"),
        (("--backend", "rtx"), "has no 8-view fp16 graph, only 1-view fp32, 8-view fp32."),
        (("--backend", "tensorrt"), "has no 8-view fp16 graph"),
    ],
)
def test_verify_command_with_wrong_options_is_one_line(toy_bundle, run_command, options, says):
    status, output, errors = run_command(main, "verify", toy_bundle, *options)
    assert (status, output) == (2, "")
    assert says in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("build", "FOLDER/none", "--out", "FOLDER/out"), "none: is not a checkpoint folder."),
        (("build", "FOLDER/bundle", "--out", "FOLDER/out"), "bundle: is not a checkpoint folder."),
        (("build", "FOLDER/binary", "--out", "FOLDER/out"), "checkpoint.json: is not a text file."),
        (("build", "FOLDER/none", "--out", "FOLDER"), "already exists. Choose another folder"),
        (("engines", "FOLDER", "--runtime", "rtx"), "is a folder without manifest.json."),
        (("engines", "FOLDER/none", "--runtime", "rtx"), "none: is not a bundle folder."),
        (("verify", "FOLDER/none"), "none: is not a bundle folder. Give a folder written by"),
        (("verify", "FOLDER"), "is a folder without manifest.json. Give a folder written by"),
        (("verify", "."), "error: .: is a folder without manifest.json."),
        (("verify", ""), "error: an argument is empty."),
        (("inspect", "FOLDER/none"), "none: is not a bundle folder."),
        (
            ("verify", "FOLDER/two", "--scans", "FOLDER/scans"),
            "scans: has no T1 image for 1 of 1 scan",
        ),
        (("verify", "FOLDER/two", "--scans", "FOLDER/none"), "none: does not exist."),
    ],
)
def test_export_commands_on_wrong_input_are_one_line(
    toy_bundle, tmp_path, run_command, monkeypatch, arguments, says
):
    write_toy_bundle(tmp_path / "two", channels=("flair", "t1"))
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz")
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "checkpoint.json").write_bytes(b"\xff\xfe")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    call = [argument.replace("FOLDER", str(tmp_path)) for argument in arguments]
    status, _, errors = run_command(main, *call)
    assert status == 2
    assert says in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_verify_and_inspect_run_without_pytorch_and_onnx(toy_bundle):
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'peft', 'scipy'): sys.modules[name] = None\n"
        "from wmh_export.cli import main\n"
        "sys.argv = ['wmh-export', sys.argv[1], sys.argv[2]]\n"
        "main()\n"
    )
    for command in ("verify", "inspect"):
        result = subprocess.run(
            [sys.executable, "-c", program, command, toy_bundle], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "8 views" in result.stdout or "graphs/8-view.fp32.onnx" in result.stdout


class Int8Fake(FakeBackend):
    """Stands for an engine or another backend that needs the acceptance check."""

    precision = "int8"

    def __init__(self, offset=0.0):
        super().__init__(SHAPE)
        self.offset = np.float32(offset)

    def _execute(self, batch):
        return super()._execute(batch) + self.offset


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(acceptance, "user_cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_backend_is_compared_once_per_machine(toy_bundle, cache):
    bundle = load_bundle(toy_bundle)
    with Int8Fake() as backend:
        parity = check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8)
        assert parity is not None
        assert parity.mask_dice == 1
        executed = backend.batches_executed
        assert executed == 1
        assert check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8) is None
        assert backend.batches_executed == executed
        assert (
            check_acceptance(bundle, backend, bundle.manifest.graphs[0], views=1) is not None
        )  # another graph


def test_backend_is_compared_again_on_another_machine_or_version(toy_bundle, cache, monkeypatch):
    bundle = load_bundle(toy_bundle)
    with Int8Fake() as backend:
        assert check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8) is not None
        monkeypatch.setattr(acceptance.platform, "node", lambda: "another machine")
        assert check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8) is not None
        monkeypatch.setattr(Int8Fake, "versions", {"fake": "2.0"})
        assert check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8) is not None


def test_backend_with_different_output_is_rejected_every_time(toy_bundle, cache):
    bundle = load_bundle(toy_bundle)
    with Int8Fake(offset=0.8) as backend:  # every pixel is lesion
        for _ in range(2):
            with pytest.raises(BackendError, match=r"int8 on fake.*output differs.*mask Dice"):
                check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8)
    assert not cache.exists()


def test_backend_with_a_recorded_violation_is_rejected(toy_bundle, cache):
    bundle = load_bundle(toy_bundle)
    recorded = perfect_parity(backend="fake", precision="int8", data="scans", mask_dice=0.9)
    graph = bundle.manifest.graphs[1].model_copy(update={"parity": [recorded]})
    manifest = bundle.manifest.model_copy(update={"graphs": [graph]})
    with (
        Int8Fake() as backend,
        pytest.raises(BackendError, match=r"fake, scans: .* where the bundle was made"),
    ):
        check_acceptance(Bundle(bundle.folder, manifest), backend, graph, views=8)
    assert not cache.exists()


def test_onnxruntime_in_float32_is_not_compared(toy_bundle, cache):
    bundle = load_bundle(toy_bundle)
    with OnnxRuntimeBackend.from_bundle(bundle) as backend:
        assert check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8) is None
    assert not cache.exists()


def test_another_engine_of_the_same_graph_is_compared_again(toy_bundle, cache):
    bundle = load_bundle(toy_bundle)
    engine = bundle.manifest.graphs[1].model_copy(update={"sha256": "1" * 64})
    rebuilt = engine.model_copy(update={"sha256": "2" * 64})
    with Int8Fake() as backend:
        assert check_acceptance(bundle, backend, engine, views=8) is not None
        assert check_acceptance(bundle, backend, engine, views=8) is None
        assert check_acceptance(bundle, backend, rebuilt, views=8) is not None


def test_backend_is_compared_again_with_a_stricter_tolerance(toy_bundle, cache, monkeypatch):
    bundle = load_bundle(toy_bundle)
    graph = bundle.manifest.graphs[1]
    with Int8Fake(offset=1e-3) as backend:
        assert check_acceptance(bundle, backend, graph, views=8) is not None
        monkeypatch.setitem(TOLERANCES, "int8", Tolerance(probability=1e-4))
        with pytest.raises(BackendError, match="probability differs"):
            check_acceptance(bundle, backend, graph, views=8)


def test_backend_is_compared_every_time_without_a_writable_cache(
    toy_bundle, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(acceptance, "user_cache_folder", lambda: tmp_path / "file")
    bundle = load_bundle(toy_bundle)
    with Int8Fake() as backend:
        for _ in range(2):
            assert check_acceptance(bundle, backend, bundle.manifest.graphs[1], views=8) is not None
    assert "the result of the acceptance check cannot be stored" in caplog.text


def test_infer_compares_before_the_first_scan(tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(acceptance, "user_cache_folder", lambda: tmp_path / "cache")
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz", lesions=3)
    command = (tmp_path / "scans", tmp_path / "out", "--bundle", "demo", "--precision", "int8")
    status, output, _ = run_command(infer, *command)
    assert status == 0
    assert "int8 agrees with the trained network on this machine: mask Dice 0.99" in output
    status, output, _ = run_command(infer, *command, "--overwrite")
    assert status == 0
    assert "agrees" not in output


def test_infer_rejects_a_backend_with_different_output(tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(acceptance, "user_cache_folder", lambda: tmp_path / "cache")
    execute = OpenVinoBackend._execute
    monkeypatch.setattr(OpenVinoBackend, "_execute", lambda self, batch: execute(self, batch) * 0.1)
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz")
    command = (tmp_path / "scans", tmp_path / "out", "--bundle", "demo", "--backend", "openvino")
    status, _, errors = run_command(infer, *command)
    assert status == 2
    assert "fp32 on openvino" in errors
    assert "output differs from the trained network on this machine" in errors
    assert not list((tmp_path / "out").rglob("*.nii.gz"))
