"""GPUs for tests: fakes of all GPU libraries, and the real GPUs of this machine, if any."""

import sys
from contextlib import suppress
from types import ModuleType, SimpleNamespace

from tests.fakes import cuda_runtime, onnxruntime_gpu, pycuda_driver
from tests.fakes import tensorrt as fake_tensorrt
from wmh_runtime.backends import tensorrt_library
from wmh_runtime.backends.gpu import driver
from wmh_runtime.backends.gpu.cuda_python import CudaDevice
from wmh_runtime.backends.gpu.fake import FakeDevice
from wmh_runtime.backends.gpu.pycuda import PyCudaDevice
from wmh_runtime.bundle.bundle import Bundle, write_manifest
from wmh_runtime.bundle.manifest import BatchProfile, Engine
from wmh_runtime.errors import BackendError
from wmh_runtime.files.hashing import sha256_file

DEVICES = {"fake": FakeDevice, "cuda-bindings": CudaDevice, "pycuda": PyCudaDevice}


def install_fake_drivers(monkeypatch):
    """Replace cuda-bindings and PyCUDA by fakes."""
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda_runtime
    package = ModuleType("pycuda")
    package.driver = pycuda_driver
    modules = {
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": cuda_runtime,
        "pycuda": package,
        "pycuda.driver": pycuda_driver,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cuda_runtime, "failures", {})
    monkeypatch.setattr(pycuda_driver, "failures", {})


def install_fake_gpus(monkeypatch):
    """Replace all libraries that need a GPU by fakes. Return the state of the fake TensorRT."""
    install_fake_drivers(monkeypatch)
    monkeypatch.setattr(driver, "device_type", lambda: CudaDevice)
    for module in tensorrt_library.MODULES.values():
        monkeypatch.setitem(sys.modules, module, fake_tensorrt)
    monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime_gpu)
    for name, value in (("fails", False), ("falls_back", False)):
        monkeypatch.setattr(onnxruntime_gpu.state, name, value)
    state = SimpleNamespace(compiled=0, enqueued=0, fails=False, has_no_memory=False)
    monkeypatch.setattr(fake_tensorrt, "state", state)
    return state


def with_cuda_graphs(bundle: Bundle) -> Bundle:
    """Add graphs for the CUDA provider to a bundle: the files of its FP16 graphs."""
    manifest = bundle.manifest
    fp16 = [graph for graph in manifest.graphs if graph.precision == "fp16"]
    assert fp16
    for_cuda = [graph.model_copy(update={"provider": "cuda"}) for graph in fp16]
    changed = manifest.model_copy(update={"graphs": [*manifest.graphs, *for_cuda]})
    write_manifest(bundle.folder, changed)
    return Bundle(bundle.folder, changed)


def with_engines(bundle: Bundle, kind: str) -> Bundle:
    """Add FP16 graphs and fake engines of them to a toy bundle."""
    manifest = bundle.manifest
    fp16_graphs = [
        graph.model_copy(update={"precision": "fp16"})
        for graph in manifest.graphs
        if graph.precision == "fp32"
    ]
    engines = []
    for graph in fp16_graphs:
        path = bundle.folder / "engines" / f"{graph.views}-view.fp16.{kind}.engine"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"engine of slices")
        engines.append(
            Engine(
                path=f"engines/{path.name}",
                sha256=sha256_file(path),
                kind=kind,
                version=fake_tensorrt.__version__,
                targets=["sm89"],
                gpu="Fake" if kind == "tensorrt" else "",
                network_sha256=bundle.network_sha256(graph),
                precision="fp16",
                views=graph.views,
                profile=BatchProfile(min=1, opt=1, max=32),
                build_seconds=0,
                fused_attention_layers=0,
                attention_layers=0,
            )
        )
    graphs = [graph for graph in manifest.graphs if graph.precision == "fp32"] + fp16_graphs
    changed = manifest.model_copy(
        update={"graphs": graphs, "engines": [*manifest.engines, *engines]}
    )
    (bundle.folder / "manifest.json").write_text(changed.model_dump_json(), encoding="utf-8")
    return Bundle(bundle.folder, changed)


def real_devices():
    """Return the device classes that find a real GPU here, by test name."""
    devices = {}
    for name, kind in (("real-cuda-bindings", CudaDevice), ("real-pycuda", PyCudaDevice)):
        with suppress(BackendError):
            if kind.list_gpus():
                devices[name] = kind
    return devices


def has_gpu() -> bool:
    """Return whether this machine has a real GPU."""
    return bool(real_devices())
