"""A fake of `onnxruntime-gpu`: it computes the logistic function of the first channel.

It uses its own stream. With `state.falls_back` it silently falls back to the CPU.
"""

from types import SimpleNamespace

import numpy as np

from tests.fakes import memory

__version__ = "1.31.1"
_CUDA, _TENSORRT, _CPU = (f"{name}ExecutionProvider" for name in ("CUDA", "Tensorrt", "CPU"))
available = [_TENSORRT, _CUDA, _CPU]
state = SimpleNamespace(fails=False, falls_back=False, providers=[], severity=2, runs=0)
SessionOptions = SimpleNamespace


def get_available_providers():
    return available


def set_default_logger_severity(severity):
    state.severity = severity


def preload_dlls():
    if state.falls_back:
        print("Failed to load libcudnn.so.9")


class _Binding:
    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        assert (name, device_type, element_type) == ("slices", "cuda", np.float32)
        self.input = buffer_ptr, shape

    def bind_output(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        assert (name, device_type, element_type) == ("probability", "cuda", np.float32)
        self.output = buffer_ptr, shape


class InferenceSession:
    def __init__(self, path, options, providers, enable_fallback):
        assert enable_fallback == 0
        state.providers = providers
        state.runs = 0
        with open(path, "rb") as stream:
            if stream.read(3) == b"not":
                raise RuntimeError("not a graph")

    def get_providers(self):
        return [_CPU] if state.falls_back else [name for name, _ in state.providers] + [_CPU]

    def get_inputs(self):
        return [SimpleNamespace(name="slices")]

    def get_outputs(self):
        return [SimpleNamespace(name="probability")]

    def io_binding(self):
        return _Binding()

    def run_with_iobinding(self, binding):
        assert state.severity == 4, "cuDNN's failed attempts would be logged as errors"
        state.runs += 1
        if state.fails:
            raise RuntimeError("out of memory")
        inputs = memory.floats_at(*binding.input)
        memory.floats_at(*binding.output)[...] = 1 / (1 + np.exp(-inputs[:, :1]))
