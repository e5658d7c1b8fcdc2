"""ONNX graphs of the network."""
