"""The contract that every backend keeps, the shipped fake included."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from torch import nn

from tests.runtime.gpus import DEVICES, has_gpu, install_fake_gpus
from tests.toys import TOY_SIZE_PX, small_recipe
from wmh_export.engines.compiler import compile_graph
from wmh_runtime.backends import onnx_graph, registry, tensorrt_engine
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.backends.gpu import driver as select_device
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.backends.openvino import OpenVinoBackend
from wmh_runtime.backends.registry import GPU_BACKENDS, find_backend, installed_backends
from wmh_runtime.backends.tensorrt_engine import EngineBackend
from wmh_runtime.backends.tensorrt_library import load_tensorrt
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.errors import BackendError, InputError, NotInstalledError
from wmh_runtime.types import NetworkShape
from wmh_train.model.decoder import Logits
from wmh_train.torch_backend import TorchBackend

SHAPE = NetworkShape(channels=1, outputs=1, size_px=TOY_SIZE_PX)


class ImageAsLogits(nn.Module):
    """Logits as PyTorch networks here give them: the image itself."""

    def forward(self, image):
        return Logits(image, [])


FAKE_GPUS = [
    f"{backend}/{driver}"
    for backend in ("rtx", "tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt")
    for driver in DEVICES
]
REAL_GPUS = ["rtx/real", "tensorrt/real", "onnxruntime-cuda/real", "onnxruntime-tensorrt/real"]


@pytest.fixture(
    params=[
        *("fake", "onnxruntime", "openvino", "torch"),
        *FAKE_GPUS,
        *(REAL_GPUS if has_gpu() else []),
    ]
)
def make_backend(request, toy_bundle, monkeypatch, tmp_path):
    """All execute the same network: the logistic function."""
    monkeypatch.setattr(tensorrt_engine, "user_cache_folder", lambda: tmp_path / "cache")
    if request.param in FAKE_GPUS:
        install_fake_gpus(monkeypatch)

    def make(batch_size=1):
        if "/" in request.param:
            return on_gpu(*request.param.split("/"), toy_bundle, batch_size)
        if request.param == "fake":
            return FakeBackend(SHAPE, batch_size)
        if request.param == "torch":
            preprocessing = {"pixel_size_mm": 4.0, "size_px": TOY_SIZE_PX}
            recipe = small_recipe(preprocessing=preprocessing)
            return TorchBackend(ImageAsLogits(), recipe, batch_size=batch_size)
        backend = find_backend(request.param)
        return backend.of_bundle(open_bundle(toy_bundle), batch_size=batch_size)

    return make


def on_gpu(name, driver, folder, batch_size):
    """A backend of GPUs, of fakes but where the driver is real."""
    device = select_device.device_type() if driver == "real" else DEVICES[driver]
    file = folder / "graphs" / "8-view.fp32.onnx"
    for kind in GPU_BACKENDS:
        if kind.name == name:
            try:
                kind.require_installed()
            except NotInstalledError as error:
                pytest.skip(str(error))
            precision = kind.precisions[-1]
            return kind(file, SHAPE, device, precision=precision, batch_size=batch_size)
    plan = folder / f"{name}.engine"
    try:
        toolkit = load_tensorrt(name)
    except NotInstalledError as error:
        pytest.skip(str(error))
    if driver == "real":
        gpu = device.gpu_by_index(0)
        aim = {"targets": [gpu.target]} if name == "rtx" else {"gpu": gpu}
        profile = BatchProfile(least=1, best=1, most=8)
        plan.write_bytes(compile_graph(toolkit, file, profile, SHAPE.slice_in, **aim).plan)
    else:
        plan.write_bytes(b"engine of slices")
    return EngineBackend(plan, toolkit, device, SHAPE, batch_size=batch_size)


def rounding_of(backend):
    """TensorRT within ONNX Runtime computes in half what the graph has in float32."""
    return 1e-3 if backend.name == "onnxruntime-tensorrt" else 1e-6


def random_slices(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE.slice_in)).astype(np.float32)


def test_probabilities_by_hand(make_backend):
    slices = np.zeros((1, *SHAPE.slice_in), np.float32)
    slices[0, 0, 3, 5] = 1
    with make_backend() as backend:
        probability = backend.predict(slices)
    assert probability.dtype == np.float32
    assert probability.shape == (1, *SHAPE.slice_out)
    assert probability[0, 0, 3, 5] == pytest.approx(0.7310586, abs=rounding_of(backend))
    assert probability[0, 0, 5, 3] == pytest.approx(0.5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_no_slice_is_lost_whatever_the_batch(make_backend, batch_size, count):
    slices = random_slices(count)
    with make_backend(batch_size) as backend:
        found = backend.predict(slices)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-slices)), atol=rounding_of(backend))


def test_a_slice_does_not_depend_on_its_neighbors(make_backend):
    slices = random_slices(5)
    with make_backend(batch_size=4) as backend:
        together = backend.predict(slices)
        alone = np.concatenate([backend.predict(slices[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(together, alone)


def test_two_batches_are_under_way_and_come_back_in_order(make_backend):
    slices = random_slices(8)
    with make_backend(batch_size=2) as backend:
        waiting = [backend.submit(list(slices[0:2]))]
        found = []
        for start in (2, 4, 6):
            waiting.append(backend.submit(list(slices[start : start + 2])))
            found.append(waiting.pop(0)())
        found.append(waiting.pop(0)())
    expected = 1 / (1 + np.exp(-slices))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=rounding_of(backend))


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
def test_wrong_input_is_refused_with_what_came_and_what_was_expected(make_backend, wrong):
    with make_backend() as backend, pytest.raises(BackendError) as raised:
        backend.predict(wrong)
    assert str(list(wrong.shape)) in str(raised.value)
    assert "expected float32 [N, 1, 32, 32]" in str(raised.value)


def test_what_executed_is_described_beginning_with_its_name(make_backend):
    # By this a measurement in a manifest is known again.
    with make_backend() as backend:
        assert backend.description.split()[0] == backend.name


def test_a_backend_works_only_while_it_is_open(make_backend):
    backend = make_backend()
    with pytest.raises(BackendError, match="with statement"):
        backend.predict(random_slices(1))
    with backend:
        backend.predict(random_slices(1))
    with pytest.raises(BackendError, match="with statement"):
        backend.predict(random_slices(1))


class Broken(FakeBackend):
    """Gives what it is told to give."""

    def __init__(self, given):
        super().__init__(SHAPE)
        self.given = given

    def _execute(self, batch):
        return self.given


def test_probabilities_that_are_not_finite_are_not_taken_for_an_empty_mask():
    given = np.full((1, *SHAPE.slice_out), np.nan, np.float32)
    with Broken(given) as backend, pytest.raises(BackendError, match="not finite"):
        backend.predict(random_slices(1))


def test_output_of_another_shape_is_not_spread_over_what_was_expected():
    given = np.zeros((1, 1, 1, 1), np.float32)
    with Broken(given) as backend, pytest.raises(BackendError, match=r"expected \[1, 1, 32, 32\]"):
        backend.predict(random_slices(1))


def test_a_batch_of_nothing_is_refused(make_backend):
    with pytest.raises(BackendError, match="batch of 0"):
        make_backend(0)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_a_broken_graph_is_one_clear_line(tmp_path, backend):
    graph = tmp_path / "broken.onnx"
    graph.write_bytes(b"not a graph")
    with pytest.raises(BackendError, match=r"broken\.onnx: .* refuses the graph") as raised:
        backend(graph, SHAPE).__enter__()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("backend", [OnnxRuntimeBackend, OpenVinoBackend])
def test_without_its_library_the_install_line_is_given(toy_bundle, monkeypatch, backend):
    monkeypatch.setitem(sys.modules, backend.name, None)
    with pytest.raises(BackendError, match=r"is not installed\. Run in the project's folder: pip"):
        backend.of_bundle(open_bundle(toy_bundle)).__enter__()


def test_names_of_backends_come_in_any_case():
    assert find_backend("OpenVINO") is OpenVinoBackend


def test_a_backend_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r"openvino: is not installed\. .*openvino\]'"):
        find_backend("openvino")


def test_onnx_runtime_records_nothing_of_its_user(tmp_path):
    # Left to itself it keeps an identity of the machine and a list of sessions in the user's cache.
    program = """
