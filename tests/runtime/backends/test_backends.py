"""The contract that every backend keeps, including the fake one."""

import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import onnx
import pytest
from torch import nn

from tests.export.graphs.test_views import weighting_graph
from tests.fakes import onnxruntime_gpu
from tests.runtime.gpus import DEVICES, has_gpu, install_fake_gpus
from tests.toys import TOY_SIZE_PX
from tests.training_toys import small_recipe
from wmh_export.engines.compiler import compile_graph
from wmh_runtime.backends import onnx_graph, registry, tensorrt_engine
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.gpu import driver as gpu_driver
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.onnxruntime_gpu import CudaProviderBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.backends.registry import (
    CPU_BACKENDS,
    GPU_BACKENDS,
    find_backend,
    installed_backends,
)
from wmh_runtime.backends.tensorrt_engine import EngineBackend
from wmh_runtime.backends.tensorrt_library import load_tensorrt
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.errors import BackendError, InputError, NotInstalledError
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import NetworkShape
from wmh_train.model.decoder import Logits
from wmh_train.torch_backend import TorchBackend

SHAPE = NetworkShape(channels=1, outputs=1, size_px=TOY_SIZE_PX)


class ImageAsLogits(nn.Module):
    """A PyTorch network whose logits are the image itself."""

    def forward(self, image):
        return Logits(image, [])


FAKE_GPUS = [
    f"{backend}/{driver}"
    for backend in ("rtx", "tensorrt", *(kind.name for kind in GPU_BACKENDS))
    for driver in DEVICES
]
REAL_GPUS = [f"{name}/real" for name in ("rtx", "tensorrt", *(one.name for one in GPU_BACKENDS))]


@pytest.fixture(
    params=[
        *("fake", "onnxruntime", "openvino", "torch"),
        *FAKE_GPUS,
        *(REAL_GPUS if has_gpu() else []),
    ]
)
def make_backend(request, toy_bundle, monkeypatch, tmp_path):
    """Return a function that creates the backend. All backends execute the logistic function."""
    monkeypatch.setattr(tensorrt_engine, "user_cache_folder", lambda: tmp_path / "cache")
    if request.param in FAKE_GPUS:
        install_fake_gpus(monkeypatch)

    def make(batch_size=1):
        if "/" in request.param:
            return gpu_backend(*request.param.split("/"), toy_bundle, batch_size)
        if request.param == "fake":
            return FakeBackend(SHAPE, batch_size)
        if request.param == "torch":
            preprocessing = {"pixel_size_mm": 4.0, "size_px": TOY_SIZE_PX}
            recipe = small_recipe(preprocessing=preprocessing)
            return TorchBackend(ImageAsLogits(), recipe, batch_size=batch_size)
        backend = find_backend(request.param)
        return backend.from_bundle(load_bundle(toy_bundle), batch_size=batch_size)

    return make


def gpu_backend(name, driver, folder, batch_size):
    """Return a GPU backend. All drivers but `real` are fakes."""
    device = gpu_driver.device_type() if driver == "real" else DEVICES[driver]
    file = folder / "graphs" / "8-view.fp32.onnx"
    for kind in GPU_BACKENDS:
        if kind.name == name:
            try:
                kind.require_installed()
            except NotInstalledError as error:
                pytest.skip(str(error))
            precision = kind.precisions[-1]
            return kind(file, SHAPE, device, precision=precision, batch_size=batch_size)
    engine_path = folder / f"{name}.engine"
    try:
        library = load_tensorrt(name)
    except NotInstalledError as error:
        pytest.skip(str(error))
    if driver == "real":
        gpu = device.gpu_by_index(0)
        targets = {"targets": [gpu.target]} if name == "rtx" else {"gpu": gpu}
        profile = BatchProfile(min=1, opt=1, max=8)
        compiled = compile_graph(library, file, profile, SHAPE.input_shape, **targets)
        engine_path.write_bytes(compiled.plan)
    else:
        engine_path.write_bytes(b"engine of slices")
    return EngineBackend(engine_path, library, device, SHAPE, batch_size=batch_size)


def rounding_of(backend):
    """The TensorRT provider of ONNX Runtime computes float32 graphs in FP16."""
    return 1e-3 if backend.name == "onnxruntime-tensorrt" else 1e-6


def random_slices(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE.input_shape)).astype(np.float32)


def test_known_probabilities(make_backend):
    slices = np.zeros((1, *SHAPE.input_shape), np.float32)
    slices[0, 0, 3, 5] = 1
    with make_backend() as backend:
        probability = backend.predict(slices)
    assert probability.dtype == np.float32
    assert probability.shape == (1, *SHAPE.output_shape)
    assert probability[0, 0, 3, 5] == pytest.approx(0.7310586, abs=rounding_of(backend))
    assert probability[0, 0, 5, 3] == pytest.approx(0.5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_all_batch_sizes_return_all_slices(make_backend, batch_size, count):
    slices = random_slices(count)
    with make_backend(batch_size) as backend:
        outputs = backend.predict(slices)
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-slices)), atol=rounding_of(backend))


