"""A fake of TensorRT and TensorRT-RTX: the calls used here. `state` records them."""

from types import SimpleNamespace

import numpy as np
import onnx

from tests.fakes import memory
from wmh_runtime.backends.gpu.fake import FakeStream

__version__ = "11.0.0"
state = SimpleNamespace(compiled=0, enqueued=0, fails=False, has_no_memory=False)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ProfilingVerbosity:
    DETAILED = "detailed"


class LayerType:
    SOFTMAX = "Softmax"


class _Profile:
    def set_shape(self, name, min, opt, max):  # noqa: A002 - TensorRT's names
        self.shapes = {name: (min, opt, max)}


class _TimingCache:
    def __init__(self, content):
        self._content = content

    @property
    def is_foreign(self):
        return self._content.startswith(b"of another GPU")

    def serialize(self):
        return self._content + b"+"


class _Config:
    def add_optimization_profile(self, profile):
        self.profile = profile

    def create_timing_cache(self, content):
        return _TimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache, self.ignore_mismatch = cache, ignore_mismatch
        return not cache.is_foreign

    def get_timing_cache(self):
        return self._cache


class Builder:
    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags):
        return SimpleNamespace(flags=flags)

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        """Log one kernel for each softmax of the graph, as the detailed log does."""
        if not network.model.graph.node:
            self._logger.log(ILogger.ERROR, "there is nothing to build")
            return None
        state.config, state.flags = config, network.flags
        fused = [n for n in network.model.graph.node if n.op_type == "Softmax"]
        kernels = [f"Name: _gemm_mha_v2_{i}, LayerType: kgen" for i in range(len(fused))]
        self._logger.log(ILogger.VERBOSE, "Engine Layer Information:\n" + "\n".join(kernels))
        return memoryview(b"engine of " + network.model.graph.input[0].name.encode())


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        self._network = network

    def parse_from_file(self, path):
        try:
            self._network.model = onnx.load(path, load_external_data=False)
        except Exception:  # TensorRT returns a status instead
            return False
        graph = self._network.model.graph
        self._network.get_input = lambda i: SimpleNamespace(name=graph.input[i].name)
        self._network.num_layers = len(graph.node)
        self._network.get_layer = lambda i: SimpleNamespace(type=graph.node[i].op_type)
        return True

    def get_error(self, index):
        return SimpleNamespace(desc=lambda: "the file is not a graph")


# The classes that execute engines.


class TensorIOMode:
    INPUT, OUTPUT = range(2)


class CudaGraphStrategy:
    WHOLE_GRAPH_CAPTURE = "whole"


class DynamicShapesKernelSpecializationStrategy:
    EAGER = "eager"


class _RuntimeCache:
    """The kernels that TensorRT-RTX compiled for one driver."""

    def __init__(self):
        self._kernels = b""

    def deserialize(self, content):
        if content.startswith(b"of another driver"):
            return False
        self._kernels = content
        return True

    def compile(self):
        state.compiled += not self._kernels
        self._kernels = b"kernels"

    def serialize(self):
        return memoryview(self._kernels)


class _RuntimeConfig:
    def create_runtime_cache(self):
        return _RuntimeCache()

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class _Context:
    """Computes the logistic function of the first channel."""

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
        if state.fails:
            return False
        if self._cache is not None:
            self._cache.compile()
        state.enqueued += 1
        FakeStream.by_handle[int(stream)].enqueue(self._compute)
        return True

    def _compute(self):
        batch, _, *pixels = self._shape
        inputs = memory.floats_at(self._addresses["slices"], self._shape)[:, :1]
        outputs = memory.floats_at(self._addresses["probability"], (batch, 1, *pixels))
        outputs[...] = 1 / (1 + np.exp(-inputs))


class _Engine:
    num_io_tensors = 2

    def get_tensor_name(self, index):
        return ("probability", "slices")[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "slices" else TensorIOMode.OUTPUT

    def create_runtime_config(self):
        return _RuntimeConfig()

    def create_execution_context(self, config=None):
        return None if state.has_no_memory else _Context(config)


class Runtime:
    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, content):
        if not content.startswith(b"engine of"):
            self._logger.log(ILogger.ERROR, "magic tag does not match")
            return None
        return _Engine()
