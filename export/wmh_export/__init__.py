"""Turn a training checkpoint into a bundle of ONNX graphs that provably agrees with it."""

import wmh_runtime  # noqa: F401 - before ONNX Runtime