@pytest.mark.parametrize("kind", CPU_BACKENDS)
def test_eight_views_on_a_cpu_are_the_mean_of_one_view_of_each(kind, tmp_path):
    """With a network without any symmetry: it weights each pixel by its position."""
    rng = np.random.default_rng(0)
    weights = rng.random((TOY_SIZE_PX, TOY_SIZE_PX), np.float32)
    onnx.save_model(weighting_graph(weights), tmp_path / "graph.onnx")
    slices = rng.random((3, *SHAPE.input_shape), np.float32)
    with kind(tmp_path / "graph.onnx", SHAPE, views=VIEWS, batch_size=2) as backend:
        outputs = backend.predict(slices)
    by_view = [view.undo(view.apply(slices) * weights) for view in VIEWS]
    np.testing.assert_allclose(outputs, np.mean(by_view, axis=0), atol=1e-6)
    assert np.abs(outputs - slices * weights).max() > 0.1


def test_result_does_not_depend_on_other_slices_in_the_batch(make_backend):
    slices = random_slices(5)
    with make_backend(batch_size=4) as backend:
        together = backend.predict(slices)
        alone = np.concatenate([backend.predict(slices[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_two_batches_in_flight_return_in_order(make_backend):
    slices = random_slices(8)
    with make_backend(batch_size=2) as backend:
        in_flight = [backend.submit(list(slices[0:2]))]
        outputs = []
        for start in (2, 4, 6):
            in_flight.append(backend.submit(list(slices[start : start + 2])))
            outputs.append(in_flight.pop(0)())
        outputs.append(in_flight.pop(0)())
    expected = 1 / (1 + np.exp(-slices))
    np.testing.assert_allclose(np.concatenate(outputs), expected, atol=rounding_of(backend))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 2, TOY_SIZE_PX, TOY_SIZE_PX), np.float32),
        np.zeros((2, 1, TOY_SIZE_PX, 7), np.float32),
        np.zeros((1, TOY_SIZE_PX, TOY_SIZE_PX), np.float32),
        np.zeros((2, 1, TOY_SIZE_PX, TOY_SIZE_PX), np.float64),
    ],
    ids=["channels", "size", "axes", "type"],
)
def test_wrong_input_raises_an_error_with_both_shapes(make_backend, wrong):
    with make_backend() as backend, pytest.raises(BackendError) as raised:
        backend.predict(wrong)
    assert str(list(wrong.shape)) in str(raised.value)
    assert "expected float32 [N, 1, 32, 32]" in str(raised.value)


def test_description_starts_with_the_name(make_backend):
    # A manifest stores the description. Its first word identifies the library.
    with make_backend() as backend:
        assert backend.description.split()[0] == backend.name


def test_backend_works_only_while_it_is_open(make_backend):
    backend = make_backend()
    with pytest.raises(BackendError, match="with statement"):
        backend.predict(random_slices(1))
    with backend:
        backend.predict(random_slices(1))
    with pytest.raises(BackendError, match="with statement"):
        backend.predict(random_slices(1))


class FixedOutput(FakeBackend):
    """Returns the same array for every batch."""

    def __init__(self, outputs):
        super().__init__(SHAPE)
        self.outputs = outputs

    def _execute(self, batch):
        return self.outputs


def test_output_that_is_not_finite_raises_an_error():
    outputs = np.full((1, *SHAPE.output_shape), np.nan, np.float32)
    with FixedOutput(outputs) as backend, pytest.raises(BackendError, match="not finite"):
        backend.predict(random_slices(1))


def test_output_of_another_shape_raises_an_error():
    outputs = np.zeros((1, 1, 1, 1), np.float32)
    with (
        FixedOutput(outputs) as backend,
        pytest.raises(BackendError, match=r"expected \[1, 1, 32, 32\]"),
    ):
        backend.predict(random_slices(1))


def test_batch_size_0_raises_an_error(make_backend):
    with pytest.raises(BackendError, match="batch of 0"):
        make_backend(0)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_error_for_a_broken_graph_is_one_line(tmp_path, backend):
    graph = tmp_path / "broken.onnx"
    graph.write_bytes(b"not a graph")
    with pytest.raises(BackendError, match=r"broken\.onnx: .* rejects the graph") as raised:
        backend(graph, SHAPE).__enter__()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_missing_library_error_says_how_to_install(toy_bundle, monkeypatch, backend):
    monkeypatch.setitem(sys.modules, backend.name, None)
    with pytest.raises(BackendError, match=r'is not installed\. Run: pip install "wmh-lora\[cpu'):
        backend.from_bundle(load_bundle(toy_bundle)).__enter__()