from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import open_bundle
OnnxRuntimeBackend.of_bundle(open_bundle("demo")).__enter__()
"""
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program], env=os.environ | homes, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_precision_of_another_backend_is_refused_with_those_it_has(toy_bundle):
    bundle = open_bundle(toy_bundle)
    with pytest.raises(BackendError, match=r"onnxruntime: does not compute in bf16.*fp32, int8"):
        OnnxRuntimeBackend.of_bundle(bundle, precision="bf16")
    with pytest.raises(BackendError, match=r"would only emulate fp16, slower than float32"):
        OpenVinoBackend.of_bundle(bundle, precision="fp16")


def test_bf16_executes_the_float32_graph_where_the_processor_has_it(toy_bundle, monkeypatch):
    bundle = open_bundle(toy_bundle)
    if "bf16" in OpenVinoBackend.precisions_here():
        slices = random_slices(2)
        with OpenVinoBackend.of_bundle(bundle, precision="bf16") as backend:
            found = backend.predict(slices)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-slices)), atol=2**-7)
    monkeypatch.setattr(OpenVinoBackend, "precisions_here", classmethod(lambda cls: ("fp32",)))
    with pytest.raises(BackendError, match=r"this processor has no bfloat16\. Use fp32 or int8"):
        OpenVinoBackend.of_bundle(bundle, precision="bf16").__enter__()


def test_a_backend_says_what_executes_and_where(make_backend):
    with make_backend() as backend:
        description = backend.description
    assert description.endswith((" on cpu", " on none", f" on {backend.device}"))
    assert any(c.isdigit() for c in description) or description == "fake on none"


def test_a_backend_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(InputError, match=r"there is no backend cuda.*onnxruntime, openvino"):
        find_backend("cuda")


def test_only_installed_backends_are_offered(monkeypatch):
    assert installed_backends() == [OnnxRuntimeBackend, OpenVinoBackend]
    found = registry.find_spec
    monkeypatch.setattr(registry, "find_spec", lambda n: None if n == "openvino" else found(n))
    assert installed_backends() == [OnnxRuntimeBackend]


def test_openvino_meets_numpy_before_two_threads_use_it(toy_bundle, monkeypatch):
    """Its first conversion of a type, in two threads at a time, has been seen to hang for ever."""
    import openvino

    asked = []

    class Watched:
        @property
        def f32(self):
            asked.append(threading.current_thread().name)
            return kept.f32

    kept = openvino.Type
    monkeypatch.setattr(openvino, "Type", Watched())
    with OpenVinoBackend.of_bundle(open_bundle(toy_bundle)):
        assert asked == [threading.current_thread().name]
