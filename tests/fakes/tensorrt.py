"""A TensorRT without a GPU: what is used of its interface, and what it was told."""

from types import SimpleNamespace

import numpy as np
import onnx

from tests.fakes import memory
from wmh_runtime.backends.gpu.fake import FakeStream

__version__ = "11.0.0"
told = SimpleNamespace(compiled=0, enqueued=0, refuses=False, has_no_memory=False)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ProfilingVerbosity:
    DETAILED = "detailed"


class _Profile:
    def set_shape(self, name, least, best, most):
        self.shapes = {name: (least, best, most)}


class _TimingCache:
    def __init__(self, known):
        self._known = known

    @property
    def is_foreign(self):
        return self._known.startswith(b"of another GPU")

    def serialize(self):
        return self._known + b"+"


class _Config:
    def add_optimization_profile(self, profile):
        self.profile = profile

    def create_timing_cache(self, known):
        return _TimingCache(known)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache, self.ignore_mismatch = cache, ignore_mismatch
        return not cache.is_foreign

    def get_timing_cache(self):
        return self._cache


class Builder:
    def __init__(self, log):
        self._log = log

    def create_network(self, flags):
        return SimpleNamespace(flags=flags)

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        """One kernel for each softmax of the graph, as a detailed log tells it."""
        if not network.model.graph.node:
            self._log.log(ILogger.ERROR, "there is nothing to build")
            return None
        told.config, told.flags = config, network.flags
        fused = [n for n in network.model.graph.node if n.op_type == "Softmax"]
        kernels = [f"Name: _gemm_mha_v2_{i}, LayerType: kgen" for i in range(len(fused))]
        self._log.log(ILogger.VERBOSE, "Engine Layer Information:\n" + "\n".join(kernels))
        return memoryview(b"engine of " + network.model.graph.input[0].name.encode())


class OnnxParser:
    num_errors = 1

    def __init__(self, network, log):
        self._network = network

    def parse_from_file(self, path):
        try:
            self._network.model = onnx.load(path, load_external_data=False)
        except Exception:  # as TensorRT: a status and a description
            return False
        inputs = self._network.model.graph.input
        self._network.get_input = lambda i: SimpleNamespace(name=inputs[i].name)
        return True

    def get_error(self, number):
        return SimpleNamespace(desc=lambda: "the file is no graph")


# OpenBackends.


class TensorIOMode:
    INPUT, OUTPUT = range(2)


class CudaGraphStrategy:
    WHOLE_GRAPH_CAPTURE = "whole"


class DynamicShapesKernelSpecializationStrategy:
    EAGER = "eager"


class _RuntimeCache:
    """Of RTX: what it compiled, for one driver."""

    def __init__(self):
        self._compiled = b""

    def deserialize(self, known):
        if known.startswith(b"of another driver"):
            return False
        self._compiled = known
        return True

    def compile(self):
        told.compiled += not self._compiled
        self._compiled = b"kernels"

    def serialize(self):
        return memoryview(self._compiled)


class _RuntimeConfig:
    def create_runtime_cache(self):
        return _RuntimeCache()

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class _Context:
    """The logistic function of the first channel."""

    def __init__(self, config=None):
        self._addresses = {}
        self._cache = config and config.cache

    def set_input_shape(self, name, shape):
        self._shape = shape
        return shape[0] <= 32

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        if told.refuses:
            return False
        if self._cache is not None:
            self._cache.compile()
        told.enqueued += 1
        FakeStream.by_handle[int(stream)].enqueue(self._compute)
        return True

    def _compute(self):
        batch, _, *pixels = self._shape
        given = memory.floats_at(self._addresses["slices"], self._shape)[:, :1]
        found = memory.floats_at(self._addresses["probability"], (batch, 1, *pixels))
        found[...] = 1 / (1 + np.exp(-given))


class _Engine:
    num_io_tensors = 2

    def get_tensor_name(self, number):
        return ("probability", "slices")[number]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "slices" else TensorIOMode.OUTPUT

    def create_runtime_config(self):
        return _RuntimeConfig()

    def create_execution_context(self, config=None):
        return None if told.has_no_memory else _Context(config)


class Runtime:
    def __init__(self, log):
        self._log = log

    def deserialize_cuda_engine(self, plan):
        if not plan.startswith(b"engine of"):
            self._log.log(ILogger.ERROR, "magic tag does not match")
            return None
        return _Engine()
