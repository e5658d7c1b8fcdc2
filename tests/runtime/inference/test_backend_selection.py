"""Which backend executes: the one that was named, or the fastest that can, and why."""

import json
import sys

import numpy as np
import pytest

from tests.fakes import cuda_runtime, onnxruntime_gpu
from tests.runtime.gpus import has_gpu, install_fake_gpus, with_cuda_graphs, with_engines
from tests.toys import write_head
from wmh_runtime.backends import tensorrt_engine
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli.infer.main import main
from wmh_runtime.conformance import acceptance
from wmh_runtime.errors import BackendError, BundleError, InputError, NotInstalledError
from wmh_runtime.inference import backend_factory
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import build_unverified, open_backends

FP32 = BackendOptions(views=8, precision="fp32")
FP16 = BackendOptions(views=8, precision="fp16")


@pytest.fixture
def bundle(toy_bundle):
    return with_engines(with_engines(load_bundle(toy_bundle), "rtx"), "tensorrt")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for module in (acceptance, tensorrt_engine):
        monkeypatch.setattr(module, "user_cache_folder", lambda: tmp_path / "cache")


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, and everything installed that uses them."""
    monkeypatch.setattr(backend_factory, "device_type", lambda: CudaDevice)
    return install_fake_gpus(monkeypatch)


def name_and_rest(bundle, name, wanted):
    with open_backends(bundle, name, wanted) as found:
        return found.backends[0].name, found


def test_without_a_gpu_the_fastest_cpu_backend_is_selected_silently(bundle):
    name, found = name_and_rest(bundle, "auto", FP32)
    assert name == "openvino"
    assert found.rejected == []


@pytest.mark.parametrize(
    ("wanted", "name"), [(FP16, "rtx"), (FP32, "onnxruntime-cuda")], ids=["fp16", "fp32"]
)
def test_with_a_gpu_the_precision_decides_whether_an_engine_is_selected(bundle, gpus, wanted, name):
    assert name_and_rest(bundle, "auto", wanted)[0] == name


def test_graphs_for_cuda_are_run_as_cuda_graphs_by_name_only(bundle, gpus):
    without_engines = bundle.manifest.model_copy(update={"engines": []})
    bundle = with_cuda_graphs(type(bundle)(bundle.folder, without_engines))
    assert name_and_rest(bundle, "auto", FP16)[0] == "onnxruntime-cuda"
    with open_backends(bundle, "onnxruntime-cuda-graph", FP16) as found:
        (backend,) = found.backends
        assert onnxruntime_gpu.state.runs == 3  # capture, replay, and the acceptance check
        assert backend.predict(np.zeros((1, 1, 32, 32), np.float32))[0, 0, 0, 0] == 0.5
    ((_, options),) = onnxruntime_gpu.state.providers
    assert options["enable_cuda_graph"] == 1
    with pytest.raises(BackendError, match="does not compute in fp32"):
        name_and_rest(bundle, "onnxruntime-cuda-graph", FP32)


def test_a_cuda_graph_that_cannot_be_captured_frees_what_it_took(bundle, gpus, monkeypatch):
    monkeypatch.setattr(onnxruntime_gpu.state, "fails", True)
    with pytest.raises(BackendError, match="failed on a batch of 1: out of memory"):
        name_and_rest(with_cuda_graphs(bundle), "onnxruntime-cuda-graph", FP16)
    assert onnxruntime_gpu.state.severity == 2  # warnings, the default


def test_a_bundle_without_graphs_for_cuda_says_so(bundle, gpus):
    with pytest.raises(BundleError, match=r"has no 8-view fp16 graph made for CUDA\. Export"):
        name_and_rest(bundle, "onnxruntime-cuda-graph", FP16)


def test_graphs_with_and_without_a_provider_are_other_models(bundle):
    graphs = bundle.manifest.graphs
    other = [graphs[0].model_copy(update={"provider": "cuda"}), *graphs[1:]]
    changed = bundle.manifest.model_copy(update={"graphs": other})
    assert changed.model_id != bundle.manifest.model_id


def test_a_backend_that_would_fall_back_to_the_cpu_is_rejected_with_the_reason(bundle, gpus):
    onnxruntime_gpu.state.falls_back = True
    name, found = name_and_rest(bundle, "auto", FP32)
    assert name == "openvino"
    (cuda,) = found.rejected
    assert cuda.startswith("onnxruntime-cuda is not used: onnxruntime-cuda: CUDAExecutionProvider")
    assert "could not be loaded (Failed to load libcudnn.so.9). Check the driver" in cuda


def test_a_backend_beyond_its_tolerance_is_rejected(bundle, monkeypatch):
    execute = OpenVinoBackend._execute
    monkeypatch.setattr(OpenVinoBackend, "_execute", lambda self, batch: 0.5 * execute(self, batch))
    name, found = name_and_rest(bundle, "auto", FP32)
    assert name == "onnxruntime"
    assert found.rejected[0].startswith("openvino is not used: fp32 on openvino")


def test_without_a_fitting_engine_the_error_says_how_to_build_one(bundle, gpus):
    manifest = bundle.manifest
    other = [e.model_copy(update={"targets": ["sm120"], "gpu": ""}) for e in manifest.engines]
    bundle = type(bundle)(bundle.folder, manifest.model_copy(update={"engines": other}))
    onnxruntime_gpu.state.falls_back = True
    with pytest.raises(
        BackendError,
        match=r"engine was built for sm120, this GPU is sm89; tensorrt: .*\."
        r" Build an engine with wmh-export engines: runtime rtx, targets sm89\.$",
    ):
        name_and_rest(bundle, "auto", FP16)


NO_CUDA = "onnxruntime-cuda: the installed ONNX Runtime has no CUDAExecutionProvider"
NO_TENSORRT = "onnxruntime-tensorrt: the installed ONNX Runtime has no TensorrtExecutionProvider"
INSTALL_CUDA = (
    "With an NVIDIA GPU, run: pip uninstall onnxruntime onnxruntime-gpu; then run: pip install"
    ' "wmh-lora[cuda]"'
)


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("options", "missing", "says"),
    [
        (
            BackendOptions(8, "fp32", gpus=(0,)),
            (),
            f"gpus: no backend computes in fp32 on GPU 0 here ({NO_CUDA})."
            f" To run on the CPU, give no GPU index. {INSTALL_CUDA}",
        ),
        (
            FP16,
            (),
            "precision: no backend computes in fp16 here (rtx: the library tensorrt_rtx is not"
            " installed; tensorrt: the library tensorrt is not installed;"
            f" {NO_CUDA}; {NO_TENSORRT}). To run on the CPU, choose"
            f" precision fp32. {INSTALL_CUDA}",
        ),
        (
            BackendOptions(8, "fp16", gpus=(0, 1)),
            ("onnxruntime",),
            "gpus: no backend computes in fp16 on GPU 0, 1 here (rtx: the library tensorrt_rtx is"
            " not installed; tensorrt: the library tensorrt is not installed;"
            " onnxruntime-cuda, onnxruntime-tensorrt: the library"
            " onnxruntime is not installed). To run on the CPU, give no GPU index and choose"
            f" precision fp32. {INSTALL_CUDA}",
        ),
        (
            FP32,
            ("onnxruntime", "openvino"),
            "backend: no backend computes in fp32 here (onnxruntime-cuda, onnxruntime: the library"
            " onnxruntime is not installed; openvino: the library openvino is not installed)."
            ' Run: pip install "wmh-lora[cpu]"',
        ),
        (
            BackendOptions(8, "bf16"),
            ("onnxruntime", "openvino"),
            "precision: no backend computes in bf16 here (openvino: the library openvino is not"
            ' installed). Run: pip install "wmh-lora[cpu,openvino]"',
        ),
        (
            BackendOptions(8, "int8", gpus=(0,)),
            (),
            "gpus: no backend computes in int8 on GPU 0. Choose another precision: fp16, fp32.",
        ),
        (
            BackendOptions(8, "fp16", threads=2),
            (),
            "precision: no backend computes in fp16 on the CPU."
            " Choose another precision: fp32, bf16, int8, int8+bf16.",
        ),
        (
            BackendOptions(8, "fp32", gpus=(0,), threads=2),
            (),
            "gpus: a backend runs either on GPUs or on CPU threads. Choose one of them.",
        ),
    ],
)
def test_without_a_fitting_backend_the_error_names_wish_reasons_and_remedy(
    bundle, options, missing, says, monkeypatch
):
    for module in ("tensorrt_rtx", "tensorrt", *missing):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError) as raised:
        name_and_rest(bundle, "auto", options)
    assert str(raised.value) == says


def test_without_a_gpu_the_error_advises_to_check_the_driver(bundle, gpus):
    no_device = cuda_runtime.cudaError_t.cudaErrorNoDevice
    cuda_runtime.failures["cudaGetDeviceCount"] = no_device
    with pytest.raises(BackendError) as raised:
        name_and_rest(bundle, "auto", FP16)
    assert str(raised.value) == (
        "precision: no backend computes in fp16 here (rtx, tensorrt, onnxruntime-cuda,"
        " onnxruntime-tensorrt: no GPU can be used (cudaErrorNoDevice)). To run"
        " on the CPU, choose precision fp32. With an NVIDIA GPU, check the driver with nvidia-smi."
    )


@pytest.mark.parametrize(
    "open_backend",
    [lambda *args: open_backends(*args).__enter__(), build_unverified],
    ids=["open", "build"],
)
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("rtx", "tensorrt_rtx"),
        ("tensorrt", "tensorrt"),
        ("onnxruntime-cuda", "onnxruntime"),
        ("openvino", "openvino"),
    ],
)
def test_a_backend_that_is_not_installed_says_so_before_anything_else(
    bundle, open_backend, name, module, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    impossible = BackendOptions(8, "fp32" if name in ("rtx", "tensorrt") else "fp16", threads=2)
    with pytest.raises(NotInstalledError, match=f"{name}: the library {module} is not installed"):
        open_backend(bundle, name, impossible)


@pytest.mark.parametrize("name", ["rtx", "tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_engines_and_graphs_run_on_two_gpus(bundle, gpus, name):
    wanted = BackendOptions(views=1, precision="fp16", gpus=(0, 1))
    with open_backends(bundle, name, wanted) as found:
        assert [backend.batch_size for backend in found.backends] == [8, 8]
        assert str(found).startswith("2 × ")
        assert str(found).endswith("on Fake in fp16")
        for backend in found.backends:
            given = backend.predict(np.ones((3, *backend.shape.input_shape), np.float32))
            np.testing.assert_allclose(given, 0.7310586, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "wanted", "says"),
    [
        ("cuda", FP32, "backend: there is no backend cuda. Choose from: auto, rtx, tensorrt"),
        ("rtx", FP32, "rtx: does not compute in fp32. Choose precision fp16, or another backend"),
        (
            "rtx",
            BackendOptions(8, "fp16", threads=2),
            "threads: rtx runs on a GPU. Leave it out",
        ),
        (
            "rtx",
            BackendOptions(8, "fp16", gpus=(2,)),
            "gpus: there is no GPU 2. Choose from: 0 (Fake)",
        ),
        ("rtx", BackendOptions(8, "fp16", batch_size=33), "takes 1 to 32 slices per batch, not 33"),
        (
            "onnxruntime-cuda",
            BackendOptions(8, "int8"),
            "onnxruntime-cuda: does not compute in int8. Choose precision fp32 or fp16",
        ),
        ("onnxruntime", BackendOptions(8, "int8"), "has no 1-view int8 graph"),
        (
            "openvino",
            BackendOptions(8, "fp32", gpus=(0,)),
            "gpus: openvino runs on the CPU",
        ),
    ],
)
def test_impossible_options_are_one_line(bundle, gpus, name, wanted, says):
    with pytest.raises((InputError, BackendError, BundleError)) as raised:
        name_and_rest(bundle, name, wanted)
    assert says in str(raised.value)


def test_gpus_of_several_models_are_not_mixed(bundle, gpus, monkeypatch):
    monkeypatch.setattr(cuda_runtime, "names", [b"RTX 4060", b"RTX 4090"])
    with pytest.raises(
        BackendError, match=r"gpus: the GPUs are of several models \(RTX 4060, RTX 4090"
    ):
        name_and_rest(bundle, "onnxruntime-cuda", BackendOptions(8, "fp32", gpus=(0, 1)))


def test_a_folder_is_segmented_by_an_engine_on_two_gpus(bundle, gpus, run_command, tmp_path):
    for number in range(5):
        write_head(
            tmp_path / "scans" / f"sub-{number}_FLAIR.nii.gz", lesions=1 + number % 2, seed=number
        )
    options = ("--bundle", bundle.folder, "--precision", "fp16", "--device", "0,1")
    status, said, errors = run_command(main, tmp_path / "scans", tmp_path / "out", *options)
    assert (status, errors) == (0, "")
    assert "running on 2 × rtx 11.0.0 on Fake in fp16" in said
    assert "fp16 agrees with the trained network on this machine" in said
    by_processor = tmp_path / "by-processor"
    run_command(
        main, tmp_path / "scans", by_processor, "--bundle", bundle.folder, "--backend", "openvino"
    )
    for record in sorted((tmp_path / "out").glob("*_mask.json")):
        found, other = (
            json.loads(path.read_text()) for path in (record, by_processor / record.name)
        )
        assert found["settings"]["backend"] == "rtx"
        assert found["settings"]["device"] == "Fake"
        assert found["volume_ml"] == other["volume_ml"]


def test_a_lost_gpu_ends_a_run_that_can_be_resumed(
    bundle, gpus, run_command, tmp_path, monkeypatch
):
    for number in range(12):
        write_head(tmp_path / "scans" / f"{number:02}_FLAIR.nii.gz")
    call = (main, tmp_path / "scans", tmp_path / "out", "--bundle", bundle.folder)
    call += ("--backend", "rtx", "--precision", "fp16")
    waited = []
    wait = cuda_runtime.cudaEventSynchronize

    def fail_later(event):
        waited.append(event)
        if len(waited) > 40:
            cuda_runtime.failures["cudaEventSynchronize"] = (
                cuda_runtime.cudaError_t.cudaErrorIllegalAddress
            )
        return wait(event)

    monkeypatch.setattr(cuda_runtime, "cudaEventSynchronize", fail_later)
    status, said, errors = run_command(*call)
    assert status == 1
    finished = len(list((tmp_path / "out").glob("*_mask.json")))
    assert 1 <= finished < 12
    assert f"stopped after {finished} of 12 scans. Check it with nvidia-smi" in errors
    assert len((tmp_path / "out" / "volumes.csv").read_text().splitlines()) == 1 + finished
    monkeypatch.setattr(cuda_runtime, "cudaEventSynchronize", wait)
    cuda_runtime.failures.clear()
    status, said, _ = run_command(*call)
    assert status == 0
    assert f"12 scans finished, {finished} of them by earlier or other runs" in said


def test_a_new_engine_leaves_existing_results_valid(toy_bundle, gpus, run_command, tmp_path):
    bundle = with_engines(load_bundle(toy_bundle), "rtx")
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz")
    call = (main, tmp_path / "scans", tmp_path / "out", "--bundle", toy_bundle)
    precision = ("--precision", "fp16")
    status, said, _ = run_command(*call, *precision, "--backend", "onnxruntime-cuda")
    assert status == 0
    with_engines(bundle, "tensorrt")
    status, said, _ = run_command(*call, *precision)
    assert (status, "running on rtx" in said) == (0, True)
    assert "1 scan finished, 1 of them by earlier or other runs" in said
    status, _, errors = run_command(*call, *precision, "--backend", "rtx")
    assert status == 2
    assert "other settings: backend (onnxruntime-cuda, now rtx)" in errors
