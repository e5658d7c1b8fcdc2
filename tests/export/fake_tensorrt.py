"""A TensorRT without a GPU: the part of its interface that compiling uses, and what it was told."""

from types import SimpleNamespace

import onnx

__version__ = "11.0.0"
told = SimpleNamespace()


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
