"""Turn a training checkpoint into a bundle of ONNX graphs that provably agrees with it."""
