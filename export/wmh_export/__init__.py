"""Export a training checkpoint to a bundle of ONNX graphs that agree with the trained network."""

import wmh_runtime  # noqa: F401 - must be imported before ONNX Runtime