def test_backend_names_ignore_case():
    assert find_backend("OpenVINO") is OpenVinoBackend


def test_find_backend_says_how_to_install(monkeypatch):
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r"openvino is not installed\. .*openvino\]"):
        find_backend("openvino")


def test_onnxruntime_writes_no_telemetry(tmp_path):
    # By default it writes a machine id and a list of sessions to the user's cache.
    program = """
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import load_bundle
OnnxRuntimeBackend.from_bundle(load_bundle("demo")).__enter__()
"""
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], env=os.environ | homes, check=True)
    assert list(tmp_path.iterdir()) == []


def test_unsupported_precision_error_lists_the_supported_ones(toy_bundle):
    bundle = load_bundle(toy_bundle)
    with pytest.raises(BackendError, match=r"onnxruntime: does not compute in bf16.*fp32, int8"):
        OnnxRuntimeBackend.from_bundle(bundle, precision="bf16")
    with pytest.raises(BackendError, match=r"would only emulate fp16, slower than float32"):
        OpenVinoBackend.from_bundle(bundle, precision="fp16")


def test_bf16_executes_the_float32_graph_if_the_cpu_supports_it(toy_bundle, monkeypatch):
    bundle = load_bundle(toy_bundle)
    if "bf16" in OpenVinoBackend.supported_precisions():
        slices = random_slices(2)
        with OpenVinoBackend.from_bundle(bundle, precision="bf16") as backend:
            outputs = backend.predict(slices)
        np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-slices)), atol=2**-7)
    monkeypatch.setattr(OpenVinoBackend, "supported_precisions", classmethod(lambda cls: ("fp32",)))
    with pytest.raises(BackendError, match=r"this CPU has no bfloat16\. Use fp32 or int8"):
        OpenVinoBackend.from_bundle(bundle, precision="bf16").__enter__()


def test_description_has_versions_and_device(make_backend):
    with make_backend() as backend:
        description = backend.description
    assert description.endswith((" on cpu", " on none", f" on {backend.device}"))
    assert any(c.isdigit() for c in description) or description == "fake on none"


def test_unknown_backend_error_lists_all_backends():
    with pytest.raises(InputError, match=r"there is no backend cuda.*onnxruntime, openvino"):
        find_backend("cuda")


def test_installed_backends_lists_only_installed_ones(monkeypatch):
    assert installed_backends() == [OnnxRuntimeBackend, OpenVinoBackend]
    find_spec = registry.find_spec
    monkeypatch.setattr(registry, "find_spec", lambda n: None if n == "openvino" else find_spec(n))
    assert installed_backends() == [OnnxRuntimeBackend]


def test_openvino_sets_up_numpy_types_before_two_threads_use_it(toy_bundle, monkeypatch):
    """The first conversion of a type deadlocked when two threads did it at the same time."""
    import openvino

    threads = []

    class RecordingType:
        @property
        def f32(self):
            threads.append(threading.current_thread().name)
            return openvino_type.f32

    openvino_type = openvino.Type
    monkeypatch.setattr(openvino, "Type", RecordingType())
    with OpenVinoBackend.from_bundle(load_bundle(toy_bundle)):
        assert threads == [threading.current_thread().name]


def test_onnxruntime_frees_its_session_and_logs_again_if_the_device_fails(toy_bundle, monkeypatch):
    install_fake_gpus(monkeypatch)
    graph = load_bundle(toy_bundle).folder / "graphs" / "8-view.fp32.onnx"

    def no_device(index):
        raise BackendError(f"there is no GPU {index}")

    def no_memory(*_):
        raise BackendError("too little free memory")

    class FullDevice(DEVICES["fake"]):
        allocate = no_memory

    opened = []

    class Session(onnxruntime_gpu.InferenceSession):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            opened.append(weakref.ref(self))

    monkeypatch.setattr(onnxruntime_gpu, "InferenceSession", Session)
    for device in (no_device, FullDevice):
        backend = CudaProviderBackend(graph, SHAPE, device)
        with pytest.raises(BackendError):
            backend.__enter__()
        assert onnxruntime_gpu.state.severity == 2  # warnings, the default
        assert opened.pop()() is None
    graph.write_bytes(b"not a graph")
    with pytest.raises(BackendError, match="rejects the graph"):
        CudaProviderBackend(graph, SHAPE, DEVICES["fake"]).__enter__()
    assert onnxruntime_gpu.state.severity == 2
